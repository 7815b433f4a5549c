//! The whole way from bytes to rows: on small files made by hand for each quirk, and on real ones.

use std::path::PathBuf;

use super::*;

mod real;
pub(super) mod testing;

fn of(text: &str) -> Imported {
    read("file.txt", text.as_bytes()).expect("a tool's file")
}

fn refused(name: &str, text: &str) -> String {
    read(name, text.as_bytes())
        .expect_err("it is no tool's file")
        .to_string()
}

/// Other benchmarks' results, which stand beside the repository (or a level above it) and not in it.
pub(super) fn foreign_root() -> Option<PathBuf> {
    let found = ["../../shared", "../../../shared"]
        .map(|it| {
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join(it)
                .join("data/foreign")
        })
        .into_iter()
        .find(|it| it.is_dir());
    if found.is_none() {
        eprintln!("SKIPPED: no results of other benchmarks in shared/data/foreign");
    }
    found
}

/// One of them.
pub(super) fn foreign(path: &str) -> Option<Vec<u8>> {
    let found = std::fs::read(foreign_root()?.join(path)).ok();
    if found.is_none() {
        eprintln!(
            "SKIPPED: no {path} among the results of other benchmarks in shared/data/foreign"
        );
    }
    found
}

#[test]
fn every_format_has_its_reader() {
    assert_eq!(READERS.map(|it| it.format), Format::ALL);
}

fn near(figure: Option<f64>, expected: f64) {
    let figure = figure.expect("the file has this figure");
    assert!(
        (figure / expected - 1.0).abs() < 1e-9,
        "{figure} is not {expected}"
    );
}

const BENCH: &str = r#"{"build_commit": "abc", "build_number": 1, "backends": "CUDA", "gpu_info": "RTX", "model_filename": "/home/me/m-Q4_K_M.gguf",
 "model_type": "qwen3 4B Q4_K - Medium", "model_size": 1000, "model_n_params": 2000, "type_k": "q8_0", "type_v": "q8_0", "flash_attn": true,
 "n_prompt": PP, "n_gen": TG, "n_depth": 0, "avg_ns": NS, "avg_ts": TS, "stddev_ts": SD, "samples_ns": [SAMPLES]}"#;

fn bench(pp: u64, tg: u64, rate: f64, samples: &[f64]) -> String {
    let ns = samples.iter().sum::<f64>() / samples.len().max(1) as f64;
    BENCH
        .replace("PP", &pp.to_string())
        .replace("TG", &tg.to_string())
        .replace("NS", &ns.to_string())
        .replace("TS", &rate.to_string())
        .replace("SD", "0.5")
        .replace(
            "SAMPLES",
            &samples
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(","),
        )
}

#[test]
fn a_test_of_both_parts_is_mixed_and_ranks_nowhere() {
    let row = of(&bench(512, 128, 640.0, &[1e9])).rows.remove(0);
    assert_eq!(row.kind, Some(RowKind::Mixed));
    assert_eq!(row.mixed_tokens_per_second, Some(640.0));
    assert_eq!(
        (row.prefill_tokens_per_second, row.decode_tokens_per_second),
        (None, None)
    );
}

#[test]
fn the_type_of_the_cache_is_not_that_of_the_weights() {
    let row = of(&bench(0, 100, 100.0, &[1e9, 1e9])).rows.remove(0);
    assert_eq!(row.quant.as_deref(), Some("Q4_K_M"));
    assert!(
        row.notes.iter().any(|it| it.contains("K q8_0")),
        "{:?}",
        row.notes
    );
}

#[test]
fn one_run_has_no_deviation_and_several_have() {
    let one = of(&bench(0, 100, 100.0, &[1e9])).rows.remove(0);
    assert_eq!((one.n, one.decode_tokens_per_second_sd), (Some(1), None));
    let two = of(&bench(0, 100, 100.0, &[1e9, 1e9])).rows.remove(0);
    assert_eq!(
        (two.n, two.decode_tokens_per_second_sd),
        (Some(2), Some(0.5))
    );
}

#[test]
fn a_rate_that_its_own_times_deny_is_a_failure() {
    let row = of(&bench(0, 100, 150.0, &[1e9, 1e9])).rows.remove(0);
    assert!(
        row.failed
            .as_deref()
            .is_some_and(|it| it.contains("150.00")),
        "{row:?}"
    );
    assert_eq!(row.decode_tokens_per_second, None);
}

#[test]
fn runs_of_zeros_are_failures_and_no_speeds() {
    for text in [
        bench(512, 0, 0.0, &[]),
        bench(512, 0, 0.0, &[0.0]),
        bench(0, 0, 5.0, &[1e9]),
    ] {
        let row = of(&text).rows.remove(0);
        assert!(
            row.failed.is_some() && row.prefill_tokens_per_second.is_none(),
            "{row:?}"
        );
    }
    let header = "build_commit,n_prompt,n_gen,avg_ns,stddev_ns,avg_ts,stddev_ts\n";
    assert!(of(header).rows[0].failed.is_some());
    let table = "| model | size | params | backend | ngl | test | t/s |\n| - | - | - | - | - | - | - |\nerror: no model\n";
    assert!(of(table).rows[0].failed.is_some());
    let nan = bench(0, 100, 100.0, &[1e9]).replace("\"avg_ts\": 100", "\"avg_ts\": NaN");
    assert!(of(&nan).rows[0].failed.is_some());
}

#[test]
fn the_oldest_tables_and_those_of_mixed_tests_are_read() {
    let imported = of(
        "| model | backend | ngl | test | t/s |\n| --- | --- | --: | --- | --: |
| llama 7B mostly Q4_0 | CUDA | 99 | pp 512 | 2410.97 ± 11.16 |
| llama 7B mostly Q4_0 | CUDA | 99 | tg 128 | 130.97 � 1.24 |
| llama 7B mostly Q4_0 | CUDA | 99 | pp512+tg128 | 400.00 ± 1.24 |
| llama 7B mostly Q4_0 | CUDA | 99 | tg128 @ d4096 | 100.00 |
| llama 7B mostly Q4_0 | CUDA | 99 | pp512 | 0.00 ± 0.00 |

build: 3469684 (1275)\n",
    );
    let [pp, tg, both, deep, zero] = imported.rows.as_slice() else {
        panic!("five rows: {:?}", imported.rows);
    };
    assert_eq!(pp.prefill_tokens_per_second, Some(2410.97));
    assert_eq!(pp.quant.as_deref(), Some("Q4_0"));
    assert_eq!(pp.engine_version.as_deref(), Some("b1275 (3469684)"));
    assert_eq!(tg.decode_tokens_per_second_sd, Some(1.24));
    assert_eq!(both.kind, Some(RowKind::Mixed));
    assert_eq!(
        (deep.depth_tokens, deep.decode_tokens_per_second_sd),
        (Some(4096), None)
    );
    assert!(zero.failed.is_some());
}

#[test]
fn a_list_that_ran_out_of_memory_keeps_its_whole_rows() {
    let whole = bench(0, 100, 100.0, &[1e9]);
    for tail in [
        "",
        ",",
        ",\n{\"build_commit\": \"a",
        ",\nmain: error: failed to create context",
    ] {
        let imported = of(&format!("[\n{whole}{tail}"));
        assert_eq!(imported.rows.len(), 1, "{tail:?}");
        near(imported.rows[0].decode_tokens_per_second, 100.0);
    }
}

#[test]
fn rows_in_another_programs_wrapping_are_taken_out_of_it() {
    let whole = bench(0, 100, 100.0, &[1e9]);
    for text in [
        format!("{{\"avg_power_w\": 9, \"bench_raw\": {whole}}}"),
        format!("{{\"host\": \"x\", \"results\": [{whole}, {whole}]}}"),
    ] {
        let imported = of(&text);
        assert!(
            imported.notes.iter().any(|it| it.contains("wrapped")),
            "{:?}",
            imported.notes
        );
        near(imported.rows[0].decode_tokens_per_second, 100.0);
        assert_eq!(imported.rows[0].energy_joules, None);
    }
}

#[test]
fn tables_of_other_builds_and_quoted_ones_are_read() {
    let imported = of(
        "> | model | size | params | backend | threads | test | t/s |
> | --- | --: | --: | --- | --: | --: | --: |
> | gpt-oss 20B MXFP4 MoE | 11.27 GiB | 20.91 B | CPU | 8 | tg128@pp4096 | 12.50 ± 0.10 |\n",
    );
    let row = &imported.rows[0];
    assert_eq!(
        (row.depth_tokens, row.output_tokens),
        (Some(4096), Some(128))
    );
    assert_eq!(row.quant.as_deref(), Some("MXFP4"));
    assert_eq!(row.params_total, Some(20_910_000_000));
    near(row.decode_tokens_per_second, 12.5);
}

#[test]
fn a_shared_prompt_is_processed_once_and_sequences_share_the_output_rate() {
    let line = |shared: u8, speed_pp: f64| {
        format!(
            r#"{{"is_pp_shared": {shared}, "n_gpu_layers": 999, "pp": 100, "tg": 50, "pl": 4, "n_kv": 300, "t_pp": 1.0, "speed_pp": {speed_pp}, "t_tg": 2.0, "speed_tg": 100.0, "t": 3.0, "speed": 1.0}}"#
        )
    };
    let imported = of(&format!(
        "{}\n{}\n{}",
        line(1, 100.0),
        line(0, 400.0),
        line(1, 400.0)
    ));
    assert_eq!(imported.format, Format::LlamaBatchedBench);
    let [shared, own, wrong] = imported.rows.as_slice() else {
        panic!("three rows");
    };
    assert_eq!(shared.prefill_tokens_per_second, Some(100.0));
    assert_eq!(shared.decode_tokens_per_second, Some(25.0));
    assert_eq!(shared.aggregate_decode_tokens_per_second, Some(100.0));
    assert_eq!(own.prefill_tokens_per_second, None);
    assert_eq!(own.aggregate_prefill_tokens_per_second, Some(400.0));
    assert!(
        wrong.failed.is_some(),
        "its prompt is shared, so the rate is a quarter"
    );
}

#[test]
fn a_population_deviation_becomes_that_of_a_sample() {
    let imported = of(
        r#"{"version": "0.3.1", "timestamp": "2026-01-01 00:00:00Z", "latency_mode": "api", "latency_ms": 1.0, "model": "m", "prefix_caching_enabled": false, "max_concurrency": 1,
 "benchmarks": [{"concurrency": 1, "context_size": 4096, "prompt_size": 10, "response_size": 5, "is_context_prefill_phase": false,
  "tg_throughput": {"mean": 3.0, "std": 1.0, "values": [2.0, 4.0]}, "pp_throughput": null},
 {"concurrency": 1, "context_size": 0, "prompt_size": 10, "response_size": 5, "is_context_prefill_phase": false,
  "tg_throughput": {"mean": 9.0, "std": 1.0, "values": [2.0, 4.0]}}, {"concurrency": 1, "tg_throughput": null}]}"#,
    );
    assert_eq!(imported.format, Format::LlamaBenchy);
    let sd = imported.rows[0]
        .decode_tokens_per_second_sd
        .expect("two runs");
    assert!((sd - 2.0_f64.sqrt()).abs() < 1e-12, "{sd}");
    assert_eq!(imported.rows[0].depth_tokens, Some(4096));
    assert!(
        imported.rows[0]
            .notes
            .iter()
            .any(|it| it.contains("counts both"))
    );
    assert!(
        imported.rows[1].failed.is_some(),
        "the mean is not that of its values"
    );
    assert!(imported.rows[2].failed.is_some(), "it has no rate");
}

#[test]
fn a_client_in_csv_gives_a_row_for_each_part() {
    let imported = of("model,test_name,t_s_mean,t_s_std,t_s_req_mean,t_s_req_std,ttfr_mean,ttfr_std,est_ppt_mean,est_ppt_std,e2e_ttft_mean,e2e_ttft_std
m,pp2048 @ d4096 (c2),800.0,1.0,500.0,1.0,90.0,1.0,80.0,1.0,100.0,1.0
m,tg32 @ d4096 (c2),60.0,1.0,30.0,1.0,,,,,,
m,ctx_pp @ d4096 (c2),0,0,0,0,,,,,,
");
    assert_eq!(imported.format, Format::LlamaBenchy);
    let [pp, tg, none] = imported.rows.as_slice() else {
        panic!("three rows");
    };
    near(pp.prefill_tokens_per_second, 500.0);
    near(pp.aggregate_prefill_tokens_per_second, 800.0);
    near(pp.ttft_ms, 100.0);
    assert_eq!((pp.concurrency, pp.depth_tokens), (Some(2), Some(4096)));
    near(tg.decode_tokens_per_second, 30.0);
    assert_eq!(tg.decode_tokens_per_second_sd, None);
    assert!(none.failed.is_some());
}

#[test]
fn a_submission_with_zeros_for_what_was_not_measured_has_none() {
    let imported = of(
        r#"{"accelerator_info": {"name": "GPU", "memory_gb": 0.0}, "runtime_info": {"name": "llamafile", "version": "1"}, "system_info": {},
 "results": [{"name": "pp10+tg5", "model_name": "Llama 3.2 1B", "model_quant_str": "Q4_K - Medium", "n_prompt": 10, "n_gen": 5, "prompt_tps": 20.0, "gen_tps": 0, "ttft_ms": 0, "power_watts": 90.0},
 {"name": "pp1+tg1", "n_prompt": 1, "n_gen": 1, "prompt_tps": 0.0, "gen_tps": 0.0}]}"#,
    );
    let [some, none] = imported.rows.as_slice() else {
        panic!("two rows");
    };
    assert_eq!(some.quant.as_deref(), Some("Q4_K_M"));
    assert_eq!(
        (
            some.decode_tokens_per_second,
            some.ttft_ms,
            some.energy_joules
        ),
        (None, None, None)
    );
    assert!(none.failed.is_some());
}

#[test]
fn look_alikes_are_named_and_not_read() {
    for (text, words) in [
        (r#"{"scraped_at": "x", "presets": {}}"#, "LocalMaxxing"),
        (
            r#"{"configurations": [{"energy_per_token_joules": 1.0}]}"#,
            "ML.ENERGY",
        ),
        (
            r#"{"prefill": {"latency": null, "energy": {}, "efficiency": {}}}"#,
            "optimum-benchmark",
        ),
        (
            "forward.latency(s),forward.throughput(samples/s),generate.latency(s)\n1,2,3\n",
            "optimum-benchmark",
        ),
        (r#"{"use_drafter": true, "requests": []}"#, "drafters"),
        (
            r#"{"bench_executable": "x", "bench_arguments": []}"#,
            "environment",
        ),
        (r#"{"vllm_image": "x"}"#, "description of a server"),
        (
            r#"{"question_id": 1, "gold_answer": "A", "extracted_answer": "B", "correct": false}"#,
            "checkpoint",
        ),
        ("[]", "empty list"),
        (r#"{"a": 1, "b": 2}"#, "keys a, b"),
        ("hello", "no results"),
        (r#"{"a": [1, "#, "cut off"),
    ] {
        let refused = refused("f.json", text);
        assert!(refused.contains(words), "{text}: {refused}");
        assert!(
            refused.contains("llama-benchy"),
            "it says what is read: {refused}"
        );
    }
    let both = format!(
        "{}\n{}",
        bench(0, 100, 100.0, &[1e9]),
        r#"{"pp": 1, "tg": 1, "pl": 1, "speed_pp": 1, "speed_tg": 1}"#
    );
    assert!(refused("f.json", &both).contains("several tools"));
}

#[test]
fn a_cut_file_gives_its_whole_rows_and_says_so() {
    let whole = bench(0, 100, 100.0, &[1e9]);
    let imported = of(&format!("{whole}\n{}", &whole[..200]));
    assert_eq!(imported.rows.len(), 1);
    assert!(
        imported.notes.iter().any(|it| it.contains("cut off")),
        "{:?}",
        imported.notes
    );
}

#[test]
fn nothing_private_or_hostile_reaches_a_row() {
    let text = bench(0, 100, 100.0, &[1e9])
        .replace("m-Q4_K_M.gguf", "m\\u202e\\u0000-Q4_K_M.gguf")
        .replace(
            "\"RTX\"",
            "\"http://10.0.0.1:8000/x sk-abcdefghijklmnop1234 /home/me/x\"",
        );
    let row = of(&text).rows.remove(0);
    let written = serde_json::to_string(&row).expect("a row is JSON");
    for private in ["10.0.0.1", "abcdefghijkl", "/me/", "u202e", "u0000"] {
        assert!(!written.contains(private), "{private}: {written}");
    }
}

#[test]
fn rows_are_bounded() {
    let line = bench(0, 100, 100.0, &[1e9]).replace('\n', "");
    let text = format!("{line}\n").repeat(MAX_ROWS + 5);
    let imported = of(&text);
    assert_eq!(imported.rows.len(), MAX_ROWS);
    assert!(
        imported
            .notes
            .iter()
            .any(|it| it.contains("only the first"))
    );
}

/// No text of any row is longer than a name may be, and no file has more rows than are kept.
fn is_bounded(imported: &Imported) {
    assert!(imported.rows.len() <= MAX_ROWS, "{}", imported.rows.len());
    for row in &imported.rows {
        let written = serde_json::to_string(row).expect("a row is JSON").len();
        assert!(written < 20_000, "a row of {written} bytes");
    }
}

#[test]
fn a_label_of_a_megabyte_does_not_stand_in_every_row() {
    let label = "m".repeat(1 << 20);
    let run = r#"{"concurrency": 1, "tg_throughput": {"mean": 3.0}},"#;
    let benchy = format!(
        r#"{{"version": "{label}", "latency_mode": "api", "model": "{label}", "benchmarks": [{}{{}}]}}"#,
        run.repeat(10_000)
    );
    let result = r#"{"n_prompt": 1, "n_gen": 1, "gen_tps": 1.0},"#;
    let submission = format!(
        r#"{{"accelerator_info": {{"name": "{label}"}}, "runtime_info": {{"name": "{label}"}}, "results": [{}{{}}]}}"#,
        result.repeat(10_000)
    );
    let metrics: Vec<String> = (0..10_000)
        .map(|it| format!("\"m{it},none\": 0.5"))
        .collect();
    let harness = format!(
        r#"{{"results": {{"{label}": {{{}}}}}, "versions": {{}}, "config": {{"model": "{label}", "model_args": "pretrained={label},dtype=a"}}}}"#,
        metrics.join(",")
    );
    let table = format!(
        "## {label}\nggml_vulkan: 0 = {label} | x\n| model | backend | {label} | test | t/s |\n| - | - | - | - | - |\n{}",
        "| m | CUDA | 1 | pp1 | 1.0 |\n".repeat(10_000)
    );
    let log = format!(
        "model = {label}\n{}",
        "prompt_tps=1.0 gen_tps=1.0 prompt_tokens=1 gen_tokens=1\n".repeat(10_000)
    );
    let report = format!(
        r#"{{"metadata": {{"guidellm_version": "{label}"}}, "args": {{"model": "{label}"}}, "benchmarks": [{}]}}"#,
        vec![r#"{"type_": "generative_benchmark", "metrics": {}}"#; 10_000].join(",")
    );
    for text in [benchy, submission, harness, table, log, report] {
        let begins = text[..40].to_owned();
        let imported = read("f", text.as_bytes()).unwrap_or_else(|it| panic!("{begins}: {it}"));
        assert_eq!(imported.rows.len(), MAX_ROWS, "{begins}");
        is_bounded(&imported);
    }
}

#[test]
fn a_cell_that_is_no_number_is_no_speed() {
    for (cell, rate, deviation) in [
        ("3,229.07 ± 53.81", Some(3229.07), Some(53.81)),
        ("1,795.61", Some(1795.61), None),
        ("1.2e+03 ± 4", Some(1200.0), Some(4.0)),
        ("130.97±1.24", Some(130.97), Some(1.24)),
        ("130.97 \u{fffd} 1.24", Some(130.97), Some(1.24)),
        ("-nan ± 0.81", None, None),
        ("nan ± nan", None, None),
        ("OOM 12", None, None),
        ("61,40 ± 0,81", None, None),
        ("12 34", None, None),
        ("-5.0 ± 1.0", None, None),
        ("1e400 ± 1", None, None),
    ] {
        let row = of(&format!(
            "| model | backend | test | t/s |\n| - | - | - | - |\n| llama 7B Q4_0 | CUDA | tg128 | {cell} |\n"
        ))
        .rows
        .remove(0);
        let found = (
            row.decode_tokens_per_second,
            row.decode_tokens_per_second_sd,
        );
        assert_eq!(found, (rate, deviation), "{cell}");
        assert_eq!(row.failed.is_some(), rate.is_none(), "{cell}");
        let row = of(&format!(
            "| model | test | t/s | ttfr (ms) |\n| - | - | - | - |\n| m | tg128 | {cell} | 5 |\n"
        ))
        .rows
        .remove(0);
        assert_eq!(row.decode_tokens_per_second, rate, "{cell} of llama-benchy");
    }
}

#[test]
fn a_rate_beyond_any_machine_is_no_figure() {
    let text = "| model | backend | test | t/s |\n| - | - | - | - |\n| m | CUDA | tg128 | 1e8 |\n";
    let row = of(text).rows.remove(0);
    assert_eq!(row.decode_tokens_per_second, None);
    assert!(
        row.notes.iter().any(|it| it.contains("no figure")),
        "{row:?}"
    );
}

#[test]
fn sizes_in_words_become_the_names_of_quantisations() {
    for (typed, quant) in [
        ("qwen3 4B Q2_K - Small", "Q2_K_S"),
        ("qwen3 4B Q2_K - Medium", "Q2_K"),
        ("qwen3 4B Q3_K - Large", "Q3_K_L"),
        ("qwen3 4B IQ3_S mix - 3.66 bpw", "IQ3_M"),
        ("qwen3 4B IQ3_S - 3.4375 bpw", "IQ3_S"),
        ("qwen3 4B IQ2_XXS - 2.0625 bpw", "IQ2_XXS"),
    ] {
        let row = of(&format!(
            "| model | backend | test | t/s |\n| - | - | - | - |\n| {typed} | CUDA | tg128 | 1.0 |\n"
        ))
        .rows
        .remove(0);
        assert_eq!(row.quant.as_deref(), Some(quant), "{typed}");
    }
}

#[test]
fn aliases_do_not_multiply_a_long_text() {
    let text = format!(
        "metadata: {{guidellm_version: &a \"{}\"}}\nbenchmarks:\n{}",
        "m".repeat(1 << 20),
        "- {type_: generative_benchmark, metrics: {}, m: *a}\n".repeat(10_000)
    );
    assert!(refused("f.yaml", &text).contains("no results"));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
        let _ = read("f", &bytes);
    }

    #[test]
    fn any_text_of_the_right_characters_is_read_or_refused(text in "[\\[\\]{}|,:\"a-e0-9 .±=\n-]{0,300}") {
        let _ = read("f", text.as_bytes());
    }
}
