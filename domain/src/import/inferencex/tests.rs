//! `InferenceX` aggregates, hand-made for each quirk and real ones.

use super::super::Format::InferenceX;
use super::super::tests::testing::{
    close, keeps_private, one, real, rows, says, survives_damage, unknown,
};

const POINT: &str = r#"{"hw": "h200", "conc": 8, "image": "registry.internal:5000/acme/vllm:v0.11.0",
 "model": "acme/tiny-7b", "infmax_model_prefix": "tiny", "framework": "vllm", "precision": "fp8",
 "spec_decoding": "none", "disagg": false, "isl": 1024, "osl": 512, "is_multinode": false,
 "tp": 4, "ep": 1, "dp_attention": "false", "tput_per_gpu": 300.0, "output_tput_per_gpu": 100.0,
 "input_tput_per_gpu": 200.0, "mean_ttft": 0.25, "median_ttft": 0.2, "p99_ttft": 0.9,
 "mean_tpot": 0.02, "mean_intvty": 50.0, "median_tpot": 0.019, "std_tpot": 0.001,
 "std_intvty": 1000.0, "mean_itl": 0.021, "mean_e2el": 10.5}"#;

#[test]
fn seconds_become_milliseconds_and_the_rate_per_gpu_the_deployments() {
    let row = one(POINT, InferenceX);
    close(row.ttft_ms, 250.0);
    close(row.ttft_ms_p99, 900.0);
    close(row.tpot_ms, 20.0);
    close(row.decode_tokens_per_second, 50.0);
    close(row.aggregate_decode_tokens_per_second, 400.0);
    assert_eq!(row.aggregate_prefill_tokens_per_second, None);
    close(row.request_ms, 10_500.0);
    assert_eq!(row.engine_version.as_deref(), Some("v0.11.0"));
    assert_eq!(row.quant.as_deref(), Some("fp8"));
    assert_eq!(row.test, "1024/512, 8 at once");
    assert!(says(&row.notes, "4 GPUs"), "{:?}", row.notes);
    keeps_private(&rows(POINT, InferenceX), &["registry.internal"]);
}

#[test]
fn where_prefill_and_decode_are_apart_output_counts_over_those_that_decode() {
    let apart = POINT
        .replace(
            "\"tp\": 4, \"ep\": 1, \"dp_attention\": \"false\"",
            "\"num_prefill_gpu\": 2, \"num_decode_gpu\": 6",
        )
        .replace("\"is_multinode\": false", "\"is_multinode\": true")
        .replace("\"tput_per_gpu\": 300.0", "\"tput_per_gpu\": 125.0");
    let row = one(&apart, InferenceX);
    // 100 * 6 + 200 * 2 = 1000 = 125 * 8
    close(row.aggregate_decode_tokens_per_second, 600.0);
    assert!(says(&row.notes, "2 GPUs prefill and 6 decode"));
}

#[test]
fn rates_that_do_not_add_up_make_no_aggregate() {
    let row = one(
        &POINT.replace("\"tput_per_gpu\": 300.0", "\"tput_per_gpu\": 125.0"),
        InferenceX,
    );
    assert_eq!(row.aggregate_decode_tokens_per_second, None);
    assert!(says(&row.notes, "do not add up"), "{:?}", row.notes);
}

#[test]
fn joules_count_only_where_they_are_valid_and_of_version_2() {
    let with = |more: &str| POINT.replacen('{', &format!("{{{more}, "), 1);
    let joules =
        r#""avg_power_w": 500.0, "total_gpu_energy_j": 9000.0, "joules_per_output_token": 1.5"#;
    let row = one(
        &with(&format!(
            r#"{joules}, "power_valid": 1, "power_metric_schema_version": 2"#
        )),
        InferenceX,
    );
    close(row.energy_joules, 9000.0);
    close(row.joules_per_output_token, 1.5);
    assert!(
        row.energy_scope
            .is_some_and(|it| it.starts_with("gpu.board"))
    );
    for more in [
        joules.to_owned(),
        format!(r#"{joules}, "power_valid": 0, "power_metric_schema_version": 2"#),
        format!(r#"{joules}, "power_valid": 1, "power_metric_schema_version": 1"#),
        format!(r#"{joules}, "power_valid": 1"#),
    ] {
        let row = one(&with(&more), InferenceX);
        assert_eq!(row.energy_joules, None, "{more}");
        assert_eq!(row.joules_per_output_token, None, "{more}");
        assert!(says(&row.notes, "joules"), "{:?}", row.notes);
    }
}

#[test]
fn the_first_files_without_framework_are_read_too() {
    let first = r#"{"hw": "mi300x", "tp": 8, "conc": 64, "model": "acme/big", "tput_per_gpu": 900.0,
        "mean_ttft": 0.5, "mean_tpot": 0.04, "mean_intvty": 25.0, "mtp": "on"}"#;
    let row = one(first, InferenceX);
    close(row.decode_tokens_per_second, 25.0);
    assert_eq!(row.aggregate_decode_tokens_per_second, None);
    assert!(says(&row.notes, "in one figure only"), "{:?}", row.notes);
    assert!(says(&row.notes, "speculative decoding: on"));
}

#[test]
fn the_nested_traces_are_read() {
    let nested = r#"{"hw": "b200", "conc": 2, "image": "acme/sglang:v0.5.5", "model": "acme/big",
        "infmax_model_prefix": "big", "framework": "sglang", "precision": "fp4",
        "spec_decoding": "none", "disagg": false, "scenario_type": "agentic-coding",
        "is_multinode": false, "tp": 8, "ep": 8, "num_requests_total": 70,
        "num_requests_successful": 60, "request_accounting": {"records_warmup_dropped": 7,
        "records_error_dropped": 3}, "request_metrics": {"latency": {"ttft": {"mean": 1.5, "p50": 0.8},
        "itl": {"mean": 0.01}, "tpot": {"mean": 0.01, "p50": 0.009}, "e2el": {"mean": 4.0}},
        "tokens": {"input": {"mean": 5000.4}, "output_actual": {"mean": 300.0}},
        "throughput": {"output": {"tokens_per_second": 150.0}}}}"#;
    let row = one(nested, InferenceX);
    close(row.ttft_ms, 1500.0);
    close(row.ttft_ms_p50, 800.0);
    close(row.decode_tokens_per_second, 100.0);
    close(row.aggregate_decode_tokens_per_second, 150.0);
    assert_eq!((row.n, row.failed_requests), (Some(60), Some(3)));
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(5000), Some(300))
    );
    let none = nested.replace(
        "\"num_requests_successful\": 60",
        "\"num_requests_successful\": 0",
    );
    let row = one(&none, InferenceX);
    assert_eq!(row.failed.as_deref(), Some("none of 70 requests succeeded"));
    assert_eq!(row.aggregate_decode_tokens_per_second, None);
}

#[test]
fn a_list_of_points_is_as_many_rows_and_a_stranger_among_them_refuses_all() {
    assert_eq!(
        rows(&format!("[{POINT},{POINT}]"), InferenceX).rows.len(),
        2
    );
    assert!(unknown(&format!("[{POINT},{{\"hw\": \"h200\"}}]")).contains("keys"));
}

#[test]
fn damage_gives_rows_or_an_error() {
    survives_damage(POINT);
}

#[test]
fn the_real_point_is_read() {
    let Some(point) = real(
        "inferencex-agg/agg_kimik2.5_1k1k_int4_vllm_tp8-ep1-dpafalse_disagg-false_spec-mtp_conc4_MI355-gbt350-odcdh5-wbb3.json",
        InferenceX,
    ) else {
        return;
    };
    let row = &point.rows[0];
    // Its raw vLLM file says output_throughput 221.42409193453412 and mean_tpot_ms 17.294128568510715.
    close(
        row.aggregate_decode_tokens_per_second,
        221.424_091_934_534_12,
    );
    close(row.tpot_ms, 17.294_128_568_510_715);
    close(row.decode_tokens_per_second, 57.823_092_735_693_42);
    close(row.ttft_ms, 317.086_316_068_889_6);
    close(row.ttft_ms_p50, 296.976_807_527_244_1);
    close(row.ttft_ms_p99, 585.990_138_447_377_7);
    close(row.itl_ms, 48.698_898_809_063_98);
    close(row.request_ms, 16_175.882_434_839_15);
    assert_eq!(row.model.as_deref(), Some("moonshotai/Kimi-K2.5"));
    assert_eq!(row.quant.as_deref(), Some("int4"));
    assert_eq!(row.hardware.as_deref(), Some("mi355x"));
    assert_eq!(row.engine.as_deref(), Some("vllm"));
    assert_eq!(row.engine_version.as_deref(), Some("v0.21.0"));
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(1024), Some(1024))
    );
    assert_eq!(row.concurrency, Some(4));
    assert_eq!(row.energy_joules, None);
    assert!(says(&row.notes, "mtp"), "{:?}", row.notes);
    assert!(
        !says(&row.notes, "data-parallel"),
        "the string false is false"
    );
}

#[test]
fn the_real_trace_is_read() {
    let Some(point) = real(
        "inferencex-agg/agg_dsr1_tp4_users2_offloadoff_fp4_vllm_tp4-ep4-dpafalse_disagg-false_spec-none_conc2_b200-dgxc-slurm_2.json",
        InferenceX,
    ) else {
        return;
    };
    let row = &point.rows[0];
    assert_eq!(row.test, "agentic-coding, 2 at once");
    assert_eq!((row.n, row.failed_requests), (Some(57), Some(9)));
    assert_eq!(row.concurrency, Some(2));
    close(
        row.aggregate_decode_tokens_per_second,
        125.278_252_265_860_7,
    );
    close(row.ttft_ms, 1_603.805_734_400_163_8);
    close(row.itl_ms, 10.103_584_699_167_23);
    assert_eq!((row.tpot_ms, row.decode_tokens_per_second), (None, None));
    close(row.request_ms, 41_372.287_290_138_11);
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(89_542), Some(3958))
    );
    assert!(
        says(&row.notes, "3958 tokens where the trace has 330"),
        "{:?}",
        row.notes
    );
    assert!(
        says(&row.notes, "93 % of the prompt tokens"),
        "{:?}",
        row.notes
    );
}

#[test]
fn the_real_baseline_gives_no_joules_of_idle_cards() {
    let Some(point) = real(
        "inferencex-agg/baseline_b200_gptoss-fp4_vllm_1k1k_conc64.json",
        InferenceX,
    ) else {
        return;
    };
    let row = &point.rows[0];
    close(row.aggregate_decode_tokens_per_second, 8_295.845_611_124_9);
    assert_eq!(row.ttft_ms, None);
    close(row.ttft_ms_p50, 41.319_467_592_984_44);
    close(row.tpot_ms_p50, 6.199_484_860_757_735);
    assert_eq!(row.n, Some(638));
    // 8295.8456 / 56.1738 and (37332.67 - 8295.8456) / 56.1738
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(517), Some(148))
    );
    assert!(says(&row.notes, "asked for 1024/1024"), "{:?}", row.notes);
    assert_eq!(
        (row.energy_joules, row.joules_per_output_token),
        (None, None)
    );
    assert!(says(&row.notes, "idle ones"), "{:?}", row.notes);
    assert_eq!(
        row.measured_at.as_deref(),
        Some("2026-06-12T00:31:52+00:00")
    );
    keeps_private(&point, &["gpu-dp-96sjj", "together"]);
}
