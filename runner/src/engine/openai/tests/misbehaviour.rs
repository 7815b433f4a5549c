//! Every way in which a server can fail to do its part, and the habits that are no failure.

use super::fake::{Fake, Part, Reply, Said, Style, done, event};
use super::*;

/// Loads against an honest server, then asks one forced answer of a misbehaving one.
fn error_of(
    style: Style,
    misbehave: impl Fn(&Value, &Style) -> Reply + Send + Sync + 'static,
) -> EngineError {
    let fake = Fake::new(style, misbehave);
    let mut engine = fake.loaded();
    fake.arm();
    let prompt = engine.fit_prompt(&"a b".repeat(40), 64).expect("a prompt");
    let error = engine
        .generate(&timed(prompt, 16), &mut |_| ())
        .expect_err("it misbehaves");
    assert!(error.to_string().contains(&fake.url), "{error}");
    assert!(!error.class().contains('/'));
    error
}

fn broken(misbehave: impl Fn(&Value, &Style) -> Reply + Send + Sync + 'static, says: &[&str]) {
    let error = error_of(Style::default(), misbehave);
    assert_eq!(error.class(), "server broke the protocol", "{error}");
    for part in says {
        assert!(
            error.to_string().contains(part),
            "{part:?} is not in {error}"
        );
    }
}

/// An honest engine's forced answer, with the number of events.
fn forced(engine: &mut OpenAiEngine, tokens: u32) -> (Generated, Vec<TokenEvent>) {
    let prompt = engine.fit_prompt(&"a b".repeat(40), 64).expect("a prompt");
    let mut events = Vec::new();
    let answer = engine
        .generate(&timed(prompt, tokens), &mut |event| events.push(event))
        .unwrap_or_else(|error| panic!("failed to {error}"));
    (answer, events)
}

#[test]
fn a_server_that_is_down_is_unreachable() {
    let url = Fake::honest(Style::default()).url.clone();
    let spec = spec(Server::Running { url }, WeightsForm::Gguf);
    let mut engine = OpenAiEngine::new(&spec, 1).expect("a server's spec");
    let error = engine.load(&reference("0.9m"), NEEDS).expect_err("gone");
    assert_eq!(error.class(), "server unreachable", "{error}");
}

#[test]
fn a_refusal_carries_status_and_message() {
    let error = error_of(Style::default(), |_, _| {
        Reply::json(
            500,
            &json!({"error": {"message": "out of\u{202e} KV slots"}}),
        )
    });
    assert!(
        matches!(&error, EngineError::Refused { status: 500, reason, .. } if reason == "out of KV slots"),
        "{error}"
    );
}

#[test]
fn pages_and_whole_objects_are_no_streams() {
    let page = "<!doctype html><title>Gateway</title>";
    for content_type in ["text/html; charset=utf-8", "text/event-stream"] {
        broken(
            move |_, _| Reply {
                status: 200,
                content_type,
                parts: vec![Part::Text(page.to_owned())],
            },
            &["HTML"],
        );
    }
    broken(
        |_, _| Reply::json(200, &json!({"choices": [{"text": "all at once"}]})),
        &["one JSON object"],
    );
}

#[test]
fn silence_before_and_within_an_answer_ends_it() {
    for pieces in [0_usize, 2] {
        let error = error_of(Style::default(), move |body, style| {
            let mut reply = style.answer(body);
            reply
                .parts
                .insert(pieces, Part::Pause(Duration::from_secs(5)));
            reply
        });
        assert!(
            matches!(error, EngineError::Stalled { events, .. } if events as usize == pieces),
            "{error}"
        );
    }
}

#[test]
fn a_long_prompt_may_be_read_in_silence_and_an_answer_may_not_be_given_so() {
    for (pause_before, heard) in [(0_usize, None), (2, Some(2))] {
        let fake = Fake::new(Style::default(), move |body, style| {
            let mut reply = style.answer(body);
            let pause = Part::Pause(Duration::from_secs(1));
            reply.parts.insert(pause_before, pause);
            reply
        });
        let mut engine = fake.loaded();
        fake.arm();
        // Five longest silences.
        let prompt = Prompt::Text("a".repeat(4_096));
        let answer = engine.generate(&timed(prompt, 8), &mut |_| ());
        match (heard, answer) {
            (None, Ok(answer)) => assert_eq!(answer.output_tokens, 8),
            (Some(heard), Err(EngineError::Stalled { events, .. })) => assert_eq!(events, heard),
            (_, other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_that_trickles_pages_or_answers_for_ever_is_given_up() {
    let fake = Fake::honest(Style {
        trickles: Some(Duration::from_millis(100)),
        ..Style::default()
    });
    let error = fake.engine(|_| ()).load(&reference("0.9m"), NEEDS);
    let error = error.expect_err("it trickles pages");
    assert!(matches!(error, EngineError::Stalled { .. }), "{error}");

    let fake = Fake::new(Style::default(), |_, _| {
        let drops = [
            Part::Text(": alive\n\n".to_owned()),
            Part::Pause(Duration::from_millis(100)),
        ];
        Reply::stream(drops.into_iter().cycle().take(200).collect())
    });
    fake.arm();
    let error = fake.engine(|_| ()).load(&reference("0.9m"), NEEDS);
    let error = error.expect_err("it trickles answers");
    assert!(
        matches!(error, EngineError::Stalled { events: 0, .. }),
        "{error}"
    );
}

#[test]
fn an_answer_far_beyond_what_was_asked_is_cut() {
    for (ids, of) in [(false, "pieces of output"), (true, "token ids")] {
        let style = Style {
            ids,
            ..Style::default()
        };
        let error = error_of(style, |body, style| {
            let mut longer = body.clone();
            longer["max_tokens"] = json!(10_000);
            style.answer(&longer)
        });
        assert!(
            matches!(&error, EngineError::Protocol { what, .. } if what.contains("sent 21")
                && what.contains(of) && what.contains("16 tokens were asked")),
            "{error}"
        );
    }
}

#[test]
fn one_of_several_models_has_to_be_named() {
    let models = json!([
        {"id": "other", "meta": {"n_params": 7}},
        {"id": "ours", "meta": {}},
    ]);
    let fake = Fake::honest(Style {
        models,
        ..Style::default()
    });
    let load = |model: Option<&str>| {
        let mut engine = fake.engine(|how| how.model = model.map(str::to_owned));
        engine.load(&reference("0.9m"), NEEDS)
    };
    let error = load(None).expect_err("which?");
    assert!(
        matches!(&error, EngineError::OtherWeights { what, .. } if what.contains("other, ours")
            && what.contains("model =")),
        "{error}"
    );
    load(Some("ours")).expect("its own entry does not contradict");
    let error = load(Some("other")).expect_err("seven parameters");
    assert!(
        matches!(&error, EngineError::OtherWeights { what, .. } if what.contains("of 7 parameters")),
        "{error}"
    );
}

#[test]
fn a_salt_is_never_sent_twice_even_after_another_load() {
    let fake = Fake::honest(Style::default());
    drop(fake.loaded());
    drop(fake.loaded());
    let asked = fake.asked();
    let mut salts: Vec<&str> = asked
        .iter()
        .filter_map(|body| body["cache_salt"].as_str())
        .collect();
    let sent = salts.len();
    salts.sort_unstable();
    salts.dedup();
    assert!(sent >= 4 && salts.len() == sent, "{salts:?}");
}

#[test]
fn a_stream_that_ends_early_or_breaks_off_is_no_answer() {
    broken(
        |body, style| {
            let mut reply = style.answer(body);
            reply.parts.truncate(5);
            reply
        },
        &["closed the stream after 5 pieces"],
    );
    broken(
        |body, style| {
            let mut reply = style.answer(body);
            reply.parts.truncate(3);
            reply
                .parts
                .push(event(&json!({"error": {"message": "CUDA error"}})));
            reply
        },
        &["CUDA error", "after 3 pieces"],
    );
}

#[test]
fn lines_without_end_garbage_and_other_encodings_are_refused() {
    broken(
        |_, _| {
            Reply::stream(vec![
                Part::Text("data: ".to_owned()),
                Part::Flood(100 << 20),
            ])
        },
        &["longer than"],
    );
    broken(
        |_, _| Reply::stream(vec![Part::Raw(b"data: {\"a\": \"\xff\xfe\"}\n".to_vec())]),
        &["UTF-8"],
    );
    broken(
        |_, _| Reply::stream(vec![Part::Text("hello\n".to_owned())]),
        &["no event"],
    );
    broken(
        |_, _| Reply::stream(vec![Part::Text("data: {\"choices\": 3}\n\n".to_owned())]),
        &["not understood"],
    );
}

#[test]
fn lies_about_tokens_are_told_with_both_figures() {
    let lie = |change: fn(&mut Said)| {
        move |body: &Value, style: &Style| {
            let mut said = Said {
                prompt: style.prompt_tokens(body),
                output: style.output(body).0,
                cached: 0,
            };
            change(&mut said);
            style.says(body, said)
        }
    };
    broken(
        lie(|said| said.output = 9),
        &["9 output tokens", "16 pieces"],
    );
    broken(
        lie(|said| said.output = 40),
        &["40 output tokens", "16 were asked"],
    );
    broken(
        lie(|said| said.prompt = 32),
        &["32 prompt tokens", "64 were sent"],
    );
    broken(lie(|said| said.cached = 70), &["70 cached", "prompt of 64"]);
    // Sixteen are counted and asked, but eight letters came.
    broken(
        |body, style| {
            let mut shorter = body.clone();
            shorter["max_tokens"] = json!(8);
            let said = Said {
                prompt: 64,
                output: 16,
                cached: 0,
            };
            style.says(&shorter, said)
        },
        &["16 output tokens", "text holds 8"],
    );
    let style = Style {
        timings: true,
        ..Style::default()
    };
    let error = error_of(style, |body, style| {
        let edit =
            |text: &str| text.replace("\"completion_tokens\":16", "\"completion_tokens\":15");
        style.answer(body).edited(edit)
    });
    assert!(
        error.to_string().contains("usage counts 15") && error.to_string().contains("timings 16"),
        "{error}"
    );
}

#[test]
fn a_server_that_gives_up_is_told_so() {
    broken(
        |body, style| {
            style
                .answer(body)
                .edited(|text| text.replace("\"length\"", "\"abort\""))
        },
        &["gave up"],
    );
}

#[test]
fn keep_alives_other_line_ends_and_missing_spaces_are_read() {
    let fake = Fake::new(Style::default(), |body, style| {
        let mut reply = style
            .answer(body)
            .edited(|text| text.replace("data: ", "data:").replace('\n', "\r\n"));
        reply
            .parts
            .insert(1, Part::Text(": keepalive 1/2\r\n\r\n".to_owned()));
        reply.parts.insert(
            2,
            Part::Text("event: message\r\nid: 3\r\nretry: 10\r\n".to_owned()),
        );
        reply.parts.insert(3, event(&json!({"choices": [{"delta": {"role": "assistant", "content": null}, "text": null}]})));
        reply
    });
    let mut engine = fake.loaded();
    fake.arm();
    let (answer, events) = forced(&mut engine, 16);
    assert_eq!((answer.output_tokens, events.len()), (16, 16));
    assert_eq!(answer.event_tokens, None);
}

#[test]
fn a_stream_without_done_is_whole_once_it_said_why_it_stopped() {
    let fake = Fake::new(Style::default(), |body, style| {
        let mut reply = style.answer(body);
        reply.parts.pop();
        reply
    });
    let mut engine = fake.loaded();
    fake.arm();
    assert_eq!(forced(&mut engine, 16).0.output_tokens, 16);
}

#[test]
fn several_tokens_in_one_event_are_counted_by_the_best_source() {
    let coalescing = Style {
        tokens_per_event: 5,
        ..Style::default()
    };
    let shares = Some(vec![5, 5, 5, 1]);
    for (style, source) in [
        (
            Style {
                ids: true,
                ..coalescing.clone()
            },
            TokenSource::Ids,
        ),
        (
            Style {
                timings: true,
                ..coalescing.clone()
            },
            TokenSource::Timings,
        ),
        (
            Style {
                usage_per_event: true,
                ..coalescing.clone()
            },
            TokenSource::Usage,
        ),
        // A vocabulary of bytes needs nobody's word.
        (coalescing, TokenSource::Usage),
    ] {
        let fake = Fake::honest(style);
        let mut engine = fake.loaded();
        assert_eq!(engine.capabilities().token_source, source);
        let (answer, events) = forced(&mut engine, 16);
        assert_eq!((answer.output_tokens, events.len()), (16, 4));
        assert_eq!(
            (answer.event_tokens, answer.token_source),
            (shares.clone(), source)
        );
    }
}

#[test]
fn a_total_is_shared_out_where_nobody_says_more() {
    // U+FFFD stands for bytes that were no UTF-8: how many, the text does not show.
    let style = Style {
        tokens_per_event: 4,
        letters: "ab\u{fffd}c",
        ..Style::default()
    };
    let fake = Fake::honest(style);
    let mut engine = fake.loaded();
    let (answer, events) = forced(&mut engine, 18);
    let tokens = answer.event_tokens.expect("shared out");
    assert_eq!(answer.token_source, TokenSource::Apportioned);
    assert_eq!((tokens.len(), events.len()), (5, 5));
    assert_eq!(tokens.iter().sum::<u32>(), 18);
    assert!(tokens.iter().all(|&share| share >= 1), "{tokens:?}");
}

#[test]
fn the_end_token_is_no_output_whether_it_is_counted_or_not() {
    for counts_end in [true, false] {
        for timings in [true, false] {
            let fake = Fake::honest(Style {
                timings,
                counts_end,
                ..Style::default()
            });
            let mut engine = fake.loaded();
            let request = GenerateRequest {
                ban_eos: false,
                ..timed(Prompt::Text("a question".to_owned()), 16)
            };
            let answer = engine.generate(&request, &mut |_| ()).expect("an answer");
            assert_eq!((answer.output_tokens, answer.finish), (3, Finish::Stop));
            assert_eq!(answer.text, "the");
        }
    }
}

#[test]
fn without_any_count_the_text_is_tokenised_again() {
    let fake = Fake::honest(Style {
        usage: false,
        tokens_per_event: 3,
        ..Style::default()
    });
    let mut engine = fake.loaded();
    let can = engine.capabilities();
    assert_eq!(can.token_source, TokenSource::Retokenized);
    assert!(!can.reports_cached_tokens);
    let (answer, _) = forced(&mut engine, 8);
    assert_eq!((answer.prompt_tokens, answer.output_tokens), (64, 8));
    assert_eq!(answer.event_tokens, Some(vec![3, 3, 2]));
    assert_eq!(answer.cached_tokens, None);
}

#[test]
fn without_any_count_or_tokenizer_there_is_no_measurement() {
    let fake = Fake::honest(Style {
        usage: false,
        ..Style::default()
    });
    let mut engine = fake.engine(|how| how.weights = WeightsForm::HuggingFace);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = engine
        .load(folder.path(), NEEDS)
        .expect_err("nobody counts");
    assert!(
        error.to_string().contains("does not count its tokens"),
        "{error}"
    );
    assert!(error.to_string().contains("tokenizer"), "{error}");
}

#[test]
fn a_server_that_refuses_unknown_keys_is_asked_for_less() {
    let standard = vec![
        "model",
        "prompt",
        "max_tokens",
        "stream",
        "temperature",
        "stream_options",
        "logit_bias",
        "seed",
    ];
    let style = Style {
        known_keys: standard.clone(),
        bans_by: vec!["logit_bias"],
        ..Style::default()
    };
    let fake = Fake::honest(style);
    let mut engine = fake.loaded();
    let (answer, _) = forced(&mut engine, 16);
    assert_eq!(answer.output_tokens, 16);
    let args = engine.facts().args;
    for arg in ["keys=standard", "ban-eos=logit_bias"] {
        assert!(args.iter().any(|found| found.as_str() == arg), "{args:?}");
    }
    // Even `usage` may be too much to ask.
    let fake = Fake::honest(Style {
        known_keys: standard[..5].to_vec(),
        bans_by: Vec::new(),
        ..Style::default()
    });
    let engine = fake.loaded();
    let can = engine.capabilities();
    assert_eq!(
        (can.token_source, can.bans_eos),
        (TokenSource::Retokenized, false)
    );
}

#[test]
fn a_server_that_refuses_ids_gets_text_of_the_same_length() {
    let fake = Fake::honest(Style {
        takes_ids: false,
        ..Style::default()
    });
    let mut engine = fake.loaded();
    assert!(!engine.capabilities().token_prompts);
    let (answer, _) = forced(&mut engine, 8);
    assert_eq!(answer.prompt_tokens, 64);
    let last = fake.asked().pop().expect("it was asked");
    assert_eq!(last["prompt"].as_str().map(str::len), Some(63), "{last}");
}

#[test]
fn what_keeps_the_end_away_is_found_by_trying() {
    for (by, arg, bans) in [
        ("ignore_eos", "ban-eos=ignore_eos", true),
        ("logit_bias", "ban-eos=logit_bias", true),
        ("min_tokens", "ban-eos=min_tokens", true),
        ("prayer", "ban-eos=none", false),
    ] {
        let fake = Fake::honest(Style {
            bans_by: vec![by],
            ..Style::default()
        });
        let engine = fake.loaded();
        assert_eq!(engine.capabilities().bans_eos, bans);
        let args = engine.facts().args;
        assert!(args.iter().any(|found| found.as_str() == arg), "{args:?}");
    }
}

#[test]
fn a_chat_prompt_fits_with_its_template_and_reasoning_is_told_apart() {
    let fake = Fake::honest(Style {
        reasoning: 6,
        ..Style::default()
    });
    let mut engine = fake.engine(|how| {
        how.endpoint = Endpoint::Chat;
        how.system_prompt = Some("Be brief.".to_owned());
    });
    engine.load(&reference("0.9m"), NEEDS).expect("loads");
    let (answer, events) = forced(&mut engine, 16);
    assert_eq!((answer.prompt_tokens, answer.output_tokens), (64, 16));
    assert_eq!(answer.reasoning_tokens, 6);
    assert_eq!(events.iter().filter(|event| !event.visible).count(), 6);
    assert_eq!(answer.text.len(), 10);
    let digest = format!("system-prompt-sha256={}", digest("Be brief."));
    let args = engine.facts().args;
    assert!(args.iter().any(|arg| arg.as_str() == digest), "{args:?}");
    assert!(
        !args.iter().any(|arg| arg.as_str().contains("brief")),
        "{args:?}"
    );
}

#[test]
fn cached_tokens_are_reported_and_a_cache_that_stays_is_seen() {
    // It caches whatever it was sent before, whether it may or not.
    let style = Style::default();
    let fake = Fake::new(style, |body, style| {
        let said = Said {
            prompt: style.prompt_tokens(body),
            output: style.output(body).0,
            cached: 1,
        };
        style.says(body, said)
    });
    fake.arm();
    let mut engine = fake.loaded();
    let can = engine.capabilities();
    assert!(
        can.reports_cached_tokens && !can.disables_prompt_cache && can.reuses_prefix,
        "{can:?}"
    );
    assert_eq!(forced(&mut engine, 8).0.cached_tokens, Some(1));
}

#[test]
fn a_deadline_returns_what_had_come() {
    let fake = Fake::new(Style::default(), |body, style| {
        let mut reply = style.answer(body);
        reply.parts.insert(4, Part::Pause(Duration::from_secs(5)));
        reply
    });
    let mut engine = fake.engine(|how| how.stall_seconds = 20.0);
    engine.load(&reference("0.9m"), NEEDS).expect("loads");
    fake.arm();
    let prompt = engine.fit_prompt(&"a b".repeat(40), 64).expect("a prompt");
    let mut request = timed(prompt, 16);
    request.deadline = Some(Instant::now() + Duration::from_millis(300));
    let answer = engine
        .generate(&request, &mut |_| ())
        .expect("what had come");
    assert_eq!((answer.finish, answer.output_tokens), (Finish::Timeout, 4));
}

#[test]
fn a_prompt_alone_is_processed_and_nothing_reported() {
    let fake = Fake::honest(Style::default());
    let mut engine = fake.loaded();
    let (answer, events) = forced(&mut engine, 0);
    assert_eq!(
        (answer.prompt_tokens, answer.output_tokens, events.len()),
        (64, 0, 0)
    );
}

#[test]
fn a_drawn_answer_sends_temperature_and_seed_and_cuts_nothing_off() {
    let fake = Fake::honest(Style::default());
    let mut engine = fake.loaded();
    let request = GenerateRequest {
        sampling: Sampling::Drawn {
            temperature_ppm: 700_000,
            seed: 7,
        },
        ..timed(Prompt::Text("a question".to_owned()), 4)
    };
    engine.generate(&request, &mut |_| ()).expect("an answer");
    let last = fake.asked().pop().expect("it was asked");
    assert_eq!(
        (last["temperature"].as_f64(), last["seed"].as_u64()),
        (Some(0.7), Some(7))
    );
    for (key, neutral) in [
        ("top_p", 1.0),
        ("top_k", 0.0),
        ("min_p", 0.0),
        ("repeat_penalty", 1.0),
        ("repetition_penalty", 1.0),
    ] {
        assert_eq!(last[key].as_f64(), Some(neutral), "{key}");
    }
}

#[test]
fn the_key_is_sent_and_shown_nowhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("key");
    std::fs::write(&path, "s3cret-word\n").expect("written");
    let fake = Fake::new(Style::default(), |_, _| {
        Reply::json(401, &json!({"error": "who are you"}))
    });
    let mut engine =
        fake.engine(|how| how.api_key_file = Some(path.to_string_lossy().into_owned()));
    engine.load(&reference("0.9m"), NEEDS).expect("loads");
    fake.arm();
    let error = engine
        .generate(&timed(Prompt::Text("x".to_owned()), 4), &mut |_| ())
        .expect_err("refused");
    for shown in [
        error.to_string(),
        format!("{engine:?}"),
        format!("{:?}", engine.facts()),
    ] {
        assert!(!shown.contains("s3cret-word"), "{shown}");
    }
}

#[test]
fn an_empty_prompt_and_an_engine_without_weights_are_errors() {
    let fake = Fake::honest(Style::default());
    let mut engine = fake.engine(|_| ());
    let request = timed(Prompt::Text(String::new()), 4);
    let error = engine
        .generate(&request, &mut |_| ())
        .expect_err("nothing is loaded");
    assert!(matches!(error, EngineError::NotLoaded));
    engine.load(&reference("0.9m"), NEEDS).expect("loads");
    let error = engine.generate(&request, &mut |_| ()).expect_err("empty");
    assert!(matches!(error, EngineError::EmptyPrompt));
    assert!(engine.load(&root().join("no-such.gguf"), NEEDS).is_err());
}

#[test]
fn an_answer_that_is_done_at_once_has_no_events() {
    let fake = Fake::new(Style::default(), |_, _| {
        let end = json!({"choices": [{"text": "", "finish_reason": "stop"}]});
        let usage = json!({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}});
        Reply::stream(vec![event(&end), event(&usage), done()])
    });
    let mut engine = fake.loaded();
    fake.arm();
    let request = GenerateRequest {
        ban_eos: false,
        ..timed(Prompt::Text("x".to_owned()), 4)
    };
    let answer = engine
        .generate(&request, &mut |_| panic!("no event"))
        .expect("an answer");
    assert_eq!((answer.output_tokens, answer.event_tokens), (0, None));
}
