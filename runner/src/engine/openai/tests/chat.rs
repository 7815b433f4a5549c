//! Chat messages beside timed completions, and tokenizers of other models.

use super::fake::{Fake, Style};
use super::*;

fn chat(text: &str, tokens: u32) -> GenerateRequest {
    GenerateRequest {
        ban_eos: false,
        ..timed(Prompt::Chat(text.to_owned()), tokens)
    }
}

#[test]
fn chat_messages_go_over_as_such_where_completions_are_timed() {
    let fake = Fake::honest(Style {
        reasoning: 2,
        ..Style::default()
    });
    let mut engine = fake.engine(|how| how.system_prompt = Some("Be brief.".to_owned()));
    engine.load(&reference("0.9m"), NEEDS).expect("loads");
    assert!(engine.capabilities().chat && engine.capabilities().token_prompts);
    let answer = engine
        .generate(&chat("2+3?", 3), &mut |_| ())
        .expect("an answer");
    let sent = fake.asked().pop().expect("it was asked");
    assert_eq!(
        sent["messages"],
        json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "2+3?"},
        ])
    );
    assert_eq!(sent.get("prompt"), None);
    // Two of the three tokens came as reasoning.
    assert_eq!((answer.text.as_str(), answer.reasoning_tokens), ("e", 2));
    assert_eq!(answer.prompt_tokens, 4 + 9 + 12);
    let prompt = engine.fit_prompt(&"a b".repeat(40), 64).expect("a prompt");
    engine
        .generate(&timed(prompt, 4), &mut |_| ())
        .expect("an answer");
    let sent = fake.asked().pop().expect("it was asked");
    assert!(sent["prompt"].is_array() && sent.get("messages").is_none());
    let args = engine.facts().args;
    let has = |part: &str| args.iter().any(|arg| arg.as_str().starts_with(part));
    assert!(
        has("endpoint=completions") && has("system-prompt-sha256="),
        "{args:?}"
    );
}

#[test]
fn a_server_that_takes_no_chat_messages_is_known_by_its_refusal() {
    let known = [
        "model",
        "prompt",
        "max_tokens",
        "stream",
        "temperature",
        "stream_options",
        "ignore_eos",
        "min_tokens",
        "logit_bias",
        "cache_prompt",
        "cache_salt",
        "timings_per_token",
        "return_token_ids",
    ];
    let fake = Fake::honest(Style {
        known_keys: known.to_vec(),
        ..Style::default()
    });
    assert!(!fake.loaded().capabilities().chat);
    assert!(Fake::honest(Style::default()).loaded().capabilities().chat);
}

#[test]
fn weights_whose_tokenizer_is_another_are_refused_with_both_sizes() {
    let fake = |tokens: u64| {
        Fake::honest(Style {
            models: json!([{"id": "ours", "meta": {"n_vocab": tokens}}]),
            ..Style::default()
        })
    };
    let error = fake(32_000).engine(|_| ()).load(&reference("0.9m"), NEEDS);
    let error = error.expect_err("another tokenizer").to_string();
    assert!(
        error.contains("32000 tokens") && error.contains("288"),
        "{error}"
    );
    fake(288).loaded();
}

#[test]
fn a_tokenizer_file_of_another_model_is_refused_with_both_sizes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = super::counting::word_tokenizer(folder.path());
    for (known, fits) in [
        (None, true),
        (Some(16), true),
        (Some(15), false),
        (Some(400), false),
    ] {
        let read = Vocabulary::of_json(&path, None, known);
        assert_eq!(read.is_ok(), fits, "{known:?}: {read:?}");
        if let Err(error) = read {
            assert!(error.to_string().contains("another model"), "{error}");
        }
    }
}
