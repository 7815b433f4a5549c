//! Every real file of a format, its figures read by a person from the file.

use super::*;

fn real(path: &str) -> Option<Imported> {
    let bytes = foreign(path)?;
    Some(read(path, &bytes).unwrap_or_else(|error| panic!("failed to {error}")))
}

#[test]
fn llama_bench_json_within_captures() {
    let Some(imported) = real("llama-bench-json/gb10cpu_qwen3-4b-q4km_decode_capture.txt") else {
        return;
    };
    assert_eq!(imported.format, Format::LlamaBench);
    let [row] = imported.rows.as_slice() else {
        panic!("one row")
    };
    assert_eq!(row.kind, Some(RowKind::Decode));
    assert_eq!(row.test, "tg256 @ d512");
    near(row.decode_tokens_per_second, 15.851_951);
    near(row.decode_tokens_per_second_sd, 0.200_178);
    assert_eq!(
        (row.n, row.depth_tokens, row.output_tokens),
        (Some(3), Some(512), Some(256))
    );
    assert_eq!(row.model.as_deref(), Some("Qwen3-4B-Q4_K_M.gguf"));
    assert_eq!(row.quant.as_deref(), Some("Q4_K_M"));
    assert_eq!(
        (row.model_bytes, row.params_total),
        (Some(2_491_323_904), Some(4_022_468_096))
    );
    assert_eq!(row.engine_version.as_deref(), Some("b9870 (2d973636e)"));
    assert_eq!(row.measured_at.as_deref(), Some("2026-07-04T04:39:10Z"));
    let Some(imported) = real("llama-bench-json/gb10cpu_qwen3-4b-q6k_prefill_capture.txt") else {
        return;
    };
    assert_eq!(imported.rows.len(), 5);
    let rates: Vec<f64> = imported
        .rows
        .iter()
        .filter_map(|it| it.prefill_tokens_per_second)
        .collect();
    assert_eq!(
        rates,
        [69.107_069, 70.294_346, 65.968_191, 61.375_295, 53.297_223]
    );
    assert_eq!(imported.rows[4].prompt_tokens, Some(8192));
    assert_eq!(imported.rows[4].quant.as_deref(), Some("Q6_K"));
}

#[test]
fn llama_bench_of_2023() {
    let Some(imported) = real("llama-bench-json/rtx3090ti_llama-7b-q4_0_2023_docs-sample.json")
    else {
        return;
    };
    let [pp, tg] = imported.rows.as_slice() else {
        panic!("two rows")
    };
    near(pp.prefill_tokens_per_second, 2_410.974_041);
    near(pp.prefill_tokens_per_second_sd, 11.163_766);
    near(tg.decode_tokens_per_second, 130.965_708);
    assert_eq!(pp.backend.as_deref(), Some("CUDA"));
    assert_eq!(pp.hardware.as_deref(), Some("NVIDIA GeForce RTX 3090 Ti"));
    assert_eq!(pp.model.as_deref(), Some("ggml-model-q4_0.gguf"));
    assert_eq!(pp.quant.as_deref(), Some("q4_0"));
    assert_eq!((pp.n, pp.depth_tokens), (Some(5), None));
}

#[test]
fn llama_bench_json_lines_with_and_without_log_lines() {
    let Some(imported) = real("llama-bench-jsonl/8060s_quick-test_with-log-lines.jsonl") else {
        return;
    };
    near(imported.rows[0].prefill_tokens_per_second, 5_007.643_797);
    assert_eq!(imported.rows[0].prefill_tokens_per_second_sd, None);
    near(imported.rows[1].decode_tokens_per_second, 192.587_412);
    assert_eq!(imported.rows[2].depth_tokens, Some(1024));
    let Some(imported) = real("llama-bench-jsonl/8060s_gpt-oss-20b-f16_hip-rocwmma.jsonl") else {
        return;
    };
    near(imported.rows[0].prefill_tokens_per_second, 1_513.790_461);
    near(imported.rows[1].decode_tokens_per_second, 50.227_459);
    assert_eq!(imported.rows[0].quant.as_deref(), Some("F16"));
    assert!(imported.rows.iter().all(|it| it.failed.is_none()));
    let Some(imported) = real("llama-bench-jsonl/8060s_glm-4.5-air_raw_runs.slice.jsonl") else {
        return;
    };
    assert_eq!(imported.rows.len(), 40);
    let first = &imported.rows[0];
    near(first.prefill_tokens_per_second, 20.408_621);
    assert!(
        first.notes.iter().any(|it| it.contains("1 token")),
        "{:?}",
        first.notes
    );
    assert_eq!(
        first.model.as_deref(),
        Some("GLM-4.5-Air-UD-Q4_K_XL-00001-of-00002.gguf")
    );
    assert_eq!(first.quant.as_deref(), Some("UD-Q4_K_XL"));
    let Some(imported) = real("llama-bench-jsonl/8060s_glm-4.5-air_wrapped-results.slice.jsonl")
    else {
        return;
    };
    assert_eq!(imported.rows.len(), 20);
    near(imported.rows[0].prefill_tokens_per_second, 22.872_535);
    assert!(imported.rows.iter().all(|it| it.energy_joules.is_none()));
    assert!(
        imported.notes.iter().any(|it| it.contains("wrapped")),
        "{:?}",
        imported.notes
    );
}

#[test]
fn llama_bench_csv_and_a_header_without_rows() {
    let Some(imported) = real("llama-bench-csv/8060s_qwen3.6-35b-a3b_vulkan_b9010_r20.csv") else {
        return;
    };
    let [pp, tg] = imported.rows.as_slice() else {
        panic!("two rows")
    };
    near(pp.prefill_tokens_per_second, 1_110.719_025);
    near(pp.prefill_tokens_per_second_sd, 9.119_226);
    near(tg.decode_tokens_per_second, 63.050_968);
    assert_eq!((pp.n, pp.quant.as_deref()), (None, Some("UD-Q4_K_M")));
    assert_eq!(pp.backend.as_deref(), Some("Vulkan"));
    let Some(imported) = real("llama-bench-csv/8060s_header-only_failed-run.csv") else {
        return;
    };
    let [row] = imported.rows.as_slice() else {
        panic!("one failed row")
    };
    assert!(row.failed.is_some());
}

#[test]
fn three_tables_are_three_configurations() {
    let Some(imported) = real("llama-bench-md/rx7900xtx_llama-7b-q4_0_vulkan.txt") else {
        return;
    };
    let rates: Vec<f64> = imported
        .rows
        .iter()
        .filter_map(|it| it.prefill_tokens_per_second.or(it.decode_tokens_per_second))
        .collect();
    assert_eq!(rates, [3229.07, 150.97, 3290.92, 172.86, 2546.13, 129.80]);
    assert!(
        imported.rows[0].notes[0].starts_with("table 1 of 3: GPU 0 ONLY"),
        "{:?}",
        imported.rows[0].notes
    );
    assert_eq!(
        imported.rows[0].hardware.as_deref(),
        Some("AMD Radeon RX 7900 XTX (RADV NAVI31)")
    );
    assert_eq!(
        imported.rows[5].hardware.as_deref(),
        Some("2 × AMD Radeon RX 7900 XTX (RADV NAVI31)")
    );
    assert_eq!(
        imported.rows[5].engine_version.as_deref(),
        Some("b7361 (a81a56957)")
    );
    assert_eq!(imported.rows[0].quant.as_deref(), Some("Q4_0"));
}

#[test]
fn llama_batched_bench_lines_and_table() {
    let Some(imported) = real("llama-batched-bench/i5-7500_gemma-3-1b_output.jsonl") else {
        return;
    };
    assert_eq!(imported.format, Format::LlamaBatchedBench);
    let [one, two, ..] = imported.rows.as_slice() else {
        panic!("four rows")
    };
    near(one.prefill_tokens_per_second, 92.352_089);
    near(one.decode_tokens_per_second, 22.535_057);
    near(two.decode_tokens_per_second, 23.345_608 / 2.0);
    near(two.aggregate_decode_tokens_per_second, 23.345_608);
    near(two.aggregate_prefill_tokens_per_second, 96.252_762);
    assert_eq!(
        (two.concurrency, two.prefill_tokens_per_second),
        (Some(2), None)
    );
    assert!(
        one.notes.iter().any(|it| it.contains("999")),
        "{:?}",
        one.notes
    );
    let Some(imported) = real("llama-batched-bench/llama-7b_docs-sample_table.md") else {
        return;
    };
    assert_eq!(imported.rows.len(), 12);
    near(imported.rows[5].aggregate_decode_tokens_per_second, 465.40);
    near(imported.rows[5].decode_tokens_per_second, 465.40 / 32.0);
    assert!(
        imported.rows.iter().all(|it| it.failed.is_none()),
        "{:?}",
        imported.rows
    );
}

#[test]
fn llama_benchy_reports_and_table() {
    let Some(imported) = real("llama-benchy/gb10_lfm2.5-350m_d0_c1_v0.4.0.json") else {
        return;
    };
    assert_eq!(imported.format, Format::LlamaBenchy);
    let [row] = imported.rows.as_slice() else {
        panic!("one row")
    };
    near(row.prefill_tokens_per_second, 53_771.443_514_469_19);
    near(row.decode_tokens_per_second, 364.390_778_077_459_5);
    near(
        row.decode_tokens_per_second_sd,
        2.119_442_440_761_706 * 1.5_f64.sqrt(),
    );
    near(row.ttft_ms, 51.615_333_339_820_3);
    assert_eq!(
        (row.n, row.tool_version.as_deref()),
        (Some(3), Some("0.4.0"))
    );
    assert_eq!(row.measured_at.as_deref(), Some("2026-08-29 01:09:05Z"));
    let Some(imported) = real("llama-benchy/schema-sample_v0.2.2.json") else {
        return;
    };
    let two = imported
        .rows
        .iter()
        .find(|it| it.concurrency == Some(2))
        .expect("two at once");
    near(two.prefill_tokens_per_second, 986.658_392_199_974_4);
    near(
        two.aggregate_prefill_tokens_per_second,
        1_968.498_594_753_632_5,
    );
    near(
        two.aggregate_decode_tokens_per_second,
        98.704_849_125_622_81,
    );
    assert_eq!(two.n, Some(4));
    let Some(imported) = real("llama-benchy-md/gb10_gpt-oss-20b-mxfp4_chat.md") else {
        return;
    };
    let [pp, tg, five, ..] = imported.rows.as_slice() else {
        panic!("six rows")
    };
    near(pp.prefill_tokens_per_second, 11_792.96);
    near(pp.ttft_ms, 216.94);
    near(tg.decode_tokens_per_second, 46.47);
    near(five.prefill_tokens_per_second, 2900.23);
    near(five.aggregate_prefill_tokens_per_second, 6739.34);
    near(imported.rows[5].decode_tokens_per_second, 24.06);
    near(imported.rows[5].aggregate_decode_tokens_per_second, 180.39);
    assert_eq!(pp.tool_version.as_deref(), Some("0.4.0"));
    assert_eq!(pp.quant.as_deref(), Some("mxfp4"));
}

#[test]
fn exo_bench_from_its_console() {
    let Some(imported) = real("exo-bench/mac_qwen3.5-27b-4bit_exo_bench_log.slice.log") else {
        return;
    };
    assert_eq!(imported.format, Format::ExoBench);
    assert_eq!(imported.rows.len(), 7);
    let first = &imported.rows[0];
    near(first.prefill_tokens_per_second, 226.95);
    near(first.decode_tokens_per_second, 26.14);
    near(first.energy_joules, 6824.1);
    assert_eq!(
        first.model.as_deref(),
        Some("mlx-community/Qwen3.5-27B-4bit")
    );
    assert_eq!(
        (first.prompt_tokens, first.output_tokens),
        (Some(8192), Some(512))
    );
    let cached = &imported.rows[2];
    assert_eq!(cached.prefill_tokens_per_second, None);
    near(cached.decode_tokens_per_second, 26.27);
    near(imported.rows[4].prefill_tokens_per_second, 236.50);
}

#[test]
fn localscore_submission() {
    let Some(imported) = real("localscore/rtxpro6000_llama3.2-1b_q4km_cuda.json") else {
        return;
    };
    assert_eq!(imported.format, Format::LocalScore);
    assert_eq!(imported.rows.len(), 9);
    let first = &imported.rows[0];
    near(first.prefill_tokens_per_second, 42_833.379_534);
    near(first.decode_tokens_per_second, 791.909_496);
    near(first.ttft_ms, 25.169_359_562_5);
    assert_eq!(first.quant.as_deref(), Some("Q4_K_M"));
    assert_eq!(
        first.model.as_deref(),
        Some("Llama-3.2-1B-Instruct-Q4_K_M.gguf")
    );
    assert_eq!(
        first.hardware.as_deref(),
        Some("NVIDIA RTX PRO 6000 Blackwell Server Edition")
    );
    assert_eq!((first.n, first.measured_at.as_deref()), (Some(1), None));
    assert!(
        imported
            .rows
            .iter()
            .all(|it| it.failed.is_none() && it.energy_joules.is_none())
    );
}

const LOOK_ALIKES: [(&str, &str); 12] = [
    (
        "localmaxxing/benchmark_cache_2026-08-10.slice.json",
        "LocalMaxxing",
    ),
    ("ml-energy/tasks_gpqa.json", "ML.ENERGY"),
    (
        "ml-energy/models_openai__gpt-oss-20b__gpqa.json",
        "ML.ENERGY",
    ),
    (
        "optimum-benchmark/ai-energy-score_10iter_benchmark_report.json",
        "optimum-benchmark",
    ),
    (
        "optimum-benchmark/cpu_tei_bge_benchmark_report.json",
        "optimum-benchmark",
    ),
    (
        "optimum-benchmark/cpu_tei_bge_benchmark.json",
        "optimum-benchmark",
    ),
    (
        "optimum-benchmark/a100_llama_bnb_bs1_inference_results.csv",
        "optimum-benchmark",
    ),
    ("exo-bench/mac_qwen3.6-35b-a3b-8bit_dflash.json", "drafters"),
    (
        "exo-bench/mac_qwen3.6-27b-8bit_target-only.json",
        "drafters",
    ),
    (
        "llama-batched-bench/i5-7500_gemma-3-1b_environment.json",
        "environment",
    ),
    (
        "vllm-bench-serve/gb10_gemma-4-26b-a4b_meta.json",
        "meta.json",
    ),
    (
        "genai-bench/glm-4.6_experiment_metadata.json",
        "genai-bench",
    ),
];

#[test]
fn real_look_alikes_are_named_and_not_read() {
    for (path, words) in LOOK_ALIKES {
        let Some(bytes) = foreign(path) else { return };
        let error = read(path, &bytes).expect_err("it is no result of a tool that is read");
        assert!(
            matches!(error, ImportError::Unknown { .. }),
            "{path}: {error}"
        );
        assert!(error.to_string().contains(words), "{path}: {error}");
    }
    let Some(bytes) =
        foreign("lm-eval/samples_negotiationtom_desire_2026-07-08T18-15-33.115417.slice.jsonl")
    else {
        return;
    };
    let error = read("samples.jsonl", &bytes)
        .expect_err("samples have no scores")
        .to_string();
    assert!(error.contains("lm-eval"), "{error}");
}

/// All files of the collection, whoever's.
fn all() -> Vec<(String, Vec<u8>)> {
    let Some(folders) = foreign_root().and_then(|it| std::fs::read_dir(it).ok()) else {
        return Vec::new();
    };
    folders
        .flatten()
        .filter_map(|it| std::fs::read_dir(it.path()).ok())
        .flatten()
        .flatten()
        .filter_map(|it| {
            Some((
                it.file_name().into_string().ok()?,
                std::fs::read(it.path()).ok()?,
            ))
        })
        .collect()
}

#[test]
fn what_is_taken_out_changes_no_row() {
    for (name, bytes) in all() {
        let (kept, _) = redact(&bytes);
        assert_eq!(read(&name, &kept).ok(), read(&name, &bytes).ok(), "{name}");
        let text = String::from_utf8_lossy(&kept);
        for secret in [
            "/home/eric",
            "/home/mikekey",
            "hoge-heer",
            "/home/coulof",
            "/Users/hbd",
            "--api-backend",
        ] {
            assert!(!text.contains(secret), "{name} still has {secret}");
        }
    }
}

#[test]
fn cut_and_mangled_files_are_read_or_refused() {
    for (name, bytes) in all() {
        for part in 0..32 {
            let _ = read(&name, &bytes[..bytes.len() * part / 32]);
        }
        let mut mangled = bytes;
        let mut state = 88_172_645_463_325_252_u64;
        for _ in 0..8 {
            for _ in 0..24 {
                // Xorshift: places and bytes that differ from run to run in nothing.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = state as usize % mangled.len();
                mangled[at] = b"\"{}[]:,0e-x\n"[(state >> 32) as usize % 12];
            }
            let _ = read(&name, &mangled);
            let _ = redact(&mangled);
        }
    }
}
