//! Tests on guidellm reports: hand-made ones for each quirk, and real ones.

use super::super::Format::Guidellm;
use super::super::tests::testing::{
    close, keeps_private, one, real, redacts, rows, says, survives_damage, unknown,
};

const REPORT: &str = r#"{"metadata": {"version": 1, "guidellm_version": "0.5.0"},
 "args": {"target": "http://user:secret@host.internal:8000", "model": "acme/tiny-7b",
  "backend_kwargs": {"api_key": "sk-secret"}},
 "benchmarks": [{"type_": "generative_benchmark", "config": {"strategy": {"type_": "concurrent",
  "streams": 8}, "backend": {"model": "acme/tiny-7b", "target": "http://host.internal"}},
  "scheduler_metrics": {}, "start_time": 1709164800.5, "end_time": 1709164860.0, "duration": 59.5,
  "metrics": {"request_totals": {"successful": 40, "errored": 2, "incomplete": 3, "total": 45},
   "request_latency": {"successful": {"mean": 2.5, "median": 2.4}},
   "prompt_token_count": {"successful": {"mean": 511.6}},
   "output_token_count": {"successful": {"mean": 128.0}},
   "time_to_first_token_ms": {"successful": {"mean": 60.0, "median": 55.0,
     "percentiles": {"p99": 95.0}}},
   "time_per_output_token_ms": {"successful": {"mean": 19.5}},
   "inter_token_latency_ms": {"successful": {"mean": 20.0, "median": 19.9}},
   "output_tokens_per_second": {"successful": {"mean": 380.0}}},
  "requests": {"successful": [{"output": "a private answer"}], "errored": [], "incomplete": []}}]}"#;

#[test]
fn the_time_per_token_is_the_one_without_the_first_token() {
    let row = one(REPORT, Guidellm);
    close(row.tpot_ms, 20.0);
    close(row.decode_tokens_per_second, 50.0);
    assert_eq!(row.itl_ms, None);
    close(row.aggregate_decode_tokens_per_second, 380.0);
    close(row.request_ms, 2500.0);
    assert_eq!(
        (row.ttft_ms, row.ttft_ms_p50, row.ttft_ms_p99),
        (Some(60.0), Some(55.0), Some(95.0))
    );
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(512), Some(128))
    );
    assert_eq!(row.test, "concurrent, 8 at once");
    assert_eq!(row.concurrency, Some(8));
    assert_eq!((row.n, row.failed_requests), (Some(40), Some(2)));
    assert!(says(&row.notes, "in no figure: 3"));
    assert_eq!(row.tool_version.as_deref(), Some("0.5.0"));
    assert_eq!(row.measured_at.as_deref(), Some("2024-02-29T00:00:00Z"));
    assert_eq!(row.model.as_deref(), Some("acme/tiny-7b"));
}

#[test]
fn targets_keys_and_answers_stay_out() {
    redacts(REPORT, &["secret"]);
    keeps_private(
        &rows(REPORT, Guidellm),
        &["secret", "host.internal", "private answer"],
    );
}

#[test]
fn a_run_without_success_failed() {
    let none = REPORT.replace("\"successful\": 40", "\"successful\": 0");
    let row = one(&none, Guidellm);
    assert!(row.failed.is_some());
    assert_eq!(row.decode_tokens_per_second, None);
    let silent = REPORT.replace(
        "\"output_token_count\": {\"successful\": {\"mean\": 128.0}}",
        "\"output_token_count\": {\"successful\": {\"mean\": 0.0}}",
    );
    assert_eq!(
        one(&silent, Guidellm).failed.as_deref(),
        Some("no output tokens")
    );
}

#[test]
fn the_same_report_in_yaml_is_the_same() {
    let yaml = "benchmarks:\n- type_: generative_benchmark\n  args:\n    strategy:\n      type_: constant\n      rate: 1.5\n  run_stats: {}\n  request_totals:\n    errored: 0\n    incomplete: 1\n    successful: 14\n  worker:\n    backend_model: acme/tiny-7b\n  metrics:\n    request_latency:\n      successful:\n        mean: 3.5\n    output_token_count:\n      successful:\n        mean: 127.99999\n    inter_token_latency_ms:\n      successful:\n        mean: 25.0\n    time_to_first_token_ms:\n      successful:\n        mean: .nan\n";
    let row = one(yaml, Guidellm);
    assert_eq!(row.test, "constant, 1.5000 requests/s");
    assert_eq!(row.concurrency, None);
    close(row.decode_tokens_per_second, 40.0);
    assert_eq!(row.output_tokens, Some(128));
    assert_eq!(row.ttft_ms, None);
    assert_eq!(row.n, Some(14));
}

#[test]
fn requests_of_the_first_version_are_summed_up_as_it_did() {
    let first = r#"{"id": "1", "benchmarks": [{"id": "2", "args": {"model": "acme/tiny-7b",
      "target": "http://host.internal"}, "benchmarks": [{"id": "3", "mode": "asynchronous", "rate": 2.0,
      "results": [
       {"prompt_token_count": 10, "output_token_count": 20, "start_time": 1709164800.0,
        "end_time": 1709164801.0, "first_token_time": 0.1, "decode_times": {"data": [0.05, 0.03]}},
       {"prompt_token_count": 30, "output_token_count": 40, "start_time": 1709164801.0,
        "end_time": 1709164803.0, "first_token_time": 0.3, "decode_times": {"data": [0.04]}}],
      "errors": [{"message": "secret"}], "concurrencies": []}]}]}"#;
    let row = one(first, Guidellm);
    assert_eq!((row.n, row.failed_requests), (Some(2), Some(1)));
    close(row.ttft_ms, 200.0);
    close(row.itl_ms, 40.0);
    close(row.request_ms, 1500.0);
    close(row.aggregate_decode_tokens_per_second, 20.0);
    assert_eq!((row.prompt_tokens, row.output_tokens), (Some(20), Some(30)));
    keeps_private(&rows(first, Guidellm), &["secret", "host.internal"]);
}

#[test]
fn benchmarks_of_other_tools_are_not_its() {
    let other = r#"{"benchmarks": [{"name": "bm", "run_name": "bm", "real_time": 1.0}]}"#;
    assert!(unknown(other).contains("benchmarks"));
}

#[test]
fn damage_gives_rows_or_an_error() {
    survives_damage(REPORT);
}

#[test]
fn the_real_sweep_is_read() {
    let Some(report) = real("guidellm/v0.2_sweep_benchmarks_stripped.json", Guidellm) else {
        return;
    };
    assert_eq!(report.rows.len(), 1);
    let row = &report.rows[0];
    assert_eq!(row.test, "synchronous");
    assert_eq!(row.concurrency, Some(1));
    assert_eq!((row.n, row.failed_requests), (Some(46), Some(0)));
    close(row.ttft_ms, 16.792_535_781_860_348);
    close(row.ttft_ms_p99, 21.281_957_626_342_773);
    close(row.tpot_ms, 4.941_609_043_733_832);
    close(row.decode_tokens_per_second, 1000.0 / 4.941_609_043_733_832);
    close(
        row.aggregate_decode_tokens_per_second,
        198.133_467_517_881_23,
    );
    close(row.request_ms, 644.474_366_436_833_9);
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(257), Some(128))
    );
    assert_eq!(row.model.as_deref(), Some("example_model"));
    assert_eq!(row.measured_at.as_deref(), Some("2025-06-05T20:59:28Z"));
    assert!(says(&row.notes, "in no figure: 1"), "{:?}", row.notes);
    keeps_private(&report, &["sacrifice", "example_target", "said Jane"]);
}

#[test]
fn the_real_yaml_is_read() {
    let Some(report) = real("guidellm/llama-3.2-3b_synchronous.yaml", Guidellm) else {
        return;
    };
    let row = &report.rows[0];
    assert_eq!((row.test.as_str(), row.n), ("synchronous", Some(14)));
    close(row.ttft_ms, 409.563_541_412_353_5);
    close(row.tpot_ms, 27.583_449_710_206_587);
    close(row.decode_tokens_per_second, 36.253_623_489_152_55);
    close(
        row.aggregate_decode_tokens_per_second,
        32.686_295_667_272_24,
    );
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(513), Some(128))
    );
    assert_eq!(row.measured_at.as_deref(), Some("2025-07-20T22:39:30Z"));
    keeps_private(&report, &["deceive", "svc.cluster.local", "TimeoutError"]);
}
