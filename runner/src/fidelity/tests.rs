//! Comparisons of the reference models with what becomes of them.

use std::fs;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::*;
use crate::gguf::fixture::{self, Fixture};
use crate::variant::{PruneRecipe, Quantisation, VariantCache, VariantSpec};

fn running() -> AtomicBool {
    AtomicBool::new(false)
}

fn compared(source: &Path, variant: &Path) -> Result<Fidelity, FidelityError> {
    measure(
        source,
        variant,
        Suite::ReferenceV1,
        &running(),
        &mut |_, _| (),
    )
}

/// Mean KL divergence in nats, and share of tokens with the same first choice.
fn means(fidelity: &Fidelity) -> (f64, f64) {
    let docs = || fidelity.docs.iter();
    let tokens: u32 = docs().map(|doc| doc.tokens).sum();
    let kld: i64 = docs().map(|doc| doc.kld_nnat).sum();
    let agree: u32 = docs().map(|doc| doc.top1_agree).sum();
    (
        kld as f64 / NNAT / f64::from(tokens),
        f64::from(agree) / f64::from(tokens),
    )
}

fn reference_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../reference-models/joulemark-reference-0.9m-f16.gguf")
}

fn made(folder: &Path, source: &Path, quant: Quantisation, prune: PruneRecipe) -> PathBuf {
    let spec = VariantSpec {
        source: source.to_owned(),
        quant,
        prune,
    };
    VariantCache::new(folder).make(&spec).expect("made")
}

#[test]
fn more_loss_is_more_divergence_and_less_agreement() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = reference_model();
    let figures: Vec<(f64, f64)> = [Quantisation::Q8_0, Quantisation::Q4_0, Quantisation::Q2K]
        .into_iter()
        .map(|quant| {
            let variant = made(folder.path(), &source, quant, PruneRecipe::None);
            let fidelity = compared(&source, &variant).expect("comparable");
            let size = serde_json::to_vec(&fidelity).expect("JSON").len();
            assert!(size <= MAX_FIDELITY_BYTES, "{size} bytes");
            for doc in &fidelity.docs {
                assert_eq!(doc.token_kld_nnat.len(), doc.tokens as usize);
                assert_eq!(doc.token_kld_nnat.iter().sum::<i64>(), doc.kld_nnat);
                assert!(doc.token_kld_nnat.iter().all(|kld| *kld >= 0));
                assert!(doc.top1_agree <= doc.tokens);
            }
            means(&fidelity)
        })
        .collect();
    assert!(
        figures.is_sorted_by(|less, more| less.0 < more.0),
        "{figures:?}"
    );
    assert!(
        figures.is_sorted_by(|less, more| less.1 > more.1),
        "{figures:?}"
    );
    assert!(figures[0].0 < 1e-3 && figures[0].1 > 0.95, "{figures:?}");
}

#[test]
fn the_same_numbers_in_a_wider_type_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, wide) = (
        folder.path().join("f16.gguf"),
        folder.path().join("f32.gguf"),
    );
    let fixture = Fixture::tiny();
    fixture.write(&source);
    let mut tensors = fixture.tensors();
    for tensor in tensors.values_mut() {
        let plain = tensor.dequantize(&Device::Cpu).expect("plain");
        *tensor = QTensor::quantize(&plain, GgmlDType::F32).expect("F32");
    }
    fixture::write(&wide, &fixture.metadata(), &tensors);
    let fidelity = compared(&source, &wide).expect("comparable");
    // Products of other shapes of numbers are summed in another order: the last bits differ.
    let (kld, agree) = means(&fidelity);
    assert!(kld < 1e-9, "{kld}");
    assert!(agree > 0.999, "{agree}");
    let corpus = corpus::documents(Suite::ReferenceV1);
    let tokens: Vec<usize> = corpus.iter().map(|doc| doc.scored.len() + 1).collect();
    let counted: Vec<usize> = fidelity
        .docs
        .iter()
        .map(|doc| doc.tokens as usize)
        .collect();
    assert_eq!(counted, tokens, "the answer and the end token");
}

#[test]
fn a_divergence_is_that_of_the_formula() {
    // Of two tokens: 3/4 and 1/4 against 1/2 and 1/2.
    let token = Token::of(&[3_f32.ln(), 0.0], &[0.0, 0.0], 1);
    let expected = 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln();
    assert!((token.kld - expected).abs() < 1e-7, "{}", token.kld);
    assert!((token.dnll - 0.5_f64.ln()).abs() < 1e-7, "{}", token.dnll);
    assert!(token.agrees, "of equals the first is the likeliest");
    assert!(!Token::of(&[0.0, 1.0], &[0.0, 0.0], 0).agrees);
    let far = Token::of(&[1e5, -1e5], &[-1e5, 1e5], 0);
    assert!((far.kld - 2e5).abs() < 1e-3, "{}", far.kld);
}

#[test]
fn what_cannot_be_compared_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let fixture = Fixture::tiny();
    fixture.write(&path("source.gguf"));

    let same = compared(&path("source.gguf"), &path("source.gguf"));
    assert!(matches!(same, Err(FidelityError::SameWeights { .. })));

    let mut metadata = fixture.metadata();
    metadata.insert(
        "tokenizer.ggml.pre".to_owned(),
        Value::String("other".to_owned()),
    );
    fixture::write(&path("words.gguf"), &metadata, &fixture.tensors());
    let other = compared(&path("source.gguf"), &path("words.gguf"));
    assert!(matches!(other, Err(FidelityError::Tokenizer)));

    let quantised = Fixture {
        dtype: GgmlDType::Q8_0,
        ..fixture
    };
    quantised.write(&path("q8.gguf"));
    let lossy = compared(&path("q8.gguf"), &path("source.gguf"));
    assert!(
        matches!(&lossy, Err(FidelityError::NoReference { why, .. }) if why.contains("Q8_0")),
        "{lossy:?}"
    );

    let mut tensors = fixture.tensors();
    let rows = domain::byte_tokenizer::VOCABULARY_SIZE - 32;
    let fewer = Tensor::zeros((rows, fixture.width), candle_core::DType::F32, &Device::Cpu);
    tensors.insert(
        "token_embd.weight".to_owned(),
        QTensor::quantize(&fewer.expect("zeros"), GgmlDType::F16).expect("F16"),
    );
    fixture::write(&path("fewer.gguf"), &fixture.metadata(), &tensors);
    let smaller = compared(&path("source.gguf"), &path("fewer.gguf"));
    assert!(
        matches!(smaller, Err(FidelityError::Vocabulary { variant_tokens, .. }) if variant_tokens == rows as u32)
    );

    fs::write(path("text.gguf"), "no weights").expect("written");
    assert!(compared(&path("source.gguf"), &path("text.gguf")).is_err());
}

#[test]
fn logits_beyond_all_bounds_give_no_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, broken) = (
        folder.path().join("source.gguf"),
        folder.path().join("broken.gguf"),
    );
    let fixture = Fixture::tiny();
    fixture.write(&source);
    let mut tensors = fixture.tensors();
    let norm = Tensor::from_vec(vec![1e30; fixture.width], fixture.width, &Device::Cpu);
    tensors.insert(
        "output_norm.weight".to_owned(),
        QTensor::quantize(&norm.expect("a vector"), GgmlDType::F32).expect("F32"),
    );
    fixture::write(&broken, &fixture.metadata(), &tensors);
    let error = compared(&source, &broken).expect_err("no number");
    assert!(
        matches!(&error, FidelityError::Logits { path, document: 1 } if *path == broken),
        "{error}"
    );
}

#[test]
fn a_comparison_stops_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = reference_model();
    let variant = made(
        folder.path(),
        &source,
        Quantisation::Q8_0,
        PruneRecipe::None,
    );
    let stop = running();
    let mut seen = 0;
    let stopped = measure(
        &source,
        &variant,
        Suite::ReferenceV1,
        &stop,
        &mut |done, _| {
            seen = done;
            stop.store(done == 3, Ordering::Relaxed);
        },
    );
    assert!(matches!(stopped, Err(FidelityError::Stopped)));
    assert_eq!(seen, 3);
}
