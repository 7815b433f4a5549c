//! Laws of the probes: sums, bounds, order. Never a speed.

use std::path::PathBuf;

use super::read::{Line, smaller_sizes, sum, sum_plain};
use super::*;

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path: PathBuf = root.path().join(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("a folder");
        fs::write(path, text).expect("writable");
    }
    root
}

fn limits(cache_bytes: Option<u64>, available_bytes: Option<u64>) -> Limits {
    Limits {
        cache_bytes,
        available_bytes,
    }
}

#[test]
fn every_word_is_added_exactly_once() {
    for lines in [0_u64, 1, 3, 4, 7, 8, 9, 31, 1_000] {
        let part: Vec<Line> = (0..lines)
            .map(|line| {
                Line(std::array::from_fn(|word| {
                    (line * 8 + word as u64).wrapping_mul(u64::MAX / 7)
                }))
            })
            .collect();
        let expected = part
            .iter()
            .flat_map(|line| line.0)
            .fold(0, u64::wrapping_add);
        assert_eq!(sum(&part), expected, "{lines} lines in vectors");
        assert_eq!(sum_plain(&part), expected, "{lines} lines plainly");
    }
}

#[test]
fn every_lane_does_every_step() {
    // Each lane stays at exactly 1, so the sum of all is their number.
    let sum = multiply::work(1_000);
    assert!((sum - multiply::lanes() as f32).abs() < 0.5, "{sum}");
}

#[test]
fn the_largest_set_is_four_caches_within_memory_and_the_bound() {
    let largest = |cache, available| limits(cache, available).largest_bytes();
    assert_eq!(largest(Some(100 << 20), Some(64 << 30)), 400 << 20);
    assert_eq!(
        largest(Some(1 << 20), Some(64 << 30)),
        256 << 20,
        "small caches"
    );
    assert_eq!(largest(Some(2 << 30), Some(64 << 30)), 4 << 30, "the bound");
    assert_eq!(largest(None, None), 1 << 30, "nothing is known");
    assert_eq!(
        largest(None, Some(1 << 30)),
        256 << 20,
        "a quarter of what is free"
    );
    assert_eq!(largest(None, Some(0)), MIN_WORKING_SET_BYTES);
}

#[test]
fn the_curve_rises_in_size_and_ends_with_the_largest_set() {
    let found = bandwidth(
        limits(Some(1 << 20), Some(64 << 20)),
        2,
        Duration::from_millis(50),
    )
    .expect("the probe runs");
    let sizes: Vec<u64> = found
        .curve
        .iter()
        .map(|point| point.working_set_bytes)
        .collect();
    assert!(sizes.is_sorted_by(|a, b| a < b), "{sizes:?}");
    assert_eq!(sizes.last(), Some(&(16 << 20)));
    assert!(found.curve.iter().all(|point| point.bytes_s > 0));
    assert_eq!(
        found.memory_bytes_s,
        found.curve.last().map(|point| point.bytes_s)
    );
}

#[test]
fn what_caches_may_serve_is_no_memory_bandwidth() {
    let probe = |cache| {
        bandwidth(
            limits(Some(cache), Some(16 << 20)),
            1,
            Duration::from_millis(20),
        )
        .expect("runs")
    };
    assert_eq!(probe(8 << 20).memory_bytes_s, None, "all of it");
    assert_eq!(probe(2 << 20).memory_bytes_s, None, "part of it");
    assert!(probe(1 << 20).memory_bytes_s.is_some());
}

#[test]
fn no_budget_still_measures_the_largest_set() {
    let found = bandwidth(limits(None, Some(8 << 20)), 3, Duration::ZERO).expect("runs");
    assert_eq!(found.curve.len(), 1);
}

#[test]
fn many_threads_have_no_tiny_parts() {
    let sizes = smaller_sizes(1 << 30, 96);
    assert_eq!(sizes.first(), Some(&(2 << 20)));
    assert_eq!(sizes.last(), Some(&(512 << 20)));
}

#[test]
fn arithmetic_is_counted() {
    assert!(compute(2, Duration::ZERO).expect("runs") > 0);
}

#[test]
fn caches_are_added_once_each() {
    let cache = |cpu: u32, index: u32, level: &str, size: &str, shared: &str, kind: &str| {
        let folder = format!("sys/devices/system/cpu/cpu{cpu}/cache/index{index}");
        [
            (format!("{folder}/level"), level.to_owned()),
            (format!("{folder}/size"), size.to_owned()),
            (format!("{folder}/shared_cpu_list"), shared.to_owned()),
            (format!("{folder}/type"), kind.to_owned()),
        ]
    };
    let files: Vec<(String, String)> = [
        cache(0, 0, "1", "48K", "0", "Data"),
        cache(0, 3, "3", "32768K", "0-1", "Unified"),
        cache(1, 3, "3", "32768K", "0-1", "Unified"),
        cache(2, 3, "3", "32M", "2-3", "Unified"),
    ]
    .concat();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let root = tree(&files);
    assert_eq!(Limits::of(root.path()).cache_bytes, Some(64 << 20));
    assert_eq!(Limits::of(tree(&[]).path()), limits(None, None));
}
