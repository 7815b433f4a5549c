// Draws a series with uPlot over its static drawing: drag to zoom, values under the pointer.
// It reads the page's JSON twin. Whatever fails, the static drawing stays.
"use strict";
(() => {
  const host = document.getElementById("trend");
  if (!host || typeof uPlot !== "function" || !window.fetch) return;
  const { json, unit, scale } = host.dataset;
  const factor = Number(host.dataset.factor) || 1;
  const figure = host.closest("figure");
  const PADDED = 1.04;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rough = (value) => (value == null ? "–" : `${Number(value.toPrecision(4)).toLocaleString("en")} ${unit}`);
  const day = (seconds, step) => {
    const text = new Date(seconds * 1e3).toISOString();
    return step >= 86400 ? text.slice(0, 10) : text.slice(5, 16).replace("T", " ");
  };
  const signed = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(1)} %`;

  // One column per figure. Between two epochs stands a moment without values, so that no line runs
  // over the break.
  const columns = (answer) => {
    const shown = (value) => {
      const number = value == null ? NaN : value * factor;
      return Number.isFinite(number) && (scale !== "log" || number > 0) ? number : null;
    };
    const [times, values, lows, highs, canaries, builds] = [[], [], [], [], [], []];
    const add = (at, point) => {
      times.push(at);
      values.push(point ? shown(point.value) : null);
      lows.push(point ? shown(point.low) : null);
      highs.push(point ? shown(point.high) : null);
      canaries.push(point ? shown(point.canary) : null);
      builds.push(point ? point.build : "");
    };
    let before = null;
    const points = answer.points.filter((point) => Number.isFinite(point.measured_seconds));
    points.sort((a, b) => a.measured_seconds - b.measured_seconds);
    for (const point of points) {
      if (before && before.epoch !== point.epoch) {
        add((before.measured_seconds + point.measured_seconds) / 2, null);
      }
      add(point.measured_seconds, point);
      before = point;
    }
    return { data: [times, values, lows, highs, canaries], builds, points };
  };

  // Vertical lines: where epochs begin, and the changes.
  const lines = (answer, points) => {
    const first = (epoch) => points.find((point) => point.epoch === epoch);
    const epochs = answer.epochs
      .filter((epoch) => epoch.epoch > 0 && first(epoch.epoch))
      .map((epoch) => ({
        at: first(epoch.epoch).measured_seconds, words: `epoch ${epoch.epoch + 1}`, hue: "--soft", dash: [], low: true,
      }));
    const changes = answer.changes.map((change) => ({
      at: change.at_seconds,
      words: `${change.state.replaceAll("-", " ")} ${signed(change.effect)}`,
      hue: change.state === "suspect" ? "--accent" : !["confirmed", "certified"].includes(change.state) ? "--soft" : change.is_regression ? "--bad" : "--good",
      dash: [6, 5],
      low: false,
    }));
    return [...epochs, ...changes];
  };

  const draw = (answer) => {
    const { data, builds, points } = columns(answer);
    if (!data[1].some((value) => value != null)) throw new Error("no point has a place");
    const marks = lines(answer, points);
    const hasCanary = data[4].some((value) => value != null);
    let plot = null;
    let back = null;

    const paintMarks = (u) => {
      const { ctx, bbox } = u;
      const ratio = devicePixelRatio;
      ctx.save();
      ctx.font = `${12 * ratio}px system-ui, sans-serif`;
      ctx.lineWidth = 1.5 * ratio;
      let row = 0;
      ctx.textAlign = "left";
      ctx.fillStyle = colour("--soft");
      ctx.fillText(unit, bbox.left, bbox.top - 8 * ratio);
      for (const mark of marks) {
        const x = u.valToPos(mark.at, "x", true);
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        ctx.strokeStyle = ctx.fillStyle = colour(mark.hue);
        ctx.setLineDash(mark.dash.map((length) => length * ratio));
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        const room = ctx.measureText(mark.words).width + 6 * ratio;
        const left = x + room > bbox.left + bbox.width;
        ctx.textAlign = left ? "right" : "left";
        const y = mark.low ? bbox.top + bbox.height - 6 * ratio : bbox.top + (14 + 15 * (row++ % 3)) * ratio;
        ctx.fillText(mark.words, x + (left ? -5 : 5) * ratio, y);
      }
      ctx.restore();
    };

    const size = () => ({ width: figure.clientWidth, height: Math.round(Math.min(400, Math.max(260, figure.clientWidth * 0.5))) });
    const make = () => {
      const axis = { stroke: colour("--soft"), grid: { stroke: colour("--hair"), width: 1 }, ticks: { stroke: colour("--hair"), width: 1 } };
      const value = (u, number, series, index) => rough(number);
      return new uPlot({
        ...size(),
        scales: {
          x: { time: true },
          y: scale === "log"
            ? { distr: 3, range: (u, low, high) => [low / PADDED, high * PADDED] }
            : { range: (u, low, high) => { const air = Math.max(high - low, Math.abs(high) * 0.04) * 0.15; return [low - air, high + air]; } },
        },
        padding: [24, 8, 0, 0],
        axes: [{ ...axis, space: 96, values: (u, ticks, index, space, step) => ticks.map((tick) => day(tick, step)) }, { ...axis, size: 70, values: (u, ticks) => ticks.map((tick) => (tick == null ? "" : Number(tick.toPrecision(5)).toLocaleString("en"))) }],
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
        series: [
          { label: "Measured, UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
          { label: "Value", value: (u, number, series, index) => (index == null || !builds[index] ? rough(number) : `${rough(number)}, build ${builds[index].slice(0, 40)}`), stroke: colour("--accent"), width: 2, points: { show: true, size: 6 } },
          { label: "95 % from", value, stroke: "transparent", points: { show: false } },
          { label: "to", value, stroke: "transparent", points: { show: false } },
          { label: "Canary", value, show: hasCanary, stroke: colour("--soft"), dash: [6, 5], width: 1.5, points: { show: false } },
        ].slice(0, hasCanary ? 5 : 4),
        bands: [{ series: [3, 2], fill: `${colour("--accent")}2b` }],
        hooks: { draw: [paintMarks], setScale: [(u, key) => { if (back && key === "x") back.hidden = u.scales.x.min <= data[0][0] && u.scales.x.max >= data[0].at(-1); }] },
      }, hasCanary ? data : data.slice(0, 4), host);
    };

    host.hidden = false;
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", figure.querySelector("svg title").textContent);
    plot = make();
    back = document.createElement("button");
    back.type = "button";
    back.textContent = "Show all of it";
    back.hidden = true;
    back.addEventListener("click", () => plot.setData(plot.data));
    host.after(back);
    figure.classList.add("drawn");

    new ResizeObserver(() => {
      if (plot.width !== figure.clientWidth) plot.setSize(size());
    }).observe(figure);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      plot.destroy();
      plot = make();
    });
  };

  const giveUp = (why) => {
    host.textContent = "";
    host.hidden = true;
    figure.classList.remove("drawn");
    console.warn("the static drawing stays:", why);
  };
  fetch(json, { headers: { Accept: "application/json" } })
    .then((answer) => {
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      return answer.json();
    })
    .then(draw)
    .catch(giveUp);
})();
