//! The bandwidth probe against a STREAM-style read compiled from C, alternating, on the same
//! cores and sizes: `cargo bench -p runner --bench bandwidth` (with `--profile dev` it builds sooner; the
//! runner is optimised there too).
//!
//! Prints the medians and the ratio's interval over the rounds. Both take the best of several
//! passes, each in memory of its own. Needs `cc`.

#![expect(clippy::print_stdout, reason = "its result is what it prints")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use domain::statistics::interval::median_interval;
use runner::probe::{Limits, bandwidth_of};

const ROUNDS: usize = 9;
const PASSES: &str = "12";

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the compiled read");
    let program = folder.path().join("read");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/bandwidth.c");
    // Left to itself GCC uses half of a 512-bit unit; where the flag means nothing it is left out.
    let wide = ["-mprefer-vector-width=512", "-funroll-loops"];
    let built = |more: &[&str]| {
        let compiled = Command::new("cc")
            .args(["-O3", "-march=native", "-pthread"])
            .args(more)
            .args([source, "-o"])
            .arg(&program)
            .status();
        compiled.is_ok_and(|status| status.success())
    };
    if !built(&wide) && !built(&[]) {
        println!("SKIPPED: `cc -O3 -march=native -pthread` does not work here");
        return;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let limits = Limits::of(Path::new("/"));
    println!(
        "{threads} threads; last-level caches: {:?} bytes",
        limits.cache_bytes
    );
    for bytes in [limits.largest_bytes() / 4, limits.largest_bytes()] {
        compare(&program, threads, bytes);
    }
}

fn compare(program: &Path, threads: usize, bytes: u64) {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Who goes first alternates, so that a drift of the machine favours neither.
        let (a, b) = if round % 2 == 0 {
            let a = probe(bytes, threads);
            (a, compiled(program, bytes, threads))
        } else {
            let b = compiled(program, bytes, threads);
            (probe(bytes, threads), b)
        };
        ours.push(a / 1e9);
        theirs.push(b / 1e9);
        ratios.push(a / b);
    }
    println!("{} MiB:", bytes >> 20);
    for (what, values) in [
        ("probe, GB/s", &ours),
        ("C, GB/s", &theirs),
        ("probe / C", &ratios),
    ] {
        match median_interval(values) {
            Some(i) => println!(
                "  {what:12} {:8.3}  ({:.3} to {:.3}, n = {})",
                i.median, i.low, i.high, i.n
            ),
            None => println!("  {what:12} no interval"),
        }
    }
}

fn probe(bytes: u64, threads: usize) -> f64 {
    // A budget that the most passes end before: as many as the compiled read does.
    let point = bandwidth_of(bytes, threads, Duration::from_secs(10)).expect("the probe runs");
    point.bytes_s as f64
}

fn compiled(program: &Path, bytes: u64, threads: usize) -> f64 {
    let output = Command::new(program)
        .args([&threads.to_string(), &bytes.to_string(), PASSES])
        .output()
        .expect("the compiled read runs");
    let text = String::from_utf8(output.stdout).expect("digits");
    let rate = text.split_whitespace().next().expect("a rate first");
    rate.parse().expect("a number")
}
