//! Tests on vLLM serving runs: hand-made ones for each quirk, and real ones.

use super::super::Format::VllmBenchServe;
use super::super::tests::testing::{
    close, keeps_private, one, real, redacts, rows, says, survives_damage, unknown,
};

const RUN: &str = r#"{"date": "20260101-120000", "backend": "vllm",
 "model_id": "/home/someone/hub/models--acme--tiny-7b/snapshots/0a1b/", "tokenizer_id": "acme/tiny-7b",
 "best_of": 1, "num_prompts": 10, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 4,
 "duration": 10.0, "completed": 8, "total_input_tokens": 800, "total_output_tokens": 400,
 "request_throughput": 0.8, "request_goodput:": null, "output_throughput": 40.0,
 "total_token_throughput": 120.0, "mean_ttft_ms": 50.0, "median_ttft_ms": 45.0, "p99_ttft_ms": 99.0,
 "mean_tpot_ms": 20.0, "median_tpot_ms": 19.0, "mean_itl_ms": 20.1, "mean_e2el_ms": 1030.0,
 "ttfts": [0.05], "itls": [[0.02]], "generated_texts": ["the secret answer"], "errors": ["host.internal"]}"#;

#[test]
fn one_users_rate_is_of_tpot_and_the_throughput_is_the_servers() {
    let row = one(RUN, VllmBenchServe);
    close(row.decode_tokens_per_second, 50.0);
    close(row.aggregate_decode_tokens_per_second, 40.0);
    assert_eq!(row.prefill_tokens_per_second, None);
    assert_eq!(row.aggregate_prefill_tokens_per_second, None);
    assert_eq!(row.model.as_deref(), Some("acme/tiny-7b"));
    assert_eq!(row.engine.as_deref(), Some("vllm"));
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(100), Some(50))
    );
    assert_eq!((row.n, row.failed_requests), (Some(8), Some(2)));
    close(row.ttft_ms_p50, 45.0);
    close(row.ttft_ms_p99, 99.0);
    assert_eq!(row.test, "at most 4 at once");
}

#[test]
fn texts_errors_and_folders_stay_out() {
    let imported = rows(RUN, VllmBenchServe);
    keeps_private(
        &imported,
        &["secret", "host.internal", "someone", "snapshots"],
    );
}

#[test]
fn a_servers_address_is_no_model_before_and_after_it_is_taken_out() {
    let text = RUN.replace(
        "/home/someone/hub/models--acme--tiny-7b/snapshots/0a1b/",
        "10.0.0.5:8000/alice",
    );
    assert_eq!(one(&text, VllmBenchServe).model, None);
    redacts(&text, &["10.0.0.5"]);
}

#[test]
fn a_run_without_a_completed_request_failed() {
    let row = one(
        &RUN.replace("\"completed\": 8", "\"completed\": 0"),
        VllmBenchServe,
    );
    assert_eq!(
        row.failed.as_deref(),
        Some("none of 10 requests was completed")
    );
    assert_eq!(row.decode_tokens_per_second, None);
    assert_eq!(row.aggregate_decode_tokens_per_second, None);
    let silent = RUN.replace("\"total_output_tokens\": 400", "\"total_output_tokens\": 0");
    assert!(one(&silent, VllmBenchServe).failed.is_some());
}

#[test]
fn zeros_of_a_server_that_does_not_stream_are_no_figures() {
    let row = one(
        &RUN.replace("\"mean_tpot_ms\": 20.0", "\"mean_tpot_ms\": 0.0")
            .replace("\"mean_ttft_ms\": 50.0", "\"mean_ttft_ms\": 0.0"),
        VllmBenchServe,
    );
    assert_eq!(row.failed, None);
    assert_eq!((row.tpot_ms, row.ttft_ms), (None, None));
    assert_eq!(row.decode_tokens_per_second, None);
}

#[test]
fn what_cannot_be_is_no_figure() {
    let row = one(
        &RUN.replace("\"mean_ttft_ms\": 50.0", "\"mean_ttft_ms\": -50.0")
            .replace("\"mean_itl_ms\": 20.1", "\"mean_itl_ms\": NaN"),
        VllmBenchServe,
    );
    assert_eq!((row.ttft_ms, row.itl_ms), (None, None));
    assert!(says(&row.notes, "-50"), "{:?}", row.notes);
    let row = one(
        &RUN.replace("\"output_throughput\": 40.0", "\"output_throughput\": 80.0"),
        VllmBenchServe,
    );
    assert!(says(&row.notes, "contradicts"), "{:?}", row.notes);
}

#[test]
fn several_runs_in_one_file_are_several_rows() {
    let two = format!("{}\n{}", RUN.replace('\n', ""), RUN.replace('\n', ""));
    assert_eq!(rows(&two, VllmBenchServe).rows.len(), 2);
    assert_eq!(
        rows(&format!("[{RUN},{RUN}]"), VllmBenchServe).rows.len(),
        2
    );
}

#[test]
fn other_tools_of_the_family_are_named() {
    let sglang = RUN.replace(
        "\"best_of\": 1",
        "\"total_output_tokens_retokenized\": 399, \"mean_e2e_latency_ms\": 1030.0",
    );
    assert!(unknown(&sglang).contains("SGLang"));
    let embeds = r#"{"duration": 1.0, "completed": 5, "total_input_tokens": 50,
        "total_input_sequences": 5, "request_throughput": 5.0, "input_sequence_throughput": 5.0}"#;
    assert!(unknown(embeds).contains("embedding"));
    let whole = r#"{"elapsed_time": 1.0, "num_requests": 5, "total_num_tokens": 50,
        "requests_per_second": 5.0, "tokens_per_second": 50.0}"#;
    assert!(unknown(whole).contains("throughput"));
    let latency = r#"{"avg_latency": 1.0, "latencies": [1.0], "percentiles": {"50": 1.0}}"#;
    assert!(unknown(latency).contains("latency"));
    let torch = r#"[{"benchmark": {"name": "x"}, "model": {"name": "y"},
        "metric": {"name": "mean_ttft_ms", "benchmark_values": [1.0]}}]"#;
    assert!(unknown(torch).contains("PyTorch"));
}

#[test]
fn damage_gives_rows_or_an_error() {
    survives_damage(RUN);
}

#[test]
fn real_runs_are_read() {
    let Some(run) = real(
        "vllm-bench-serve/16gpu_gpt-oss-120b_conc4.json",
        VllmBenchServe,
    ) else {
        return;
    };
    let row = &run.rows[0];
    assert_eq!(run.rows.len(), 1);
    assert_eq!(row.model.as_deref(), Some("openai/gpt-oss-120b"));
    close(
        row.aggregate_decode_tokens_per_second,
        459.216_071_751_821_97,
    );
    close(row.tpot_ms, 8.386_647_437_519_565);
    let rate = row.decode_tokens_per_second.expect("a rate");
    assert!((rate - 119.2371).abs() < 1e-3, "{rate}");
    close(row.ttft_ms, 330.796_380_568_062_9);
    close(row.ttft_ms_p50, 124.305_877_136_066_56);
    close(row.ttft_ms_p99, 987.525_454_279_966_5);
    close(row.request_ms, 8_910.336_709_150_579);
    assert_eq!(
        (row.concurrency, row.n, row.failed_requests),
        (Some(4), Some(40), Some(0))
    );
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(1024), Some(1024))
    );
    assert_eq!(row.measured_at.as_deref(), Some("20260428-105748"));
    assert_eq!(row.engine, None);

    let run = real(
        "vllm-bench-serve/gb10_gemma-4-26b-a4b_office-baseline.json",
        VllmBenchServe,
    );
    let row = &run.expect("it was there").rows[0];
    assert_eq!(row.test, "0.3 requests/s");
    assert_eq!(row.concurrency, None);
    assert!(
        says(&row.notes, "40 requests ran at once"),
        "{:?}",
        row.notes
    );
    assert!(says(&row.notes, "burstiness 0.7"));
    close(
        row.aggregate_decode_tokens_per_second,
        129.788_051_528_607_95,
    );
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(4077), Some(485))
    );
    assert_eq!(row.model.as_deref(), Some("google/gemma-4-26B-A4B-it"));

    let run = real(
        "vllm-bench-serve/mi355x_kimi-k2.5_1k1k_conc4.json",
        VllmBenchServe,
    );
    let row = &run.expect("it was there").rows[0];
    let rate = row.decode_tokens_per_second.expect("a rate");
    assert!((rate - 57.8231).abs() < 1e-3, "of TPOT, not of ITL: {rate}");
    close(row.itl_ms, 48.698_898_809_063_98);
    assert!(
        says(&row.notes, "2.8 tokens arrive in one event"),
        "{:?}",
        row.notes
    );
    assert_eq!(row.engine.as_deref(), Some("vllm"));
}

#[test]
fn the_real_run_that_failed_is_no_speed() {
    let Some(run) = real(
        "vllm-bench-serve/mi355x_minimax-m2.5_all-failed.json",
        VllmBenchServe,
    ) else {
        return;
    };
    let row = &run.rows[0];
    assert_eq!(
        row.failed.as_deref(),
        Some("none of 640 requests was completed")
    );
    assert_eq!(row.failed_requests, Some(640));
    assert_eq!(row.aggregate_decode_tokens_per_second, None);
    assert_eq!(row.ttft_ms, None);
}
