//! The two real servers of the tests, where they are installed.

use std::sync::Arc;

use domain::matrix::QualitySettings;
use domain::record::{TemplateSource, Thinking};
use domain::suite::{self, Family, Suite, Verdict};

use super::*;
use crate::clock::{Clock, RealClock};
use crate::engine::candle::CandleEngine;
use crate::prompt::Prompts;
use crate::quality::tests::{ask_loaded, workload};
use crate::quality::{Questions, items, model_context_tokens};
use crate::variant::{PruneRecipe, Quantisation, VariantCache, VariantSpec};

/// The interpreter that has the servers.
fn python() -> Option<String> {
    let python = root().join("target/engines/bin/python");
    if python.exists() {
        return Some(python.to_string_lossy().into_owned());
    }
    eprintln!("SKIPPED: {} is missing", python.display());
    None
}

fn launched(command: &[&str]) -> Server {
    Server::Launched {
        command: command.iter().map(|&word| word.to_owned()).collect(),
        ready_seconds: 180.0,
    }
}

fn llama_cpp(python: &str) -> EngineSpec {
    let script = root().join("runner/servers/llama_cpp.py");
    let command = [
        python,
        script.to_str().expect("a path in UTF-8"),
        "--model",
        "{weights}",
        "--port",
        "{port}",
        "--threads",
        "{threads}",
        "--streams",
        "{streams}",
        "--context",
        "{context}",
    ];
    spec(launched(&command), WeightsForm::Gguf)
}

fn mlx(python: &str, more: &[&str]) -> EngineSpec {
    let mut command = vec![
        python,
        "-m",
        "mlx_lm",
        "server",
        "--model",
        "{weights}",
        "--port",
        "{port}",
    ];
    command.extend(more);
    spec(launched(&command), WeightsForm::HuggingFace)
}

/// The reference model in the form that MLX loads.
fn folder(size: &str) -> (tempfile::TempDir, PathBuf) {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let made = VariantCache::new(cache.path())
        .make_huggingface(&VariantSpec {
            source: reference(size),
            quant: Quantisation::F16,
            prune: PruneRecipe::None,
        })
        .expect("the folder");
    (cache, made)
}

/// Five cold requests of forced length; what every server must get right.
fn check_forced(engine: &mut OpenAiEngine) -> Vec<Generated> {
    let mut prompts = Prompts::new(Sha256Digest([7; 32]), 0);
    (0..5)
        .map(|_| {
            let prompt = engine.fit_prompt(&prompts.next(96), 96).expect("a prompt");
            let mut events = 0;
            let answer = engine
                .generate(&timed(prompt, 48), &mut |event| {
                    assert!(event.visible);
                    events += 1;
                })
                .expect("an answer");
            assert_eq!((answer.prompt_tokens, answer.output_tokens), (96, 48));
            assert_eq!(answer.finish, Finish::Length);
            assert_eq!(answer.cached_tokens, Some(0), "cold");
            // One byte is one token, so the text shows what was counted.
            if answer.text.is_ascii() {
                assert_eq!(answer.text.len(), 48);
            }
            match &answer.event_tokens {
                None => assert_eq!(events, 48),
                Some(tokens) => {
                    assert_eq!(tokens.len(), events);
                    assert_eq!(tokens.iter().sum::<u32>(), 48);
                }
            }
            answer
        })
        .collect()
}

/// How many of the suite's first items another engine answers differently from candle.
fn differing(engine: &mut dyn Engine, size: &str, count: u32) -> Vec<String> {
    let mut candle = CandleEngine::new().expect("candle");
    candle.load(&reference(size), NEEDS).expect("loads");
    let suite = domain::suite::Suite::ReferenceV1;
    items(suite, &suite.public_seed(), count)
        .iter()
        .filter_map(|item| {
            let request = GenerateRequest {
                ban_eos: false,
                ..timed(
                    Prompt::Text(item.prompt.clone()),
                    item.answer.len() as u32 + 1,
                )
            };
            let ours = candle
                .generate(&request, &mut |_| ())
                .expect("candle answers");
            let theirs = engine
                .generate(&request, &mut |_| ())
                .expect("the server answers");
            let facts = |answer: &Generated| {
                (
                    answer.text.clone(),
                    answer.output_tokens,
                    answer.prompt_tokens,
                    answer.finish,
                )
            };
            (facts(&ours) != facts(&theirs))
                .then(|| format!("{:?}: {:?} {:?}", item.prompt, facts(&ours), facts(&theirs)))
        })
        .collect()
}

#[test]
fn a_llama_cpp_server_is_driven_with_ids_and_its_own_timings() {
    let Some(python) = python() else { return };
    let mut engine = OpenAiEngine::new(&llama_cpp(&python), 1).expect("a server's spec");
    engine.load(&reference("1.8m"), NEEDS).expect("loads");

    let can = engine.capabilities();
    assert_eq!(can.token_source, TokenSource::Timings);
    assert!(
        can.token_prompts && can.bans_eos && can.disables_prompt_cache,
        "{can:?}"
    );
    assert!(
        can.reuses_prefix && can.reports_cached_tokens && can.engine_view,
        "{can:?}"
    );
    let facts = engine.facts();
    let args: Vec<&str> = facts.args.iter().map(Name::as_str).collect();
    for arg in [
        "server=llama.cpp",
        "endpoint=completions",
        "prompt=tokens",
        "ban-eos=ignore_eos",
        "cache=off",
        "counts=timings",
        "threads=1",
        "streams=1",
    ] {
        assert!(args.contains(&arg), "{arg} is not in {args:?}");
    }
    assert!(args.iter().all(|arg| !arg.contains('/')), "{args:?}");
    assert!(facts.binary_sha256.is_some());
    let Processes::Children(children) = engine.processes() else {
        panic!("a server that was started here");
    };
    assert!(!children.is_empty());

    for answer in check_forced(&mut engine) {
        assert!(answer.engine_prefill_ns.is_some_and(|ns| ns > 0));
        assert!(answer.engine_decode_ns.is_some_and(|ns| ns > 0));
    }

    // The same again, allowed to reuse: all but the last token come from the cache.
    let prompt = engine
        .fit_prompt(&Prompts::new(Sha256Digest([8; 32]), 0).next(64), 64)
        .expect("a prompt");
    let warm = GenerateRequest {
        reuse_cache: true,
        ..timed(prompt, 4)
    };
    engine.generate(&warm, &mut |_| ()).expect("an answer");
    let again = engine.generate(&warm, &mut |_| ()).expect("an answer");
    assert!(again.cached_tokens >= Some(58), "{:?}", again.cached_tokens);

    engine.unload();
    let alive = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    assert!(
        !children.iter().any(alive),
        "the server outlived its engine"
    );
}

#[test]
fn a_llama_cpp_server_answers_the_suite_as_candle_does() {
    let Some(python) = python() else { return };
    let mut engine = OpenAiEngine::new(&llama_cpp(&python), 1).expect("a server's spec");
    engine.load(&reference("3.5m"), NEEDS).expect("loads");
    let differing = differing(&mut engine, "3.5m", 20);
    assert_eq!(differing, Vec::<String>::new());
}

#[test]
fn streams_of_a_llama_cpp_server_answer_at_the_same_time() {
    let Some(python) = python() else { return };
    let mut engine = OpenAiEngine::new(&llama_cpp(&python), 1).expect("a server's spec");
    let needs = Needs {
        streams: 4,
        ..NEEDS
    };
    engine.load(&reference("0.9m"), needs).expect("loads");
    let mut prompts = Prompts::new(Sha256Digest([9; 32]), 0);
    let requests: Vec<GenerateRequest> = (0..4)
        .map(|_| {
            timed(
                engine.fit_prompt(&prompts.next(64), 64).expect("a prompt"),
                64,
            )
        })
        .collect();
    assert!(engine.streams(5).is_err(), "it was started for four");
    let streams = engine.streams(4).expect("four streams");
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let running: Vec<_> = streams
            .into_iter()
            .zip(&requests)
            .map(|(mut stream, request)| {
                scope.spawn(move || {
                    let mut stamps = Vec::new();
                    let answer = stream
                        .generate(request, &mut |_| stamps.push(Instant::now()))
                        .expect("an answer");
                    assert_eq!(answer.output_tokens, 64);
                    (stamps[0], stamps[stamps.len() - 1])
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    let latest_start = spans.iter().map(|span| span.0).max().expect("four");
    let earliest_end = spans.iter().map(|span| span.1).min().expect("four");
    assert!(latest_start < earliest_end, "the streams took turns");
}

#[test]
fn a_deadline_ends_an_answer_with_what_had_come() {
    let Some(python) = python() else { return };
    let mut engine = OpenAiEngine::new(&llama_cpp(&python), 1).expect("a server's spec");
    let needs = Needs {
        context_tokens: 8_192,
        ..NEEDS
    };
    engine.load(&reference("3.5m"), needs).expect("loads");
    let prompt = engine
        .fit_prompt(&Prompts::new(Sha256Digest([1; 32]), 0).next(64), 64)
        .expect("a prompt");
    let mut request = timed(prompt, 8_000);
    request.deadline = Some(Instant::now() + Duration::from_millis(400));
    let mut events = 0;
    let answer = engine
        .generate(&request, &mut |_| events += 1)
        .expect("what had come");
    assert_eq!(answer.finish, Finish::Timeout);
    assert!(answer.output_tokens >= events && events > 0);
}

#[test]
fn mlx_is_driven_with_text_and_its_usage() {
    let Some(python) = python() else { return };
    let (_cache, folder) = folder("1.8m");
    let spec = mlx(&python, &["--prompt-cache-size", "0"]);
    let mut engine = OpenAiEngine::new(&spec, 1).expect("a server's spec");
    engine.load(&folder, NEEDS).expect("loads");

    let can = engine.capabilities();
    assert_eq!(can.token_source, TokenSource::Usage);
    assert!(
        can.bans_eos && can.disables_prompt_cache && can.reports_cached_tokens,
        "{can:?}"
    );
    assert!(
        !can.token_prompts && !can.engine_view && !can.reuses_prefix,
        "{can:?}"
    );
    let facts = engine.facts();
    let args: Vec<&str> = facts.args.iter().map(Name::as_str).collect();
    for arg in [
        "server=mlx",
        "prompt=text",
        "ban-eos=logit_bias",
        "cache=off",
        "counts=usage",
        "--prompt-cache-size=0",
    ] {
        assert!(args.contains(&arg), "{arg} is not in {args:?}");
    }
    assert!(
        facts.version.as_str().contains("(mlx "),
        "{}",
        facts.version
    );
    check_forced(&mut engine);

    // MLX computes in F16, candle in F32: nearly equal logits may change places in one of twenty.
    let differing = differing(&mut engine, "1.8m", 20);
    assert!(differing.len() <= 1, "{differing:#?}");
}

#[test]
fn an_mlx_server_with_its_cache_is_seen_to_keep_the_begin_token() {
    let Some(python) = python() else { return };
    let (_cache, folder) = folder("0.9m");
    let mut engine = OpenAiEngine::new(&mlx(&python, &[]), 1).expect("a server's spec");
    engine.load(&folder, NEEDS).expect("loads");
    let can = engine.capabilities();
    assert!(can.reuses_prefix && !can.disables_prompt_cache, "{can:?}");
    let prompt = engine
        .fit_prompt(&Prompts::new(Sha256Digest([3; 32]), 0).next(64), 64)
        .expect("a prompt");
    let answer = engine
        .generate(&timed(prompt, 8), &mut |_| ())
        .expect("an answer");
    assert!(
        answer.cached_tokens >= Some(1),
        "{:?}",
        answer.cached_tokens
    );
}

#[test]
fn client_and_server_both_time_the_decoding() {
    let Some(python) = python() else { return };
    let mut engine = OpenAiEngine::new(&llama_cpp(&python), 1).expect("a server's spec");
    engine.load(&reference("3.5m"), NEEDS).expect("loads");
    let mut prompts = Prompts::new(Sha256Digest([4; 32]), 0);
    for _ in 0..3 {
        let prompt = engine.fit_prompt(&prompts.next(64), 64).expect("a prompt");
        let mut stamps = Vec::new();
        let answer = engine
            .generate(&timed(prompt, 256), &mut |_| stamps.push(Instant::now()))
            .expect("an answer");
        let client = stamps[stamps.len() - 1] - stamps[0];
        let server = Duration::from_nanos(answer.engine_decode_ns.expect("its timings"));
        assert!(client > Duration::ZERO && server > Duration::ZERO);
        println!("decoding 256 tokens: {client:?} by the client, {server:?} by the server");
    }
}

#[test]
fn core_v1_goes_through_a_real_server_with_its_own_template() {
    let Some(python) = python() else { return };
    let mut engine = OpenAiEngine::new(&llama_cpp(&python), 1).expect("a server's spec");
    let settings = QualitySettings {
        suite: Suite::CoreV1,
        items: 45,
        thinking_tokens: 0,
        fidelity: true,
    };
    let mut questions = Questions::of(&settings, Suite::CoreV1.public_seed());
    // The shortest of each family, and the longest of all, which fits no context of this model.
    questions.items.retain(|item| {
        item.id.level == 1 || (item.id.level, item.id.family) == (5, Family::Retrieval)
    });
    let weights = reference("0.9m");
    let model = model_context_tokens(&weights).expect("the header says it");
    let needs = Needs {
        context_tokens: crate::plan::context_tokens(
            &workload(1),
            questions.context_tokens(288),
            Some(model),
        ),
        streams: 1,
    };
    engine.load(&weights, needs).expect("loads");
    assert!(engine.capabilities().chat);
    let args = engine.facts().args;
    let has = |part: &str| args.iter().any(|arg| arg.as_str().starts_with(part));
    assert!(
        has("endpoint=completions") && has("chat-template-sha256="),
        "{args:?}"
    );

    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let asked = ask_loaded(&mut engine, &clock, &questions, &workload(1));
    let (samples, _) = asked.expect("items that do not fit are no failure");
    let quality = samples.quality.expect("asked");
    assert_eq!(quality.items.len(), 10);
    let asking = quality.asking.expect("a chat suite");
    assert_eq!(
        (asking.template, asking.thinking),
        (TemplateSource::Server, Thinking::None)
    );
    for (item, answer) in questions.items.iter().zip(&quality.items) {
        // One byte is one token, and the template adds its own.
        let tokens = item.prompt.len() as u32 + item.max_answer_tokens;
        if answer.finish == Finish::Error {
            assert!(tokens + 100 > model, "{}: {tokens} tokens", item.id);
            assert_eq!((answer.tokens_in, answer.answer.as_str()), (0, ""));
        } else {
            assert!(tokens < model + item.max_answer_tokens, "{}", item.id);
            assert!(answer.tokens_in > item.prompt.len() as u32);
        }
        // It has never seen English: whatever it says, the score is a verdict.
        assert!(suite::score(item, answer.answer.as_str()) != Verdict::Right);
    }
    let unanswered = |answer: &&domain::record::AnsweredItem| answer.finish == Finish::Error;
    let lost = quality.items.iter().filter(unanswered).count();
    assert_eq!(lost, 1, "a context of {model}");
}

#[test]
fn a_file_that_was_cut_off_is_an_error_in_the_servers_words() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cut = folder.path().join("cut.gguf");
    let whole = std::fs::read(reference("0.9m")).expect("readable");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("written");
    let mut engine = OpenAiEngine::new(&llama_cpp(&python), 1).expect("a server's spec");
    let error = engine.load(&cut, NEEDS).expect_err("half of it is missing");
    assert_eq!(error.class(), "server did not start", "{error}");
    let said = error.to_string();
    assert!(said.contains("its last lines"), "{said}");
}

#[test]
fn a_server_that_ends_at_once_is_an_error_with_its_last_words() {
    let Some(python) = python() else { return };
    let code = "import sys; sys.stderr.write('no such thing {port} {weights}'); sys.exit(3)";
    let spec = spec(launched(&[&python, "-c", code]), WeightsForm::Gguf);
    let mut engine = OpenAiEngine::new(&spec, 1).expect("a server's spec");
    let error = engine.load(&reference("0.9m"), NEEDS).expect_err("it ends");
    assert_eq!(error.class(), "server did not start");
    let said = error.to_string();
    assert!(
        said.contains("no such thing") && said.contains('3'),
        "{said}"
    );
}

#[test]
fn weights_that_mlx_cannot_read_do_not_cost_the_whole_patience() {
    let Some(python) = python() else { return };
    let (_cache, folder) = folder("0.9m");
    std::fs::remove_file(folder.join("config.json")).expect("it was there");
    let mut engine = OpenAiEngine::new(&mlx(&python, &[]), 1).expect("a server's spec");
    let error = engine.load(&folder, NEEDS).expect_err("no config");
    assert_eq!(error.class(), "server did not start", "{error}");
}

#[test]
fn real_servers_take_the_keys_of_a_drawn_answer() {
    let Some(python) = python() else { return };
    let (_cache, made) = folder("0.9m");
    for (spec, weights) in [
        (llama_cpp(&python), reference("0.9m")),
        (mlx(&python, &[]), made),
    ] {
        let mut engine = OpenAiEngine::new(&spec, 1).expect("a server's spec");
        engine
            .load(&weights, NEEDS)
            .unwrap_or_else(|error| panic!("failed to {error}"));
        let request = GenerateRequest {
            sampling: Sampling::Drawn {
                temperature_ppm: 800_000,
                seed: 5,
            },
            ..timed(Prompt::Text("The kettle".to_owned()), 12)
        };
        let answer = engine
            .generate(&request, &mut |_| ())
            .unwrap_or_else(|error| panic!("failed to {error}"));
        assert_eq!(answer.output_tokens, 12);
    }
}
