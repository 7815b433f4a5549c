//! Made-up results of one machine and several engines: every kind of row that the engine pages
//! and a result's page tell apart.

use domain::api::{BuildRow, EngineRow, EnginesAnswer, LeftOut, Membership, ResultRow};

use super::{figure, row, stand};

/// The setup of two machines.
pub(super) const TWO_HOSTS: &str = "two-small-desktops";

const MODEL: &str = "Joulemark reference 3.5M";
const PARAMS: u64 = 3_519_744;
/// Of the sample's machine.
const BYTES_PER_SECOND: f64 = 42e9;

/// Sets engine and build.
pub(super) fn run_by(row: &mut ResultRow, engine: (&str, &str), version: &str, build: &str) {
    let (name, slug) = engine;
    row.engine = name.into();
    row.engine_slug = slug.into();
    row.engine_version = version.into();
    row.engine_build_id = build.into();
    row.engine_build = format!("{version}, -O3 -march=native");
    // The same file for all but the server that loads another format.
    let format = u64::from(engine == MLX);
    row.variant_bytes += 10_752 * format;
    row.variant_sha256 = format!("{:064x}", row.variant_bytes);
}

/// Sets ceiling, share and sentence from the row's decode speed.
pub(super) fn held_against_memory(row: &mut ResultRow) {
    let bytes = row.variant_bytes as f64 * 1.04;
    let ceiling = BYTES_PER_SECOND / bytes;
    let Some(decode) = row.decode() else { return };
    let share = decode.value / ceiling;
    row.bytes_per_pass = Some(bytes);
    row.bandwidth_bytes_per_second = Some(BYTES_PER_SECOND);
    row.bandwidth_basis = Some("probe".to_owned());
    row.decode_ceiling_tokens_per_second = Some(ceiling);
    row.set_figure("decode_of_theory", figure(share, 0.018, decode.n));
    row.roofline = Some(format!(
        "{:.0} tok/s = {:.0} % of what this machine reads at {:.1} MB (42 GB/s by its own probe, 84 % of \
         the data sheet)",
        decode.value,
        share * 100.0,
        bytes / 1e6
    ));
    row.roofline_reason = None;
}

/// The engine's own clock, so many times the client's.
fn timed_by_engine(row: &mut ResultRow, ratio: f64) {
    for (view, client) in [
        ("engine_decode_tokens_per_second", row.decode()),
        ("engine_prefill_tokens_per_second", row.prefill()),
    ] {
        if let Some(client) = client {
            row.set_figure(view, figure(client.value * ratio, 0.012, client.n));
        }
    }
}

fn latencies(row: &mut ResultRow) {
    let Some(decode) = row.decode() else { return };
    let tpot = 1_000.0 / decode.value;
    row.set_figure("tpot_ms", figure(tpot, 0.018, decode.n));
    for (column, factor, n) in [
        ("itl_ms_p50", 0.97, 1_016),
        ("itl_ms_p90", 1.16, 1_016),
        ("itl_ms_p99", 1.9, 1_016),
    ] {
        row.set_figure(column, figure(tpot * factor, 0.01, n));
    }
    row.set_figure("ttft_ms_p95", figure(26_000.0 / decode.value, 0.05, 24));
    row.set_figure("prefill_of_theory", figure(0.31, 0.03, decode.n));
}

const CANDLE: (&str, &str) = ("candle", "candle");
const LLAMA: (&str, &str) = ("llama.cpp", "llama-cpp");
const MLX: (&str, &str) = ("mlx-lm", "mlx-lm");
const BENCH: (&str, &str) = ("llama-bench", "llama-bench");

/// What shares a frontier: one model, one workload, three engines.
pub(super) fn side_by_side() -> Vec<ResultRow> {
    use Membership::{Dominated, On, Tied};
    let cells: [(_, &str, &str, &str, f64, f64, f64, Membership); 7] = [
        (
            LLAMA,
            "b4400",
            "0011223344aa",
            "F16",
            0.829,
            2_870.0,
            1.008,
            On,
        ),
        (
            CANDLE,
            "0.11.1",
            "aa00bb11cc22",
            "F16",
            0.829,
            1_466.0,
            1.003,
            Dominated,
        ),
        (
            MLX,
            "0.29.1",
            "5566778899aa",
            "F16",
            0.831,
            1_190.0,
            1.0,
            Tied,
        ),
        (
            LLAMA,
            "b4400",
            "0011223344aa",
            "Q8_0",
            0.824,
            4_150.0,
            1.012,
            On,
        ),
        (
            LLAMA,
            "b4321",
            "0011223344bb",
            "Q8_0",
            0.824,
            3_480.0,
            1.01,
            Tied,
        ),
        (
            CANDLE,
            "0.11.1",
            "aa00bb11cc22",
            "Q8_0",
            0.824,
            2_310.0,
            1.002,
            Dominated,
        ),
        (
            LLAMA,
            "b4400",
            "0011223344aa",
            "Q4_K",
            0.795,
            3_020.0,
            1.094,
            Dominated,
        ),
    ];
    let mut rows: Vec<ResultRow> = (0xa0..)
        .zip(cells)
        .map(
            |(id, (engine, version, build, quant, quality, speed, own_clock, standing))| {
                let mut row = row(id, MODEL, quant, quality, speed, PARAMS);
                run_by(&mut row, engine, version, build);
                held_against_memory(&mut row);
                latencies(&mut row);
                timed_by_engine(&mut row, own_clock);
                stand(&mut row, standing);
                row
            },
        )
        .collect();
    // The second server says nothing of its own time.
    rows[2].engine_decode_tokens_per_second = None;
    rows[2].engine_prefill_tokens_per_second = None;
    rows[2].flags = "cold-unproven".into();
    rows[6].flags = "noisy views-disagree".into();
    rows[6].noise_reason = Some(
        "decode varies by 7.4 % between repetitions; the engine's clock and the runner's differ by 9.4 %"
            .to_owned(),
    );
    rows
}

/// Rows of other workloads and other machines, which no frontier compares with those.
pub(super) fn beside() -> Vec<LeftOut> {
    let start = |id, quant: &str, quality, speed, workload: &str| {
        let mut row = row(id, MODEL, quant, quality, speed, PARAMS);
        run_by(&mut row, LLAMA, "b4400", "0011223344aa");
        row.workload = workload.into();
        row
    };
    let mut four = start(0xb0, "Q8_0", 0.824, 1_210.0, "s-c4");
    four.concurrency = 4;
    held_against_memory(&mut four);
    latencies(&mut four);
    timed_by_engine(&mut four, 1.02);
    four.set_figure(
        "aggregate_decode_tokens_per_second",
        figure(4_630.0, 0.02, 8),
    );
    four.set_figure(
        "stream_decode_tokens_per_second_p10",
        figure(1_130.0, 0.03, 8),
    );

    let mut warm = start(0xb1, "Q8_0", 0.824, 3_110.0, "s-warm");
    warm.kv_state = "warm_prefix".into();
    warm.depth_tokens = 4_096;
    held_against_memory(&mut warm);
    latencies(&mut warm);

    let mut bench = start(0xb2, "Q8_0", 0.0, 4_310.0, "s");
    run_by(&mut bench, BENCH, "b4400", "99887766ff00");
    timed_by_engine(&mut bench, 1.0);
    only_by_its_own_clock(&mut bench);

    let mut best = start(0xb3, "F16", 0.871, 2_840.0, "s-best4");
    best.samples = 4;
    best.oracle_quality = Some(0.938);
    best.set_figure("seconds_per_answer", figure(0.184, 0.06, 210));
    held_against_memory(&mut best);
    latencies(&mut best);

    let mut two = start(0xb4, "F16", 0.829, 1_720.0, "s");
    latencies(&mut two);
    two.setup = TWO_HOSTS.into();
    two.setup_name = "Small desktop, 16 GB + Small desktop, 64 GB (Thunderbolt 5, pipeline)".into();
    two.roofline_reason = Some(
        "a token passes the two machines one after the other, and the share of each is not in the record".to_owned(),
    );

    let mut above = start(0xb5, "Q2_K", 0.281, 39_800.0, "s");
    held_against_memory(&mut above);
    latencies(&mut above);
    above.flags = "above-roofline".into();

    let mut unknown = start(0xb6, "Q4_K", 0.795, 2_400.0, "s-exact");
    unknown.kv_state = "exact_hit".into();
    for figure in [
        &mut unknown.decode_tokens_per_second,
        &mut unknown.prefill_tokens_per_second,
    ] {
        *figure = None;
    }
    unknown.decode_reason =
        Some("the whole prompt was cached: only the first token is timed".to_owned());
    unknown.roofline_reason =
        Some("without a rate there is nothing to hold against the memory".to_owned());

    let other = |row: ResultRow| LeftOut {
        reason: format!(
            "measured with workload {}; this frontier compares s",
            row.workload
        ),
        code: "other-workload".to_owned(),
        row,
    };
    let mut beside: Vec<LeftOut> = [four, warm, best, unknown].map(other).into();
    beside.push(LeftOut {
        code: "no-decode".to_owned(),
        reason: "timed by the engine itself".to_owned(),
        row: bench,
    });
    beside.extend([two, above].map(|row| LeftOut {
        code: "below-quality".to_owned(),
        reason: "sample of what a reader's conditions leave out".to_owned(),
        row,
    }));
    beside
}

fn only_by_its_own_clock(row: &mut ResultRow) {
    let alone = ResultRow {
        quality: None,
        quality_ci95_low: None,
        quality_ci95_high: None,
        quality_n: None,
        suite: None,
        decode_tokens_per_second: None,
        prefill_tokens_per_second: None,
        ttft_ms: None,
        quality_reason: Some("no suite was asked".to_owned()),
        decode_reason: Some("timed by the engine itself".to_owned()),
        roofline_reason: Some("needs a decode speed by the client's clock".to_owned()),
        ..row.clone()
    };
    *row = alone;
}

/// The rows by engine and build, as the collector orders them.
pub(super) fn answer(rows: &[ResultRow]) -> EnginesAnswer {
    let data_version = "5f0c1e".to_owned();
    let mut engines: Vec<EngineRow> = Vec::new();
    for row in rows {
        let at = engines
            .iter()
            .position(|engine| engine.slug == row.engine_slug);
        let at = at.unwrap_or_else(|| {
            engines.push(EngineRow {
                data_version: data_version.clone(),
                slug: row.engine_slug.clone(),
                name: row.engine.clone(),
                builds: Vec::new(),
            });
            engines.len() - 1
        });
        let builds = &mut engines[at].builds;
        match builds
            .iter_mut()
            .find(|build| build.build == row.engine_build_id)
        {
            Some(build) => build.rows.push(row.clone()),
            None => builds.push(BuildRow {
                data_version: data_version.clone(),
                engine_slug: row.engine_slug.clone(),
                engine: row.engine.clone(),
                build: row.engine_build_id.clone(),
                version: row.engine_version.clone(),
                flags: row.engine_build.clone(),
                backend: row.backend.clone(),
                received_at: row.received_at.clone(),
                with_ceiling: 0,
                worst_of_theory: None,
                median_of_theory: None,
                rows: vec![row.clone()],
            }),
        }
    }
    engines.sort_by(|a, b| a.slug.cmp(&b.slug));
    for build in engines.iter_mut().flat_map(|engine| &mut engine.builds) {
        let share = |row: &ResultRow| row.decode_of_theory.unwrap_or(f64::INFINITY);
        build.rows.sort_by(|a, b| share(a).total_cmp(&share(b)));
        let shares: Vec<f64> = build
            .rows
            .iter()
            .filter_map(|row| row.decode_of_theory)
            .collect();
        build.with_ceiling = shares.len() as u32;
        build.worst_of_theory = shares.first().copied();
        build.median_of_theory = shares.get(shares.len() / 2).copied();
    }
    EnginesAnswer {
        data_version,
        engines,
    }
}
