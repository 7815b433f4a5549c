//! Pairs of reference models that are the same, nearly the same, worse and broken.

use std::cell::RefCell;
use std::path::PathBuf;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use domain::gate::Verdict;
use domain::gate::verdict::QualityJudgement;
use domain::record::{EngineFacts, Settings};
use domain::suite::Suite;

use super::*;
use crate::engine::candle::CandleEngine;
use crate::engine::{Capabilities, TokenEvent};
use crate::gguf::fixture::{self, Fixture};
use crate::variant::{PruneRecipe, Quantisation, VariantCache, VariantSpec, round_tensor};

/// The tensor that is rounded to two bits where answers have to get worse: embedding and head in one.
const WORN: &str = "token_embd.weight";

fn reference_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../reference-models/joulemark-reference-0.9m-f16.gguf")
}

fn policy(items: u32) -> QualityPolicy {
    QualityPolicy {
        suite: Suite::ReferenceV1,
        items,
        alpha: 0.01,
        margin: 0.01,
        dnll_nats: 0.002,
        kld_nats: 0.01,
    }
}

fn arm(label: &str) -> ArmSpec {
    ArmSpec {
        label: label.to_owned(),
        ..ArmSpec::parse("candle:").expect("this very program")
    }
}

fn in_process(_arm: &ArmSpec, _weights: &Path) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(CandleEngine::new()?))
}

fn mute(_arm: &ArmSpec, _weights: &Path) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(Mute(CandleEngine::new()?)))
}

/// An engine that shows neither logits nor tokens, as most servers.
struct Mute(CandleEngine);

impl Engine for Mute {
    fn facts(&self) -> EngineFacts {
        self.0.facts()
    }

    fn settings(&self) -> Settings {
        self.0.settings()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            logits: false,
            ..self.0.capabilities()
        }
    }

    fn load(&mut self, weights: &Path, needs: Needs) -> Result<(), EngineError> {
        self.0.load(weights, needs)
    }

    fn unload(&mut self) {
        self.0.unload();
    }

    fn fit_prompt(&mut self, text: &str, tokens: u32) -> Result<Prompt, EngineError> {
        self.0.fit_prompt(text, tokens)
    }

    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        let mut generated = self.0.generate(request, on_event)?;
        generated.output.clear();
        Ok(generated)
    }
}

/// Climbs with these weights and judges what was found.
fn climbed(
    engine_of: EngineOf,
    base: &Path,
    candidate: &Path,
    items: u32,
) -> Result<(QualityEvidence, QualityJudgement), SlotError> {
    let (base_arm, candidate_arm) = (arm("base"), arm("candidate"));
    let pair = Pair {
        model: 0,
        base: (&base_arm, base),
        candidate: (&candidate_arm, candidate),
        threads: 1,
    };
    let stop = AtomicBool::new(false);
    let policy = policy(items);
    let evidence = climb_with(engine_of, &pair, &policy, &stop, &mut |_, done, of| {
        assert!(done < of);
    })?;
    let bytes = json_bytes(&evidence);
    assert!(bytes <= MAX_EVIDENCE_BYTES, "{bytes} bytes");
    let judgement = judge_quality(&evidence, &policy, "mini");
    Ok((evidence, judgement))
}

fn decision(judgement: &QualityJudgement) -> (Verdict, Option<u8>) {
    (judgement.verdict, judgement.rung)
}

/// Another file of the same numbers, with a word more about them.
fn same_numbers(folder: &Path) -> PathBuf {
    let path = folder.join("same.gguf");
    let mut gguf = Gguf::open(&reference_model()).expect("a reference model");
    let metadata = gguf.metadata();
    let mut metadata: std::collections::BTreeMap<String, Value> = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    metadata.insert(
        "general.description".to_owned(),
        Value::String("the same".to_owned()),
    );
    let names: Vec<String> = gguf.tensors().into_keys().map(str::to_owned).collect();
    let tensors = names.into_iter().map(|name| {
        let tensor = gguf.read(&name).expect("a tensor");
        (name, tensor)
    });
    fixture::write(&path, &metadata, &tensors.collect());
    path
}

#[test]
fn a_change_that_leaves_every_bit_passes_at_the_first_rung() {
    let folder = tempfile::tempdir().expect("a folder");
    let candidate = same_numbers(folder.path());
    let (evidence, judgement) =
        climbed(&in_process, &reference_model(), &candidate, 200).expect("climbed");
    assert_eq!(decision(&judgement), (Verdict::Pass, Some(1)));
    let greedy = evidence.greedy.expect("the first rung");
    assert_eq!(greedy.documents, 693);
    assert!(greedy.tokens > 1_000, "{}", greedy.tokens);
    assert!(greedy.base_logits_sha256.is_some());
    assert_eq!((evidence.forced, evidence.items), (None, None));
}

#[test]
fn one_tensor_rounded_to_two_bits_regresses() {
    let folder = tempfile::tempdir().expect("a folder");
    let rounded = folder.path().join("rounded.gguf");
    round_tensor(&reference_model(), WORN, &rounded).expect("rounded");
    let (evidence, judgement) =
        climbed(&in_process, &reference_model(), &rounded, 200).expect("climbed");
    assert_eq!(
        decision(&judgement),
        (Verdict::Regressed, Some(2)),
        "{}",
        judgement.said
    );
    assert_eq!(evidence.items, None, "decided before");
    let (mean, low, _) = judgement.dnll_nats.expect("compared");
    assert!(low > 0.002 && mean > low, "{}", judgement.said);
}

#[test]
fn eight_bits_are_not_the_same_bits_and_do_not_regress() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = VariantSpec {
        source: reference_model(),
        quant: Quantisation::Q8_0,
        prune: PruneRecipe::None,
    };
    let gentle = VariantCache::new(folder.path()).make(&spec).expect("made");
    let (evidence, judgement) =
        climbed(&in_process, &reference_model(), &gentle, 60).expect("climbed");
    let greedy = evidence.greedy.expect("the first rung");
    assert_ne!(greedy.base_logits_sha256, greedy.candidate_logits_sha256);
    assert_eq!(
        decision(&judgement),
        (Verdict::Pass, Some(2)),
        "{}",
        judgement.said
    );
}

#[test]
fn without_logits_items_decide() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = reference_model();
    let (evidence, judgement) = climbed(&mute, &model, &model, 280).expect("climbed");
    // All 280 the same: at most 0.96 points were lost.
    assert_eq!(
        decision(&judgement),
        (Verdict::Pass, Some(3)),
        "{}",
        judgement.said
    );
    assert_eq!(
        (evidence.forced.as_ref(), judgement.items),
        (None, Some((280, 0, 0)))
    );
    assert!(
        evidence
            .unavailable
            .is_some_and(|why| why.as_str().contains("no logits"))
    );

    let rounded = folder.path().join("rounded.gguf");
    round_tensor(&model, WORN, &rounded).expect("rounded");
    let (evidence, judgement) = climbed(&mute, &model, &rounded, 280).expect("climbed");
    assert_eq!(
        decision(&judgement),
        (Verdict::Regressed, Some(3)),
        "{}",
        judgement.said
    );
    let asked = evidence.items.expect("the third rung");
    let (_, lost, gained) = judgement.items.expect("asked");
    assert!(lost > gained && asked.differing.len() >= (lost + gained) as usize);
}

#[test]
fn other_tokens_cannot_be_compared_one_by_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (base, other) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
    let fixture = Fixture::tiny();
    fixture.write(&base);
    let mut metadata = fixture.metadata();
    let pre = Value::String("other".to_owned());
    metadata.insert("tokenizer.ggml.pre".to_owned(), pre);
    fixture::write(&other, &metadata, &fixture.tensors());
    let (evidence, judgement) = climbed(&in_process, &base, &other, 20).expect("climbed");
    assert_eq!(evidence.forced, None);
    let why = evidence.unavailable.expect("why");
    assert!(
        why.as_str().contains("different tokens"),
        "{}",
        why.as_str()
    );
    // The same numbers, and the same answers to 20 items: far too few to show anything.
    assert_eq!(decision(&judgement), (Verdict::Inconclusive, Some(3)));
}

/// The failure of a candidate: its arm, and what is said of it.
fn failure(base: &Path, candidate: &Path) -> (String, String) {
    match climbed(&in_process, base, candidate, 20) {
        Err(SlotError::Failed { label, kind, what }) => {
            assert_eq!(kind, FailureKind::Infrastructure, "{what}");
            assert!(!what.contains('/'), "{what}");
            (label, what)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn broken_candidates_end_in_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let fixture = Fixture::tiny();
    fixture.write(&path("base.gguf"));
    let whole = std::fs::read(path("base.gguf")).expect("written");
    std::fs::write(path("short.gguf"), &whole[..whole.len() / 2]).expect("written");
    let (label, _) = failure(&path("base.gguf"), &path("short.gguf"));
    assert_eq!(label, "candidate");

    for number in [f32::NAN, 1e30] {
        let mut tensors = fixture.tensors();
        let norm = Tensor::from_vec(vec![number; fixture.width], fixture.width, &Device::Cpu);
        tensors.insert(
            "output_norm.weight".to_owned(),
            QTensor::quantize(&norm.expect("a vector"), GgmlDType::F32).expect("F32"),
        );
        fixture::write(&path("broken.gguf"), &fixture.metadata(), &tensors);
        let (label, what) = failure(&path("base.gguf"), &path("broken.gguf"));
        assert_eq!(label, "candidate");
        assert!(what.contains("not finite"), "{what}");
    }
}

#[test]
fn a_stopped_climb_gives_nothing() {
    let (base_arm, candidate_arm) = (arm("base"), arm("candidate"));
    let model = reference_model();
    let pair = Pair {
        model: 0,
        base: (&base_arm, &model),
        candidate: (&candidate_arm, &model),
        threads: 1,
    };
    let stop = AtomicBool::new(false);
    let seen = RefCell::new(Vec::new());
    let climbed = climb_with(
        &in_process,
        &pair,
        &policy(20),
        &stop,
        &mut |rung, done, of| {
            seen.borrow_mut().push((rung, done, of));
            stop.store(done == 3, Ordering::Relaxed);
        },
    );
    assert!(
        matches!(climbed, Err(SlotError::Interrupted)),
        "{climbed:?}"
    );
    let told = (0..4).map(|done| (1, done, 693));
    assert_eq!(seen.into_inner(), told.collect::<Vec<_>>());
}

#[test]
fn a_command_has_no_answers() {
    let command = ArmSpec::parse("true").expect("a command");
    let model = reference_model();
    let pair = Pair {
        model: 0,
        base: (&command, &model),
        candidate: (&command, &model),
        threads: 1,
    };
    let stop = AtomicBool::new(false);
    let climbed = climb(&pair, &policy(20), &stop, &mut |_, _, _| ());
    assert!(
        matches!(climbed, Err(SlotError::Failed { .. })),
        "{climbed:?}"
    );
}

#[test]
fn every_text_begins_with_something_to_continue() {
    for suite in Suite::ALL {
        let documents = corpus::documents(suite);
        assert!(documents.iter().all(|document| !document.given.is_empty()));
    }
}

fn pairs(items: &[Item], base: impl Fn(&Item) -> String) -> Vec<(&Item, ItemPair)> {
    let pair = |item: &Item| ItemPair {
        family: Name::cleaned(item.id.family.name()),
        level: item.id.level,
        index: item.id.index,
        base: Answer::cleaned(&base(item)),
        base_ended: true,
        candidate: Answer::cleaned("no"),
        candidate_ended: true,
    };
    items.iter().map(|item| (item, pair(item))).collect()
}

#[test]
fn long_answers_are_cut_only_where_that_changes_nothing() {
    let seed = Suite::ReferenceV1.public_seed();
    let items = items(Suite::ReferenceV1, &seed, 200);
    let chatter = pairs(&items, |_| "so ".repeat(600));
    let room = 60 << 10;
    assert!(json_bytes(&chatter.iter().map(|(_, pair)| pair).collect::<Vec<_>>()) > room);
    let kept = fitted(&chatter, room).expect("wrong stays wrong");
    assert_eq!(kept.len(), 200);
    assert!(json_bytes(&kept) <= room);
    // Cut to nothing, a right answer would be a wrong one.
    let right = pairs(&items, |item| item.answer.clone());
    let whole = fitted(&right, room).expect("fits");
    assert_eq!(whole[0].base.as_str(), items[0].answer);
    let heads = json_bytes(&fitted(&pairs(&items, |_| "x".to_owned()), room).expect("fits"));
    assert_eq!(fitted(&right, heads), None);
    assert_eq!(fitted(&right, 10), None);
}
