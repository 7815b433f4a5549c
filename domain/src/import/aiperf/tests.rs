//! `AIPerf` exports, hand-made for each quirk and real ones.

use super::super::Format::Aiperf;
use super::super::tests::testing::{
    close, keeps_private, one, real, redacts, rows, says, survives_damage, unknown,
};

const EXPORT: &str = r#"{"schema_version": "1.1", "aiperf_version": "0.5.0",
 "request_throughput": {"unit": "requests/sec", "avg": 2.0}, "request_count": {"unit": "requests", "avg": 20.0},
 "request_latency": {"unit": "ms", "avg": 1500.0}, "time_to_first_token": {"unit": "ms", "avg": 60.0,
  "p50": 55.0, "p99": 95.0}, "inter_token_latency": {"unit": "ms", "avg": 20.0, "p50": 19.0},
 "inter_chunk_latency": {"unit": "ms", "avg": 20.5}, "output_token_throughput": {"unit": "tokens/sec", "avg": 150.0},
 "output_token_throughput_per_user": {"unit": "tokens/sec/user", "avg": 51.0},
 "output_sequence_length": {"unit": "tokens", "avg": 75.0}, "input_sequence_length": {"unit": "tokens", "avg": 99.6},
 "prefill_throughput_per_user": {"unit": "tokens/sec/user", "avg": 21547.0}, "goodput": null,
 "error_request_count": {"unit": "requests", "avg": 3.0}, "error_summary": [{"error_details":
 {"message": "host.internal refused"}, "count": 3}], "was_cancelled": false,
 "input_config": {"endpoint": {"model_names": ["acme/tiny-7b"], "url": "http://host.internal",
  "api_key": "sk-secret", "streaming": true}, "loadgen": {"concurrency": 4},
  "cli_command": "aiperf profile --api-key sk-secret"}, "start_time": "2026-01-01T00:00:00"}"#;

#[test]
fn its_latency_between_tokens_is_the_time_per_token() {
    let row = one(EXPORT, Aiperf);
    close(row.tpot_ms, 20.0);
    close(row.tpot_ms_p50, 19.0);
    close(row.itl_ms, 20.5);
    close(row.decode_tokens_per_second, 51.0);
    close(row.aggregate_decode_tokens_per_second, 150.0);
    assert_eq!(row.prefill_tokens_per_second, None);
    close(row.ttft_ms, 60.0);
    close(row.ttft_ms_p99, 95.0);
    assert_eq!((row.n, row.failed_requests), (Some(20), Some(3)));
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(100), Some(75))
    );
    assert_eq!(row.test, "100/75, 4 at once");
    assert_eq!(row.model.as_deref(), Some("acme/tiny-7b"));
    assert_eq!(row.tool_version.as_deref(), Some("0.5.0"));
}

#[test]
fn addresses_commands_and_errors_stay_out() {
    redacts(EXPORT, &["secret"]);
    keeps_private(
        &rows(EXPORT, Aiperf),
        &["secret", "host.internal", "cli_command"],
    );
}

#[test]
fn units_are_read_and_an_unknown_one_is_damage() {
    let in_seconds = EXPORT.replace(
        r#""request_latency": {"unit": "ms", "avg": 1500.0}"#,
        r#""request_latency": {"unit": "sec", "avg": 1.5}"#,
    );
    assert_eq!(one(&in_seconds, Aiperf).request_ms, Some(1500.0));
    let in_nanoseconds = EXPORT.replace(
        r#""inter_chunk_latency": {"unit": "ms", "avg": 20.5}"#,
        r#""inter_chunk_latency": {"unit": "ns", "avg": 20500000}"#,
    );
    close(one(&in_nanoseconds, Aiperf).itl_ms, 20.5);
    let in_hours = EXPORT.replace(r#""unit": "tokens/sec", "#, r#""unit": "tokens/hour", "#);
    let error = super::super::read("hand-made.json", in_hours.as_bytes());
    assert!(error.is_err_and(|it| it.to_string().contains("tokens/hour")));
}

#[test]
fn the_first_releases_wrap_their_metrics_in_records() {
    let first = r#"{"records": {"ttft": {"tag": "ttft", "unit": "ms", "avg": 60.0},
      "request_latency": {"unit": "ms", "avg": 1500.0}, "request_count": {"unit": "requests", "avg": 20.0},
      "inter_token_latency": {"unit": "ms", "avg": 20.0}, "output_sequence_length": {"unit": "tokens", "avg": 75.0}},
      "input_config": {"endpoint": {"model_names": ["acme/tiny-7b"]}, "loadgen": {"concurrency": 2}},
      "was_cancelled": true, "error_summary": []}"#;
    let row = one(first, Aiperf);
    close(row.ttft_ms, 60.0);
    close(row.tpot_ms, 20.0);
    assert_eq!((row.concurrency, row.failed_requests), (Some(2), Some(0)));
    assert!(says(&row.notes, "cancelled"));
}

#[test]
fn genai_perf_is_read_and_its_times_without_streaming_are_no_ttft() {
    let export = r#"{"request_throughput": {"unit": "requests/sec", "avg": 21.6},
      "request_latency": {"unit": "ms", "avg": 4610.0}, "time_to_first_token": {"unit": "ms", "avg": 4610.0},
      "output_token_throughput": {"unit": "tokens/sec", "avg": 12277.0},
      "output_token_throughput_per_request": {"unit": "tokens/sec", "avg": 124.9},
      "output_sequence_length": {"unit": "tokens", "avg": 567.8},
      "input_config": {"subcommand": "profile", "model": ["ensemble"], "streaming": false, "concurrency": 100,
      "endpoint": null, "tokenizer": "/home/someone/tokenizer"}}"#;
    let row = one(export, Aiperf);
    assert_eq!(row.ttft_ms, None);
    assert_eq!(row.decode_tokens_per_second, None);
    close(row.aggregate_decode_tokens_per_second, 12_277.0);
    assert_eq!(
        (row.model.as_deref(), row.concurrency),
        (Some("ensemble"), Some(100))
    );
    assert!(says(&row.notes, "GenAI-Perf"), "{:?}", row.notes);
}

#[test]
fn a_run_in_which_all_failed_is_no_speed() {
    let failed = r#"{"error_request_count": {"unit": "requests", "avg": 64.0}, "input_config":
      {"endpoint": {"model_names": ["acme/tiny-7b"]}}, "was_cancelled": false,
      "error_summary": [{"count": 64}]}"#;
    let row = one(failed, Aiperf);
    assert_eq!(
        row.failed.as_deref(),
        Some("no request succeeded, 64 failed")
    );
    assert_eq!(row.failed_requests, Some(64));
}

#[test]
fn energy_of_the_boards_is_taken_with_its_scope() {
    let with = EXPORT.replacen(
        '{',
        r#"{"total_gpu_energy": {"unit": "kJ", "avg": 26.5},
            "output_tokens_per_joule": {"unit": "tokens/J", "avg": 0.5}, "#,
        1,
    );
    let row = one(&with, Aiperf);
    close(row.energy_joules, 26_500.0);
    close(row.joules_per_output_token, 2.0);
    assert!(
        row.energy_scope
            .is_some_and(|it| it.starts_with("gpu.board"))
    );
}

#[test]
fn its_other_exports_are_named() {
    let aggregate = r#"{"schema_version": "1.0", "metadata": {"aggregation_type": "confidence"}, "metrics": {}}"#;
    assert!(unknown(aggregate).contains("aggregate of several runs"));
    let single = r#"{"metadata": {"x_request_id": "1"}, "metrics": {"request_latency": {"value": 1.0, "unit": "ms"}}}"#;
    assert!(unknown(single).contains("single requests"));
    let slices = r#"{"timeslices": [{"timeslice_index": 0}], "input_config": {}}"#;
    assert!(unknown(slices).contains("time slices"));
}

#[test]
fn damage_gives_rows_or_an_error() {
    survives_damage(EXPORT);
}

#[test]
fn the_real_first_schema_is_read() {
    let Some(export) = real(
        "aiperf/qwen_concurrency1_profile_export_aiperf.json",
        Aiperf,
    ) else {
        return;
    };
    let row = &export.rows[0];
    close(row.ttft_ms, 30.814_987_671_875);
    close(row.ttft_ms_p50, 30.668_547_999_999_998);
    close(row.ttft_ms_p99, 34.344_268_879_999_994);
    close(row.tpot_ms, 18.199_095_331_601_38);
    close(row.itl_ms, 18.197_640_450_062_813);
    close(row.decode_tokens_per_second, 54.967_632_103_509_22);
    close(
        row.aggregate_decode_tokens_per_second,
        50.082_138_639_711_12,
    );
    close(row.request_ms, 3_652.145_437_234_374_6);
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(100), Some(200))
    );
    assert_eq!(
        (row.n, row.failed_requests, row.concurrency),
        (Some(64), Some(0), Some(1))
    );
    assert_eq!(row.model.as_deref(), Some("Qwen/Qwen3-0.6B"));
    assert_eq!(
        row.hardware.as_deref(),
        Some("NVIDIA RTX 6000 Ada Generation")
    );
    assert_eq!(
        (row.energy_joules, row.prefill_tokens_per_second),
        (None, None)
    );
    keeps_private(
        &export,
        &["localhost", "test-host", "aiperf profile", "artifacts"],
    );
}

#[test]
fn the_real_conversations_give_no_prefill_rate() {
    let Some(export) = real(
        "aiperf/rtx5090_qwen3.6-35b-a3b-nvfp4_agent_c16_profile_export_aiperf.json",
        Aiperf,
    ) else {
        return;
    };
    let row = &export.rows[0];
    assert_eq!(row.prefill_tokens_per_second, None);
    close(row.decode_tokens_per_second, 85.656_913_289_808_26);
    close(
        row.aggregate_decode_tokens_per_second,
        1_172.145_991_694_937,
    );
    close(row.tpot_ms, 11.847_342_175_364_519);
    close(row.itl_ms, 11.988_285_643_080_944);
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(3761), Some(544))
    );
    assert_eq!((row.n, row.concurrency), (Some(96), Some(16)));
    assert_eq!(row.model.as_deref(), Some("qwen3.6-nvfp4"));
    assert_eq!(
        (row.tool_version.as_deref(), row.hardware.as_deref()),
        (Some("0.10.0"), None)
    );
    assert!(says(&row.notes, "several turns"), "{:?}", row.notes);
    assert!(says(
        &row.notes,
        "tokenizer of nvidia/Qwen3.6-35B-A3B-NVFP4"
    ));
    assert!(says(&row.notes, "96 outputs are not as long"));
    keeps_private(&export, &["localhost", "datasets/aiperf"]);
}
