//! exo's own JSON is public nowhere; these are made by hand after what its source writes.

use super::super::{Format, Imported, read};

fn rows_of(text: &str) -> Imported {
    read("results.json", text.as_bytes()).expect("it is exo's")
}

fn run(rest: &str) -> String {
    format!(
        r#"{{"elapsed_s": 2.5, "output_text_preview": "x", "model_short_id": "m", "model_id": "mlx-community/Qwen3-4B-4bit",
        "placement_sharding": "Pipeline", "placement_instance_meta": "MlxRing", "instance_id": "i", "pp_tokens": 512, "tg": 64, {rest}}}"#
    )
}

fn stats(prefill: f64, decode: f64, hit: &str) -> String {
    format!(
        r#""stats": {{"prompt_tps": {prefill}, "generation_tps": {decode}, "prompt_tokens": 512, "generation_tokens": 64,
        "peak_memory_usage": {{"inBytes": 1}}, "prefix_cache_hit": "{hit}"}}"#
    )
}

fn power(first: f64, second: f64) -> String {
    format!(
        r#""power_usage": {{"elapsed_seconds": 2.5, "total_avg_sys_power_watts": 60.0, "total_energy_joules": 150.0,
        "nodes": [{{"node_id": "a", "samples": 9, "avg_sys_power": {first}}}, {{"node_id": "b", "samples": 9, "avg_sys_power": {second}}}]}}"#
    )
}

#[test]
fn a_request_gives_its_rates_and_the_joules_of_all_nodes() {
    let run = run(&format!(
        r#""placement_nodes": 2, "repeat_index": 0, "concurrency": 1, {}, {}"#,
        stats(400.0, 50.0, "none"),
        power(20.0, 40.0)
    ));
    let imported = rows_of(&format!(r#"{{"runs": [{run}]}}"#));
    assert_eq!(imported.format, Format::ExoBench);
    let row = &imported.rows[0];
    assert_eq!(row.model.as_deref(), Some("mlx-community/Qwen3-4B-4bit"));
    assert_eq!(row.quant.as_deref(), Some("4bit"));
    assert_eq!(row.prefill_tokens_per_second, Some(400.0));
    assert_eq!(row.decode_tokens_per_second, Some(50.0));
    assert_eq!(
        (row.prompt_tokens, row.output_tokens),
        (Some(512), Some(64))
    );
    assert_eq!(row.energy_joules, Some(150.0));
    assert!(
        row.energy_scope
            .as_deref()
            .is_some_and(|it| it.starts_with("system.dc"))
    );
    assert_eq!(row.request_ms, Some(2500.0));
}

#[test]
fn a_node_without_a_sensor_takes_the_joules_away() {
    for (nodes, usage) in [(2, power(20.0, 0.0)), (3, power(20.0, 40.0))] {
        let run = run(&format!(
            r#""placement_nodes": {nodes}, "repeat_index": 0, "concurrency": 1, {}, {usage}"#,
            stats(400.0, 50.0, "none")
        ));
        let row = rows_of(&format!(r#"{{"runs": [{run}]}}"#)).rows.remove(0);
        assert_eq!(row.energy_joules, None);
        assert!(
            row.notes
                .iter()
                .any(|it| it.contains("joules were left out")),
            "{:?}",
            row.notes
        );
        assert_eq!(row.decode_tokens_per_second, Some(50.0));
    }
}

#[test]
fn a_prompt_from_the_cache_gives_no_prompt_rate() {
    let run = run(&format!(
        r#""placement_nodes": 1, "repeat_index": 0, "concurrency": 1, {}"#,
        stats(400.0, 50.0, "exact")
    ));
    let row = rows_of(&format!(r#"{{"runs": [{run}]}}"#)).rows.remove(0);
    assert_eq!(row.prefill_tokens_per_second, None);
    assert_eq!(row.decode_tokens_per_second, Some(50.0));
}

#[test]
fn streams_of_a_batch_are_one_row_and_share_their_joules() {
    let stream = |repeat: u32, index: u32, decode: f64| {
        run(&format!(
            r#""placement_nodes": 2, "repeat_index": {repeat}, "concurrency": 2, "concurrent_index": {index}, {}, {}"#,
            stats(400.0, decode, "none"),
            power(20.0, 40.0)
        ))
    };
    let runs = [stream(0, 0, 30.0), stream(0, 1, 20.0), stream(1, 0, 28.0)];
    let imported = rows_of(&format!(r#"{{"runs": [{}]}}"#, runs.join(",")));
    let [both, alone] = imported.rows.as_slice() else {
        panic!("two batches: {:?}", imported.rows);
    };
    assert_eq!(both.decode_tokens_per_second, Some(25.0));
    assert_eq!(both.aggregate_decode_tokens_per_second, None);
    assert_eq!(both.energy_joules, Some(150.0));
    assert_eq!((both.n, both.failed_requests), (Some(2), Some(0)));
    assert_eq!((alone.n, alone.failed_requests), (Some(1), Some(1)));
}

#[test]
fn the_first_version_wrote_the_list_alone() {
    let run = run(&format!(
        r#""placement_nodes": 1, "repeat_index": 0, {}"#,
        stats(400.0, 50.0, "none")
    ));
    let imported = rows_of(&format!("[{run}]"));
    assert_eq!(imported.format, Format::ExoBench);
    assert_eq!(imported.rows[0].decode_tokens_per_second, Some(50.0));
    assert_eq!(imported.rows[0].energy_joules, None);
}

#[test]
fn a_run_without_tokens_has_failed() {
    let run = run(r#""placement_nodes": 1, "repeat_index": 0, "concurrency": 1, "stats": null"#);
    let row = rows_of(&format!(r#"{{"runs": [{run}]}}"#)).rows.remove(0);
    assert!(row.failed.is_some());
    let none = read("r.json", br#"{"runs": [], "cluster": {}}"#).expect_err("there are no runs");
    assert!(
        none.to_string()
            .contains("every placement or request failed"),
        "{none}"
    );
}

#[test]
fn the_log_takes_no_aggregate_from_the_fastest_stream() {
    let log = "2026-04-15 00:26:51.480 | DEBUG    | __main__:main:460 - exo-bench model: short_id=m full_id=org/m-8bit
2026-04-15 00:26:51.506 | INFO     | __main__:main:501 - PLACEMENT: Tensor / MlxJaccl / nodes=2 / instance_id=x
2026-04-15 00:26:59.343 | INFO     | __main__:main:547 - --- pp=512 tg=64 concurrency=4 ---
2026-04-15 00:27:01.000 | ERROR    | __main__:main:700 - Concurrent request failed: timeout
2026-04-15 00:27:58.397 | INFO     | __main__:main:730 - prompt_tps=200.00 gen_tps=120.00    prompt_tokens=512 gen_tokens=64    peak_memory=20.96GB    energy=100.0J (50.0W avg over 2.0s inference)
2026-04-15 00:28:00.000 | INFO     | __main__:main:547 - --- pp=1024 tg=64 concurrency=1 ---
2026-04-15 00:28:01.000 | ERROR    | __main__:main:548 - HTTP 500
2026-04-15 00:28:02.000 | INFO     | __main__:main:547 - --- pp=2048 tg=64 concurrency=1 ---
2026-04-15 00:28:58.397 | INFO     | __main__:main:730 - prompt_tps=200.00 gen_tps=30.00    prompt_tokens=2048 gen_tokens=64    peak_memory=20.96GB    energy=80.0J (40.0W avg over 2.0s inference)
2026-04-15 00:29:43.159 | INFO     | __main__:print_summary:214 -   12D3:  GPU 84% avg (1–100%)  |  90.8°C avg  |  0.0W avg
";
    let imported = rows_of(log);
    let [four, failed, one] = imported.rows.as_slice() else {
        panic!("three blocks: {:?}", imported.rows);
    };
    assert_eq!(
        (
            four.decode_tokens_per_second,
            four.aggregate_decode_tokens_per_second
        ),
        (None, None)
    );
    assert_eq!(four.failed_requests, Some(1));
    assert!(failed.failed.is_some());
    assert_eq!(one.decode_tokens_per_second, Some(30.0));
    assert_eq!(one.quant.as_deref(), Some("8bit"));
    assert!(
        imported.rows.iter().all(|it| it.energy_joules.is_none()),
        "one node has no sensor"
    );
}

#[test]
fn an_evaluation_counts_its_errors_and_shares_its_joules() {
    let file = |concurrency: u32, scores: &str| {
        format!(
            r#"{{"benchmark": "gpqa_diamond", "model": "mlx-community/Qwen3-4B-4bit", "concurrency": {concurrency},
            "scores": {{"benchmark": "gpqa_diamond", {scores}, "total_energy_joules": 900.0}},
            "results": [{{"question_id": 1, "correct": true, "error": null}}, {{"question_id": 2, "correct": false, "error": "HTTP 500"}}]}}"#
        )
    };
    let right = r#""accuracy": 0.5, "correct": 1, "total": 2, "errors": 1, "no_extract": 0"#;
    let imported = rows_of(&file(4, right));
    assert_eq!(imported.format, Format::ExoEval);
    let row = &imported.rows[0];
    assert_eq!(
        (row.items, row.correct, row.score),
        (Some(2), Some(1), Some(0.5))
    );
    assert_eq!(row.failed_requests, Some(1));
    assert_eq!(row.energy_joules, Some(900.0));
    assert!(
        row.notes.iter().any(|it| it.contains("at most")),
        "{:?}",
        row.notes
    );
    let alone = rows_of(&file(1, right)).rows.remove(0);
    assert!(
        !alone.notes.iter().any(|it| it.contains("at most")),
        "{:?}",
        alone.notes
    );
    for wrong in [
        r#""accuracy": 0.9, "correct": 1, "total": 2, "errors": 0"#,
        r#""accuracy": 1.0, "correct": 2, "total": 2, "errors": 0"#,
        r#""accuracy": 0.0, "correct": 0, "total": 0, "errors": 0"#,
        r#""accuracy": 0.0, "correct": 0, "total": 2, "errors": 2"#,
    ] {
        let row = rows_of(&file(1, wrong)).rows.remove(0);
        assert!(
            row.failed.is_some() && row.score.is_none() && row.energy_joules.is_none(),
            "{row:?}"
        );
    }
}
