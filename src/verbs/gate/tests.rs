//! What becomes of a verdict when something goes wrong behind it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use clap::Parser as _;
use domain::gate::Metric;
use domain::gate::fixtures::Example;
use domain::record::Audience;

use super::*;
use crate::cli::{Cli, Verb};

/// What was typed after `gate`, with a data folder of its own.
fn typed(data: &Path, arguments: &[&str]) -> (Gate, Config) {
    let data = data.to_str().expect("text");
    let line = ["joulemark", "gate", "--data", data];
    let cli = Cli::try_parse_from(line.iter().chain(arguments)).expect("a command line");
    let Verb::Gate(gate) = cli.verb else {
        panic!("another verb");
    };
    (*gate, Config::resolve(cli.folders).expect("folders"))
}

/// A confirmed regression of 5 %, or a pass.
fn record(regresses: bool) -> GateRecord {
    let effect = if regresses { 0.05 } else { 0.0 };
    Example {
        confirmation: if regresses { 16 } else { 0 },
        block_sd: 0.003,
        ..Example::of("mini", "pp64-tg64", &[(Metric::Decode, effect)])
    }
    .record()
}

/// Judges a sealed result again, with a report that goes to `junit`.
fn judged_again(regresses: bool, junit: &str) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("result.json");
    let data = folder.path().join("data");
    let path = file.to_str().expect("text");
    let (args, config) = typed(&data, &["--judge", path, "--junit", junit]);
    let kept = Kept::open(&config).expect("a key");
    let measured = kept.judge(record(regresses)).expect("no contradiction");
    std::fs::write(&file, measured.envelope().expect("sealed")).expect("writable");
    drop(kept);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(gate(args, config))
}

#[test]
fn a_regression_that_cannot_be_reported_is_one_and_a_pass_is_none() {
    // A device that opens, and is full.
    const FULL: &str = "/dev/full";
    if !Path::new(FULL).exists() {
        return println!("SKIPPED: there is no {FULL}");
    }
    let ended = |regresses| judged_again(regresses, FULL).expect("a verdict");
    assert_eq!(ended(true), Exit::No);
    assert_eq!(ended(false), Exit::Infrastructure);
}

#[test]
fn a_report_that_cannot_be_opened_is_a_mistake_of_the_command_line() {
    let refused = judged_again(true, "/nonexistent/gate.xml").expect_err("no such folder");
    assert_eq!(refused.exit, Exit::Usage);
    assert!(format!("{:#}", refused.error).contains("--junit"));
}

#[test]
fn what_was_recovered_and_cannot_be_kept_is_still_what_it_came_to() {
    for (regresses, exit) in [(true, Exit::No), (false, Exit::Infrastructure)] {
        let folder = tempfile::tempdir().expect("a folder");
        let (args, config) = typed(folder.path(), &[]);
        let mut told = Told::new(&args.shown, args.mode);
        let kept = Kept::open(&config).expect("a spool");
        std::fs::remove_dir(config.spool().join("tmp")).expect("empty");
        let lost = recovered(record(regresses), &kept, &mut told).expect_err("no folder");
        assert_eq!(lost.exit, exit);
        let said = format!("{:#}", lost.error);
        let word = if regresses { "REGRESSED" } else { "PASS" };
        assert!(
            said.starts_with(word) && said.contains("could not be kept"),
            "{said}"
        );
    }
}

/// Answers one request, and returns its address.
fn collector(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let mut request = Vec::new();
        let mut bytes = [0; 4096];
        // All of it, or the connection is reset under the answer.
        let is_whole = |request: &[u8]| {
            let text = String::from_utf8_lossy(request).to_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                return false;
            };
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            length.and_then(|n| n.parse().ok()).unwrap_or(0) <= body.len()
        };
        while !is_whole(&request) {
            let read = stream.read(&mut bytes).expect("a request");
            request.extend_from_slice(&bytes[..read]);
        }
        stream.write_all(answer.as_bytes()).expect("an answer");
    });
    url
}

#[test]
fn a_refusal_by_the_collector_is_no_regression() {
    let url = collector("HTTP/1.1 422 Unprocessable Content\r\nContent-Length: 0\r\n\r\n");
    let folder = tempfile::tempdir().expect("a folder");
    let (_, config) = typed(folder.path(), &[]);
    let kept = Kept::open(&config).expect("a spool");
    let measured = kept.judge(record(false)).expect("no contradiction");
    let sealed = measured.sealed.expect("sealed");
    kept.put(&sealed).expect("kept");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sent = runtime.block_on(kept.send(Some(&url), Audience::Any));
    let refused = sent.expect_err("refused");
    let after = |verdict| {
        let mut after = After::of(verdict);
        let refused = Failure {
            exit: refused.exit,
            error: anyhow::anyhow!("refused"),
        };
        assert!(after.take::<()>(Err(refused)).is_none());
        after.exit()
    };
    assert_eq!(after(Exit::Fine), Exit::Infrastructure);
    assert_eq!(after(Exit::No), Exit::No);
}
