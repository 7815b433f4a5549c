//! Tests on lm-evaluation-harness results: hand-made ones for each quirk, and real ones.

use super::super::Format::LmEval;
use super::super::tests::foreign;
use super::super::tests::testing::{
    close, keeps_private, one, real, redacts, rows, says, survives_damage, unknown,
};
use super::super::{Imported, Row};
use super::*;

const RESULTS: &str = r#"{"results": {"gsm8k": {"alias": "gsm8k", "exact_match,strict-match": 0.5,
  "exact_match_stderr,strict-match": 0.05, "exact_match,flexible-extract": 0.55,
  "exact_match_stderr,flexible-extract": "N/A"}, "wikitext": {"alias": "wikitext",
  "word_perplexity,none": 12.5, "word_perplexity_stderr,none": "N/A"}},
 "group_subtasks": {"gsm8k": [], "wikitext": []},
 "versions": {"gsm8k": 3.0, "wikitext": 2.0}, "n-shot": {"gsm8k": 5, "wikitext": 0},
 "higher_is_better": {"gsm8k": {"exact_match": true}, "wikitext": {"word_perplexity": false}},
 "n-samples": {"gsm8k": {"original": 1319, "effective": 100}, "wikitext": {"original": 62, "effective": 62}},
 "config": {"model": "local-chat-completions",
  "model_args": "model=acme/tiny-7b,base_url=http://user:secret@host.internal/v1,api_key=sk-secret,num_concurrent=4",
  "limit": 100.0}, "git_hash": "abc1234", "date": 1709164800.25, "chat_template": null,
 "chat_template_sha": null, "pretty_env_info": "GPU 0: NVIDIA X1\nGPU 1: NVIDIA X1\nhost.internal"}"#;

fn row<'a>(imported: &'a Imported, test: &str) -> &'a Row {
    let found = imported.rows.iter().find(|it| it.test == test);
    found.unwrap_or_else(|| panic!("no row {test}"))
}

#[test]
fn each_metric_and_filter_is_a_row() {
    let run = rows(RESULTS, LmEval);
    assert_eq!(run.rows.len(), 3);
    let strict = row(&run, "gsm8k exact_match,strict-match");
    close(strict.score, 0.5);
    close(strict.score_se, 0.05);
    assert_eq!(strict.task.as_deref(), Some("gsm8k"));
    assert_eq!(strict.metric.as_deref(), Some("exact_match,strict-match"));
    assert_eq!(strict.items, Some(100));
    assert_eq!(strict.kind, Some(RowKind::Quality));
    assert!(says(&strict.notes, "only 100 of 1319 items"));
    assert!(says(&strict.notes, "5 examples in the prompt"));
    let flexible = row(&run, "gsm8k exact_match,flexible-extract");
    close(flexible.score, 0.55);
    assert_eq!(flexible.score_se, None);
    let perplexity = row(&run, "wikitext word_perplexity,none");
    close(perplexity.score, 12.5);
    assert!(says(&perplexity.notes, "lower is better"));
    assert!(!says(&perplexity.notes, "only"));
    assert_eq!(strict.measured_at.as_deref(), Some("2024-02-29T00:00:00Z"));
    assert_eq!(strict.tool_version.as_deref(), Some("abc1234"));
    assert_eq!(strict.hardware.as_deref(), Some("2 x NVIDIA X1"));
    assert!(says(&run.notes, "without a chat template"));
}

#[test]
fn arguments_keep_their_secrets() {
    let run = rows(RESULTS, LmEval);
    assert_eq!(run.rows[0].model.as_deref(), Some("acme/tiny-7b"));
    assert_eq!(run.rows[0].engine, None);
    keeps_private(&run, &["secret", "host.internal", "base_url"]);
    redacts(RESULTS, &["secret"]);
    let object = RESULTS.replace(
        r#""model=acme/tiny-7b,base_url=http://user:secret@host.internal/v1,api_key=sk-secret,num_concurrent=4""#,
        r#"{"pretrained": "/home/someone/models/tiny-7b", "token": "hf_secret", "load_in_4bit": true}"#,
    );
    let run = rows(&object, LmEval);
    assert_eq!(run.rows[0].model.as_deref(), Some("tiny-7b"));
    assert_eq!(run.rows[0].quant.as_deref(), Some("4 bit (bitsandbytes)"));
    keeps_private(&run, &["secret", "someone"]);
}

#[test]
fn the_quantisation_is_of_the_weights() {
    let with = |args: &str| {
        let text = RESULTS.replace(
            "model=acme/tiny-7b,base_url=http://user:secret@host.internal/v1,api_key=sk-secret,num_concurrent=4",
            args,
        );
        rows(&text, LmEval).rows.remove(0)
    };
    for (args, quant, model) in [
        (
            "pretrained=acme/tiny-7b,dtype=bfloat16",
            Some("bfloat16"),
            "acme/tiny-7b",
        ),
        ("pretrained=acme/tiny-7b,dtype=auto", None, "acme/tiny-7b"),
        (
            "pretrained=acme/tiny-7b-AWQ,dtype=float16",
            Some("AWQ"),
            "acme/tiny-7b-AWQ",
        ),
        (
            "pretrained=acme/tiny-7b,load_in_8bit=True",
            Some("8 bit (bitsandbytes)"),
            "acme/tiny-7b",
        ),
        (
            "pretrained=acme/tiny-7b-GGUF,gguf_file=tiny-7b-Q4_K_M.gguf",
            Some("Q4_K_M"),
            "acme/tiny-7b-GGUF",
        ),
        (
            "pretrained=acme/tiny-7b,quantization=fp8",
            Some("fp8"),
            "acme/tiny-7b",
        ),
    ] {
        let row = with(args);
        assert_eq!(row.quant.as_deref(), quant, "{args}");
        assert_eq!(row.model.as_deref(), Some(model), "{args}");
    }
}

#[test]
fn a_groups_average_says_what_it_is() {
    let group = RESULTS.replace(
        "\"results\": {",
        r#""groups": {"both": {}}, "results": {"both": {"alias": "both", "acc,none": 0.525,
          "acc_stderr,none": 0.08, "sample_len": 60, "sample_count": {"acc,none": 40}},
          "empty": {"alias": "empty", " ": " "}, "#,
    );
    let run = rows(&group, LmEval);
    let both = row(&run, "both acc,none");
    assert_eq!((both.score, both.items), (Some(0.525), Some(40)));
    assert!(says(&both.notes, "average"), "{:?}", both.notes);
    assert!(
        says(&run.notes, "empty has no metric of its own"),
        "{:?}",
        run.notes
    );
}

#[test]
fn a_score_that_is_none_failed() {
    let none = RESULTS.replace(
        "\"word_perplexity,none\": 12.5",
        "\"word_perplexity,none\": NaN",
    );
    let run = rows(&none, LmEval);
    let perplexity = row(&run, "wikitext word_perplexity,none");
    assert!(perplexity.failed.is_some());
    assert_eq!(perplexity.score, None);
    let text = RESULTS.replace(
        "\"word_perplexity,none\": 12.5",
        "\"word_perplexity,none\": \"N/A\"",
    );
    assert!(
        row(&rows(&text, LmEval), "wikitext word_perplexity,none")
            .failed
            .is_some()
    );
}

#[test]
fn scores_below_zero_stay() {
    let row = one(
        r#"{"results": {"cola": {"mcc": -0.02, "mcc_stderr": 0.03}}, "versions": {"cola": 0},
          "config": {"model": "gpt2", "model_args": "pretrained=acme/tiny", "num_fewshot": 0, "limit": 0.1}}"#,
        LmEval,
    );
    assert_eq!(
        (row.score, row.score_se, row.items),
        (Some(-0.02), Some(0.03), None)
    );
    assert_eq!(row.metric.as_deref(), Some("mcc"));
}

#[test]
fn its_samples_and_lighteval_are_named() {
    let samples =
        r#"{"doc_id": 0, "doc": {}, "target": "1", "resps": [["x"]], "filtered_resps": ["x"]}"#;
    assert!(unknown(samples).contains("samples"));
    let other = r#"{"config_general": {"model_name": "x"}, "results": {"lighteval|gsm8k|0": {"em": 0.1}},
        "versions": {"lighteval|gsm8k|0": 0}, "config_tasks": {}}"#;
    assert!(unknown(other).contains("lighteval"));
}

#[test]
fn damage_gives_rows_or_an_error() {
    survives_damage(RESULTS);
}

#[test]
fn the_real_group_run_is_read() {
    let Some(run) = real(
        "lm-eval/qwen3-8b_negotiationtom_results_2026-07-08T18-15-33.115417.json",
        LmEval,
    ) else {
        return;
    };
    assert_eq!(run.rows.len(), 9);
    let belief = row(&run, "negotiationtom_belief acc,none");
    close(belief.score, 0.45);
    close(belief.score_se, 0.114_132_886_537_902_32);
    assert_eq!(belief.items, Some(20));
    assert!(
        says(&belief.notes, "only 20 of 13812 items"),
        "{:?}",
        belief.notes
    );
    let f1 = row(&run, "negotiationtom_intention micro_f1,none");
    close(f1.score, 0.285_714_285_714_285_7);
    assert_eq!(f1.score_se, None);
    let group = row(&run, "negotiationtom acc,none");
    assert_eq!((group.score, group.items), (Some(0.525), Some(40)));
    assert!(
        says(&group.notes, "average over 3 tasks"),
        "{:?}",
        group.notes
    );
    assert_eq!(belief.model.as_deref(), Some("Qwen/Qwen3-8B"));
    assert_eq!(belief.params_total, Some(8_190_735_360));
    assert_eq!(belief.quant.as_deref(), Some("bfloat16"));
    assert_eq!(belief.engine.as_deref(), Some("transformers"));
    assert_eq!(belief.engine_version.as_deref(), Some("5.12.1"));
    assert_eq!(belief.tool_version.as_deref(), Some("0.4.13.dev0"));
    assert_eq!(belief.hardware.as_deref(), Some("NVIDIA L40S"));
    assert_eq!(belief.measured_at.as_deref(), Some("2026-07-08T18:13:21Z"));
    assert!(
        says(&run.notes, "with the model's chat template"),
        "{:?}",
        run.notes
    );
    assert!(says(&run.notes, "limited to 20 items"));
}

#[test]
fn the_real_vllm_run_is_read() {
    let Some(run) = real(
        "lm-eval/gemma-2b_masakhaner_results_2026-01-16T15-23-47.285735.json",
        LmEval,
    ) else {
        return;
    };
    assert_eq!(run.rows.len(), 1);
    let row = &run.rows[0];
    assert_eq!(row.metric.as_deref(), Some("f1,flexible-extract"));
    close(row.score, 0.065_627_030_539_288_4);
    assert_eq!(row.score_se, None);
    assert_eq!(row.items, Some(185));
    assert_eq!(row.engine.as_deref(), Some("vllm"));
    assert_eq!(row.engine_version, None);
    assert_eq!(row.measured_at.as_deref(), Some("2026-01-16T15:05:18Z"));
    assert!(says(&run.notes, "without a chat template"));
}

#[test]
fn the_real_run_of_0_3_is_read() {
    let Some(run) = real("lm-eval/pythia-70m_step83000_v0.3-format.json", LmEval) else {
        return;
    };
    // 87 tasks, whose keys without `_stderr` are 172.
    assert_eq!(run.rows.len(), 172);
    let lambada = row(&run, "lambada_openai ppl");
    close(lambada.score, 124.269_622_041_752_87);
    close(lambada.score_se, 5.363_117_769_801_199);
    let norm = row(&run, "piqa acc_norm");
    close(norm.score, 0.585_418_933_623_503_8);
    close(norm.score_se, 0.011_494_326_682_255_158);
    assert_eq!(norm.items, None);
    assert_eq!(norm.model.as_deref(), Some("EleutherAI/pythia-v1.1-70m"));
    assert_eq!(norm.engine.as_deref(), Some("transformers"));
    assert!(says(&run.notes, "revision step83000"), "{:?}", run.notes);
    assert!(says(&run.notes, "does not say whether a chat template"));
}

#[test]
fn the_real_samples_are_refused() {
    let Some(bytes) =
        foreign("lm-eval/samples_negotiationtom_desire_2026-07-08T18-15-33.115417.slice.jsonl")
    else {
        return;
    };
    assert!(unknown(&String::from_utf8_lossy(&bytes)).contains("samples"));
}
