//! Tests on genai-bench runs: hand-made ones for each quirk, and real ones.

use super::super::Format::GenaiBench;
use super::super::tests::foreign;
use super::super::tests::testing::{close, one, real, rows, says, survives_damage, unknown};

const RUN: &str = r#"{"aggregated_metrics": {"scenario": "D(100,50)", "num_concurrency": 4, "batch_size": 1,
 "iteration_type": "num_concurrency", "run_duration": 10.0, "mean_output_throughput_tokens_per_s": 100.0,
 "mean_input_throughput_tokens_per_s": 200.0, "requests_per_second": 2.0, "error_codes_frequency":
 {"429": 2}, "num_error_requests": 2, "num_completed_requests": 20, "num_requests": 22,
 "stats": {"ttft": {"mean": 0.25, "p50": 0.2, "p99": 0.5}, "tpot": {"mean": 0.02, "p50": 0.019},
  "e2e_latency": {"mean": 1.25}, "output_inference_speed": {"mean": 52.0},
  "num_input_tokens": {"mean": 100.4}, "num_output_tokens": {"mean": 50.0},
  "input_throughput": {"mean": 400.0}, "output_throughput": {"mean": 52.0}}},
 "individual_request_metrics": [{"error_message": "a private message"}], "_time_unit": "s"}"#;

#[test]
fn a_users_rate_and_the_servers_are_told_apart() {
    let row = one(RUN, GenaiBench);
    close(row.decode_tokens_per_second, 52.0);
    close(row.aggregate_decode_tokens_per_second, 100.0);
    assert_eq!(row.prefill_tokens_per_second, None);
    close(row.ttft_ms, 250.0);
    close(row.tpot_ms, 20.0);
    close(row.request_ms, 1250.0);
    assert_eq!((row.n, row.failed_requests), (Some(20), Some(2)));
    assert_eq!(row.test, "D(100,50), 4 at once");
}

#[test]
fn milliseconds_stay_milliseconds_and_another_unit_is_damage() {
    let row = one(
        &RUN.replace("\"_time_unit\": \"s\"", "\"_time_unit\": \"ms\""),
        GenaiBench,
    );
    close(row.ttft_ms, 0.25);
    close(row.tpot_ms, 0.02);
    let hours = RUN.replace("\"_time_unit\": \"s\"", "\"_time_unit\": \"h\"");
    let error = super::super::read("hand-made.json", hours.as_bytes());
    assert!(error.is_err_and(|it| it.to_string().contains("_time_unit is h")));
}

#[test]
fn runs_without_success_or_tokens_failed() {
    let none = RUN.replace(
        "\"num_completed_requests\": 20",
        "\"num_completed_requests\": 0",
    );
    assert_eq!(
        one(&none, GenaiBench).failed.as_deref(),
        Some("none of 22 requests was completed")
    );
    let images = RUN.replace(
        "\"num_output_tokens\": {\"mean\": 50.0}",
        "\"num_output_tokens\": {\"mean\": 0}",
    );
    let row = one(&images, GenaiBench);
    assert!(row.failed.is_some_and(|it| it.contains("embeddings")));
    assert_eq!(row.aggregate_decode_tokens_per_second, None);
}

#[test]
fn the_description_of_an_experiment_is_refused_and_its_command_is_not_said() {
    let described = r#"{"cmd": "genai-bench --api-key sk-secret", "api_backend": "openai",
        "traffic_scenario": ["D(1,1)"], "experiment_folder_name": "/home/someone/x"}"#;
    let found = unknown(described);
    assert!(found.contains("give the file of a run"), "{found}");
    assert!(!found.contains("secret"));
}

#[test]
fn damage_gives_rows_or_an_error() {
    survives_damage(RUN);
}

#[test]
fn the_real_run_is_read() {
    let Some(run) = real("genai-bench/glm-4.6_D100_100_conc1.json", GenaiBench) else {
        return;
    };
    let row = &run.rows[0];
    assert_eq!(row.test, "D(100,100), 1 at once");
    close(row.decode_tokens_per_second, 85.298_497_944_555_18);
    close(
        row.aggregate_decode_tokens_per_second,
        61.539_203_954_990_27,
    );
    close(row.ttft_ms, 320.954_104_400_152_6);
    close(row.ttft_ms_p50, 315.504_667_000_822_5);
    close(row.ttft_ms_p99, 438.001_115_589_922_85);
    close(row.tpot_ms, 13.156_537_792_930_995);
    close(row.request_ms, 1_623.451_345_900_321);
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(106), Some(100))
    );
    assert_eq!((row.n, row.failed_requests), (Some(10), Some(0)));
    assert_eq!(
        (row.model.as_deref(), row.prefill_tokens_per_second),
        (None, None)
    );
}

#[test]
fn the_real_older_run_has_no_rate_of_the_server() {
    let Some(run) = real(
        "genai-bench/h100x4_llama-3.1-70b_sglang_fixture.json",
        GenaiBench,
    ) else {
        return;
    };
    let row = &run.rows[0];
    assert_eq!(row.aggregate_decode_tokens_per_second, None);
    assert!(
        says(&row.notes, "no rate of the whole server"),
        "{:?}",
        row.notes
    );
    close(row.decode_tokens_per_second, 55.830_893_413_512_54);
    close(row.tpot_ms, 17.912_086_899_741_553);
    close(row.ttft_ms, 52.355_327_177_792_79);
    assert_eq!(row.n, Some(32));
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(91), Some(100))
    );
}

#[test]
fn the_real_description_is_refused() {
    let Some(bytes) = foreign("genai-bench/glm-4.6_experiment_metadata.json") else {
        return;
    };
    let found = unknown(&String::from_utf8_lossy(&bytes));
    assert!(found.contains("give the file of a run"), "{found}");
    let row = rows(RUN, GenaiBench);
    assert!(!says(&row.notes, "private"));
}
