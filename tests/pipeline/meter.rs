//! `joulemark meter`: recorded, replayed, and served to a sweep over several hosts.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Instant;

use base64::Engine as _;
use domain::energy::energy_in_span;
use domain::record::{EnergyClaim, Record, UnavailableReason};
use domain::scope::Scope;
use serde_json::{Value, json};

use crate::harness::{Installation, Serving};

/// A plug that counts the joules of a steady power.
fn plug(watts: f64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let since = Instant::now();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || count(stream, since, watts));
        }
    });
    url
}

/// One connection: requests until it is closed.
fn count(stream: TcpStream, since: Instant, watts: f64) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    stream.set_nodelay(true).ok()?;
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        }
        let body = json!({"joules": since.elapsed().as_secs_f64() * watts}).to_string();
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all((head + &body).as_bytes()).ok()?;
    }
}

/// A `meters.toml` of one such plug.
fn meters(installation: &Installation, scope: &str, watts: f64) -> String {
    let text = format!(
        "[[meter]]\nname = \"plug\"\nkind = \"json\"\nurl = \"{}\"\nscope = \"{scope}\"\n\
         pointer = \"/joules\"\nunit = \"J\"\nupdate_seconds = 0.1\n",
        plug(watts)
    );
    let file = installation.file(&format!("{scope}-{watts}.toml"), &text);
    file.display().to_string()
}

/// A host that serves a plug, and the survey of it in a file.
fn host(installation: &Installation, scope: &str, watts: f64) -> (Serving, String) {
    let meters = meters(installation, scope, watts);
    let serving = installation.serve(&[
        "meter",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--meters",
        &meters,
    ]);
    let info = serving.json("/v1/info");
    assert!(
        info["meters"]
            .as_array()
            .expect("meters")
            .iter()
            .any(|meter| meter["scope"] == scope),
        "{info:#}"
    );
    let survey = json!({"host": info["host"]}).to_string();
    let file = installation.file(&format!("{scope}-{watts}.json"), &survey);
    (serving, file.display().to_string())
}

#[test]
fn a_cluster_has_a_total_only_where_every_host_reports_the_same_scope() {
    let installation = Installation::fresh();
    let hosts = [("wall.ac", 50.0), ("wall.ac", 30.0), ("system.dc", 20.0)]
        .map(|(scope, watts)| host(&installation, scope, watts));
    let engine = |name: &str, chosen: [usize; 2]| {
        let named = chosen.map(|index| {
            let (serving, survey) = &hosts[index];
            format!("{{ survey = \"{survey}\", meter = \"{}\" }}", serving.url)
        });
        format!(
            "\n[[engines]]\nname = \"{name}\"\nkind = \"candle\"\n\n[engines.machines]\n\
             interconnect = \"loopback\"\n\
             split = {{ method = \"replica\", layout = \"the same on each\" }}\n\
             hosts = [{}]\n",
            named.join(", ")
        )
    };
    let matrix = format!(
        "{MATRIX}{}{}",
        engine("alike", [0, 1]),
        engine("mixed", [0, 2])
    );
    let matrix = installation.file("cluster.toml", &matrix);
    installation.allow_own_key();
    let serving = installation.serve(&["serve", "--listen", "127.0.0.1:0"]);
    let summary = installation.run_fine(&[
        "sweep",
        "--collector",
        &serving.url,
        "--format",
        "json",
        "--matrix",
        matrix.to_str().expect("text"),
    ]);
    let summary: Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(serving.stored_once(2), 2);
    let rows = serving.json("/api/v1/results")["rows"].clone();
    let of = |workload: &str| {
        let mut rows = rows.as_array().expect("rows").iter();
        let row = rows.find(|row| row["workload"] == workload);
        let mut cells = summary["cells"].as_array().expect("cells").iter();
        let cell = cells.find(|cell| cell["cell"].to_string().contains(workload));
        let id = cell.expect("a cell")["content_id"].as_str().expect("text");
        let envelope = serving.json(&format!("/api/v1/records/{id}/envelope"));
        (row.expect("a row"), signed(&envelope))
    };
    let (row, record) = of("pp64-tg32");
    assert_eq!(row["energy_scope"], "wall.ac", "{row:#}");
    let EnergyClaim::Measured(claim) = &record.energy else {
        panic!("measured: {:?}", record.energy);
    };
    assert_eq!(claim.scope.to_string(), "wall.ac");
    let traces: Vec<_> = claim
        .meters
        .iter()
        .map(|n| &record.meters[*n as usize])
        .collect();
    for (trace, (host, watts)) in traces.iter().zip([(0, 50.0), (1, 30.0)]) {
        assert_eq!(trace.host, host);
        assert!(trace.clock_error_ns.is_some());
        let span = (trace.t_ns[0], *trace.t_ns.last().expect("readings"));
        let energy = energy_in_span(trace, span.0, span.1).expect("measured");
        let found = energy.joules.0 / ((span.1 - span.0) as f64 / 1e9);
        assert!(
            (found - watts).abs() < 0.05 * watts,
            "host {host}: {found} W"
        );
    }
    assert_eq!(traces.len(), 2);

    let (row, record) = of("pp48-tg32");
    assert_eq!(row["energy_scope"], Value::Null, "{row:#}");
    assert_eq!(row["mean_watts"], Value::Null, "{row:#}");
    let EnergyClaim::Unavailable(why) = &record.energy else {
        panic!("no total: {:?}", record.energy);
    };
    assert_eq!(why.reason, UnavailableReason::ScopeMismatch);
    for (host, scope) in [(0, Scope::WallAc), (1, Scope::SystemDc)] {
        let mut traces = record.meters.iter();
        assert!(
            traces.any(|trace| (trace.host, trace.scope) == (host, scope) && trace.v.len() > 1)
        );
    }
}

fn signed(envelope: &Value) -> Record {
    let payload = base64::engine::general_purpose::STANDARD
        .decode(envelope["payload"].as_str().expect("a payload"))
        .expect("base64");
    serde_json::from_slice(&payload).expect("a record")
}

/// One small model, timed as shortly as allowed; the engines are the test's own.
const MATRIX: &str = r#"
quantisations = ["F16"]

[[models]]
name = "joulemark-reference-0.9m"
path = "joulemark-reference-0.9m-f16.gguf"

[quality]
suite = "reference-v1"
items = 105

[repetitions]
min = 6
max = 6
warmup_max = 3
min_seconds = 0.1
target_half_width_percent = 50.0
minutes_per_cell = 1.0
concurrency_seconds = 1.0
cool_seconds = 0.0
energy_seconds = 0.5
idle_unloaded_seconds = 0.0
idle_loaded_seconds = 0.0

[[workloads]]
id = "pp64-tg32"
prompt_tokens = 64
output_tokens = 32

[[workloads]]
id = "pp48-tg32"
prompt_tokens = 48
output_tokens = 32

[[include]]
engine = ["alike"]
workload = ["pp64-tg32"]

[[include]]
engine = ["mixed"]
workload = ["pp48-tg32"]
"#;

#[test]
fn what_is_watched_is_recorded_and_replayed() {
    let installation = Installation::fresh();
    let meters = meters(&installation, "wall.ac", 40.0);
    let trace = installation.data().with_file_name("trace.jsonl");
    let trace = trace.to_str().expect("text");
    let seen = installation.run_fine(&[
        "meter",
        "watch",
        "--record",
        trace,
        "--seconds",
        "6",
        "--format",
        "json",
        "--meters",
        &meters,
    ]);
    let total: Value = serde_json::from_str(seen.lines().last().expect("lines")).expect("JSON");
    assert_eq!(total["event"], "total");
    let plug = |of: &Value| {
        let mut meters = of["meters"].as_array().expect("meters").iter();
        meters
            .find(|meter| meter["scope"] == "wall.ac" || meter["meter"]["scope"] == "wall.ac")
            .expect("the plug")
            .clone()
    };
    let watched = plug(&total);
    let watts = watched["watts"].as_f64().expect("measured");
    assert!((watts - 40.0).abs() < 2.0, "{watched:#}");

    let replayed: Value = serde_json::from_str(
        &installation.run_fine(&["meter", "replay", trace, "--format", "json"]),
    )
    .expect("JSON");
    let replayed_plug = plug(&replayed);
    let watts = replayed_plug["mean_watts"].as_f64().expect("measured");
    assert!((watts - 40.0).abs() < 2.0, "{replayed_plug:#}");
    assert_eq!(replayed["headline"], "wall.ac");

    let again = installation.run(&["meter", "watch", "--record", trace, "--meters", &meters]);
    assert_eq!(
        again.status.code(),
        Some(2),
        "a recording is not overwritten"
    );
}

#[test]
fn a_trace_is_replayed_or_refused_by_its_exit_code() {
    let installation = Installation::fresh();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/traces");
    let replay = |file: &Path, more: &[&str]| {
        let mut arguments = vec!["meter", "replay", file.to_str().expect("text")];
        arguments.extend(more);
        let output = installation.run(&arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    let (code, said) = replay(&fixtures.join("counter.jsonl"), &[]);
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "cpu.pkg",
        "20.000",
        "100 ms",
        "the headline would be cpu.pkg",
        "load begins",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let reset = fixtures.join("reset.jsonl");
    let (code, said) = replay(&reset, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("reset"), "{said}");
    assert!(!said.contains("20.000 ±"), "no number: {said}");
    assert_eq!(
        replay(&reset, &["--to", "2.5"]).0,
        Some(0),
        "before the reset"
    );
    assert_eq!(replay(&reset, &["--from", "3", "--to", "2"]).0, Some(2));

    let torn = std::fs::read_to_string(fixtures.join("counter.jsonl")).expect("it ships");
    let torn = installation.file("torn.jsonl", &torn[..torn.len() - 9]);
    let (code, said) = replay(&torn, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("cut off"), "{said}");
    let bad = installation.file("bad.jsonl", "{\"format\":\"other\"}\n");
    let (code, said) = replay(&bad, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("bad.jsonl:1") && said.contains("--record"),
        "{said}"
    );
}
