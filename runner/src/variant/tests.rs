//! Variants of a random model: made, cached, inspected, loaded and asked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use domain::record::{KvKind, PruningMethod, VariantFacts};
use domain::text::Name;
use tempfile::TempDir;

use super::*;
use crate::engine::Engine;
use crate::engine::candle::CandleEngine;
use crate::gguf::fixture::{self, Fixture};
use crate::gguf::{Gguf, Keys};

mod damaged;
mod mixed;
mod pruned;

/// A source file and a cache beside it.
struct Workshop {
    folder: TempDir,
    source: PathBuf,
    cache: VariantCache,
}

impl Workshop {
    fn of(fixture: &Fixture) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = folder.path().join("source.gguf");
        fixture.write(&source);
        let cache = VariantCache::new(folder.path().join("variants"));
        Self {
            folder,
            source,
            cache,
        }
    }

    fn spec(&self, quant: Quantisation, prune: PruneRecipe) -> VariantSpec {
        VariantSpec {
            source: self.source.clone(),
            quant,
            prune,
        }
    }

    fn make(&self, quant: Quantisation, prune: PruneRecipe) -> Result<PathBuf, VariantError> {
        self.cache.make(&self.spec(quant, prune))
    }

    fn facts(&self, quant: Quantisation, prune: PruneRecipe) -> VariantFacts {
        inspect(&self.make(quant, prune).expect("made")).expect("inspected")
    }
}

fn logits(path: &Path) -> Vec<f32> {
    let mut engine = CandleEngine::new().expect("a CPU");
    let needs = crate::engine::Needs {
        context_tokens: 64,
        streams: 1,
    };
    engine.load(path, needs).expect("loads");
    engine
        .logits(&[256, 72, 101, 108, 108, 111])
        .expect("logits")
        .concat()
}

#[test]
fn a_variant_loads_and_answers_close_to_its_source() {
    let workshop = Workshop::of(&Fixture {
        layers: 2,
        ..Fixture::reference()
    });
    let exact = logits(&workshop.source);
    let spread = exact.iter().map(|x| x.abs()).fold(0.0, f32::max);
    for (quant, share) in [
        (Quantisation::Q8_0, 0.05),
        (Quantisation::Q6K, 0.15),
        (Quantisation::Q4K, 0.5),
    ] {
        let variant = logits(&workshop.make(quant, PruneRecipe::None).expect("made"));
        let worst = exact
            .iter()
            .zip(&variant)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(
            worst < share * spread,
            "{quant} differs by {worst} of {spread}"
        );
    }
}

#[test]
fn files_shrink_with_their_quantisation() {
    let workshop = Workshop::of(&Fixture {
        layers: 1,
        ..Fixture::reference()
    });
    let bytes = |quant| workshop.facts(quant, PruneRecipe::None).files[0].bytes;
    let shrink = |quants: &[Quantisation]| {
        let sizes: Vec<u64> = quants.iter().map(|&quant| bytes(quant)).collect();
        assert!(
            sizes.is_sorted_by(|larger, smaller| larger >= smaller),
            "{sizes:?}"
        );
        assert!(sizes.first() > sizes.last(), "{sizes:?}");
    };
    // How large a mix is beside the others depends on the model's shape.
    let (mixes, pure): (Vec<_>, Vec<_>) = Quantisation::ALL
        .into_iter()
        .skip_while(|&quant| quant != Quantisation::Q8_0)
        .partition(|quant| matches!(quant, Quantisation::Mix(_)));
    shrink(&pure);
    shrink(&mixes);
}

#[test]
fn facts_come_from_the_file() {
    let fixture = Fixture {
        layers: 2,
        kv_heads: 2,
        ..Fixture::reference()
    };
    let workshop = Workshop::of(&fixture);
    let source = inspect(&workshop.source).expect("inspected");
    let layer = 2 * 256 + 256 * 256 * 2 + 2 * 64 * 256 + 3 * 768 * 256;
    assert_eq!(source.params_total, 288 * 256 + 256 + 2 * layer);
    assert_eq!(source.params_active, source.params_total);
    assert_eq!(
        (
            source.model.as_str(),
            source.arch.as_str(),
            source.quant.as_str()
        ),
        ("fixture", "llama", "F16")
    );
    assert_eq!(source.path.as_ref().map(Name::as_str), Some("source.gguf"));
    assert_eq!(
        (source.vocab_size, source.embedding_bytes, source.head_bytes),
        (288, 288 * 256 * 2, 288 * 256 * 2)
    );
    assert_eq!(
        source.dense_bytes,
        2 * (layer - 512) * 2 + (2 * 512 + 256) * 4
    );
    assert_eq!(
        (
            source.kv[0].kind,
            source.kv[0].layers,
            source.kv[0].elements_per_token
        ),
        (KvKind::Full, 2, 2 * 2 * 32)
    );
    assert_eq!(
        (source.pruning.method, source.pruning.source_sha256),
        (PruningMethod::None, None)
    );
    assert_eq!(
        source.sha256,
        Sha256Digest::of(&fs::read(&workshop.source).expect("read"))
    );

    let small = workshop.facts(Quantisation::Q4K, PruneRecipe::None);
    assert_eq!(
        (small.quant.as_str(), small.model.as_str(), small.path),
        ("Q4_K", "fixture", None)
    );
    assert_eq!(
        (small.params_total, small.tokenizer_sha256),
        (source.params_total, source.tokenizer_sha256)
    );
    assert_eq!(small.pruning.source_sha256, Some(source.sha256));
    assert!(source.tokenizer_sha256.is_some() && source.template_sha256.is_none());
}

#[test]
fn an_untied_head_has_its_own_bytes() {
    let workshop = Workshop::of(&Fixture {
        tied: false,
        ..Fixture::tiny()
    });
    let facts = workshop.facts(Quantisation::Q8_0, PruneRecipe::None);
    assert_eq!(
        (facts.embedding_bytes, facts.head_bytes),
        (288 * 34, 288 * 34)
    );
    assert_eq!(
        facts.params_total,
        2 * 288 * 32 + 32 + 2 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32
    );
}

#[test]
fn dropped_layers_are_gone_and_the_rest_still_runs() {
    let workshop = Workshop::of(&Fixture {
        layers: 4,
        ..Fixture::tiny()
    });
    let path = workshop
        .make(Quantisation::F16, PruneRecipe::Layers(1))
        .expect("made");
    let facts = inspect(&path).expect("inspected");
    let source = inspect(&workshop.source).expect("inspected");
    assert_eq!(
        (facts.kv[0].layers, facts.pruning.method),
        (3, PruningMethod::Layer)
    );
    let removed = source.params_total - facts.params_total;
    assert_eq!(
        u64::from(facts.pruning.ratio_ppm),
        removed * 1_000_000 / source.params_total
    );
    assert_eq!(facts.pruning.healed, Some(false));
    assert_ne!(logits(&path), logits(&workshop.source));

    // Layers 0, 2 and 3 stay, in that order.
    let (mut kept, mut original) = (
        Gguf::open(&path).expect("opens"),
        Gguf::open(&workshop.source).expect("opens"),
    );
    for (now, before) in [(0, 0), (1, 2), (2, 3)] {
        let now = kept
            .read(&format!("blk.{now}.attn_q.weight"))
            .expect("read");
        let before = original
            .read(&format!("blk.{before}.attn_q.weight"))
            .expect("read");
        assert_eq!(now.data().expect("bytes"), before.data().expect("bytes"));
    }
    let same = workshop
        .make(Quantisation::F16, PruneRecipe::LayersAt(vec![1]))
        .expect("made");
    assert_eq!(logits(&same), logits(&path));
}

#[test]
fn magnitude_pruning_zeroes_the_stated_share_of_each_layers_matrices() {
    let workshop = Workshop::of(&Fixture {
        layers: 2,
        ..Fixture::reference()
    });
    let recipe = PruneRecipe::Magnitude { ratio_ppm: 300_000 };
    let path = workshop
        .make(Quantisation::F16, recipe.clone())
        .expect("made");
    let (mut gguf, mut source) = (
        Gguf::open(&path).expect("opens"),
        Gguf::open(&workshop.source).expect("opens"),
    );
    let names: Vec<String> = gguf.tensors().into_keys().map(str::to_owned).collect();
    let zeros = |gguf: &mut Gguf, name: &str| {
        let tensor = gguf
            .read(name)
            .expect("read")
            .dequantize(&Device::Cpu)
            .expect("values");
        let values: Vec<f32> = tensor
            .flatten_all()
            .and_then(|flat| flat.to_vec1())
            .expect("values");
        (
            values.iter().filter(|value| value.abs() == 0.0).count(),
            values.len(),
        )
    };
    let (mut zeroed, mut all) = (0, 0);
    for name in &names {
        let (before, _) = zeros(&mut source, name);
        let (found, of) = zeros(&mut gguf, name);
        let layer_matrix = name.starts_with("blk.") && !name.contains("norm");
        // A random source may hold a few zeros of its own; they count among the smallest.
        assert_eq!(
            found,
            if layer_matrix {
                (of * 3 / 10).max(before)
            } else {
                before
            },
            "{name}"
        );
        zeroed += if layer_matrix { of * 3 / 10 } else { 0 };
        all += of;
    }
    let facts = inspect(&path).expect("inspected");
    assert_eq!(facts.pruning.method, PruningMethod::Unstructured);
    assert_eq!(facts.pruning.ratio_ppm as usize, zeroed * 1_000_000 / all);
    // Zeros are stored like other numbers: only the metadata grows.
    let source_bytes = fs::metadata(&workshop.source).expect("a file").len();
    assert!(facts.files[0].bytes.abs_diff(source_bytes) < 1_024);
    assert_eq!(
        facts.params_total,
        inspect(&workshop.source).expect("inspected").params_total
    );
    assert!(
        logits(&workshop.make(Quantisation::Q4K, recipe).expect("made"))
            .iter()
            .all(|logit| logit.is_finite())
    );
}

#[test]
fn the_same_spec_gives_the_same_file_without_making_it_again() {
    let workshop = Workshop::of(&Fixture::tiny());
    let path = workshop
        .make(Quantisation::Q8_0, PruneRecipe::None)
        .expect("made");
    let name = format!("{}.gguf", digest_of_file(&path).expect("read"));
    assert_eq!(
        path.file_name().and_then(|name| name.to_str()),
        Some(name.as_str())
    );
    let made = fs::metadata(&path)
        .and_then(|facts| facts.modified())
        .expect("a file");
    assert_eq!(
        workshop
            .make(Quantisation::Q8_0, PruneRecipe::None)
            .expect("found"),
        path
    );
    assert_eq!(
        fs::metadata(&path)
            .and_then(|facts| facts.modified())
            .expect("a file"),
        made
    );

    // Another cache on another day writes the same bytes.
    let elsewhere = VariantCache::new(workshop.folder.path().join("elsewhere"));
    let again = elsewhere
        .make(&workshop.spec(Quantisation::Q8_0, PruneRecipe::None))
        .expect("made");
    assert_eq!(again.file_name(), path.file_name());
    assert_eq!(
        fs::read(again).expect("read"),
        fs::read(path).expect("read")
    );
}

#[test]
fn a_damaged_cached_file_is_made_again() {
    let workshop = Workshop::of(&Fixture::tiny());
    let path = workshop
        .make(Quantisation::Q8_0, PruneRecipe::None)
        .expect("made");
    let whole = fs::read(&path).expect("read");
    let mut damaged = whole.clone();
    damaged[5_000] ^= 1;
    fs::write(&path, damaged).expect("written");
    assert_eq!(
        workshop
            .make(Quantisation::Q8_0, PruneRecipe::None)
            .expect("made"),
        path
    );
    assert_eq!(fs::read(&path).expect("read"), whole);
    fs::remove_file(&path).expect("removed");
    assert_eq!(
        workshop
            .make(Quantisation::Q8_0, PruneRecipe::None)
            .expect("made"),
        path
    );
    assert!(path.exists());
}

#[test]
fn several_programs_may_make_the_same_variant_at_once() {
    let workshop = Workshop::of(&Fixture::tiny());
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| workshop.make(Quantisation::Q4_0, PruneRecipe::None)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic").expect("made"))
            .collect()
    });
    assert!(paths.iter().all(|path| *path == paths[0]));
    let files = fs::read_dir(workshop.folder.path().join("variants"))
        .expect("a folder")
        .count();
    assert_eq!(files, 2, "one file and the index, nothing temporary");
}

#[test]
fn the_source_itself_is_the_variant_that_changes_nothing() {
    let workshop = Workshop::of(&Fixture::tiny());
    assert_eq!(
        workshop
            .make(Quantisation::F16, PruneRecipe::None)
            .expect("found"),
        workshop.source
    );
}

#[test]
fn as_is_is_the_source_whatever_its_type_and_prunes_nothing() {
    let workshop = Workshop::of(&Fixture {
        dtype: GgmlDType::Q8_0,
        ..Fixture::tiny()
    });
    let as_is = "as-is".parse().expect("a quantisation");
    let found = workshop.make(as_is, PruneRecipe::None).expect("found");
    assert_eq!(found, workshop.source);
    assert!(!workshop.folder.path().join("variants").exists(), "no copy");
    let pruned = workshop.make(as_is, PruneRecipe::Magnitude { ratio_ppm: 1 });
    let error = pruned.expect_err("refused").to_string();
    assert!(error.contains("as-is"), "{error}");
}

#[test]
fn matrices_that_cannot_take_the_type_fall_back_and_are_counted() {
    let fallbacks = |fixture: &Fixture, quant| {
        let workshop = Workshop::of(fixture);
        let path = workshop.make(quant, PruneRecipe::None).expect("made");
        assert!(logits(&path).iter().all(|logit| logit.is_finite()));
        let gguf = Gguf::open(&path).expect("opens");
        let dtype = gguf
            .tensor("blk.0.attn_q.weight")
            .map(|info| info.ggml_dtype);
        let count = gguf
            .number("joulemark.quantisation.fallbacks")
            .expect("a number");
        (
            count,
            dtype,
            inspect(&path).expect("inspected").quant.to_string(),
        )
    };
    let tiny = Fixture {
        dtype: GgmlDType::F32,
        ..Fixture::tiny()
    };
    assert_eq!(
        fallbacks(&tiny, Quantisation::Q4K),
        (Some(8), Some(GgmlDType::Q8_0), "Q8_0".to_owned())
    );
    assert_eq!(
        fallbacks(&tiny, Quantisation::Q4_0),
        (Some(0), Some(GgmlDType::Q4_0), "Q4_0".to_owned())
    );
    let odd = Fixture {
        width: 24,
        feed_forward: 40,
        ..tiny
    };
    assert_eq!(
        fallbacks(&odd, Quantisation::Q4_0),
        (Some(8), Some(GgmlDType::F16), "F16".to_owned())
    );
}

#[test]
fn sources_that_no_variant_can_be_made_of_say_why() {
    let workshop = Workshop::of(&Fixture::tiny());
    let made = workshop
        .make(
            Quantisation::Q8_0,
            PruneRecipe::Magnitude { ratio_ppm: 1_000 },
        )
        .expect("made");
    let from = |source: &Path, prune: PruneRecipe| {
        let spec = VariantSpec {
            source: source.to_owned(),
            quant: Quantisation::Q4_0,
            prune,
        };
        workshop.cache.make(&spec).expect_err("refused")
    };
    assert!(matches!(
        from(&made, PruneRecipe::None),
        VariantError::AlreadyMade { .. }
    ));
    let foreign = workshop.folder.path().join("foreign.gguf");
    Fixture {
        dtype: GgmlDType::Q8_0,
        ..Fixture::tiny()
    }
    .write(&foreign);
    let error = from(&foreign, PruneRecipe::None).to_string();
    assert!(
        error.contains("foreign.gguf") && error.contains("Q8_0"),
        "{error}"
    );
    let error = from(&workshop.source, PruneRecipe::Layers(1)).to_string();
    assert!(
        error.contains("layers-1") && error.contains("source.gguf"),
        "{error}"
    );
    fs::write(&foreign, "a text").expect("written");
    assert!(matches!(
        from(&foreign, PruneRecipe::None),
        VariantError::File(_)
    ));
    assert!(matches!(inspect(&foreign), Err(VariantError::File(_))));
}

#[test]
fn hostile_names_are_cleaned_and_bad_metadata_is_refused() {
    let workshop = Workshop::of(&Fixture::tiny());
    let path = workshop.folder.path().join("hostile.gguf");
    let mut metadata = Fixture::tiny().metadata();
    metadata.insert(
        "general.name".to_owned(),
        Value::String("a\0b\u{202e}\n<b>".to_owned() + &"x".repeat(999)),
    );
    fixture::write(&path, &metadata, &Fixture::tiny().tensors());
    let facts = inspect(&path).expect("inspected");
    assert!(facts.model.as_str().starts_with("ab<b>x") && facts.model.as_str().len() == 256);

    for (key, value) in [
        (
            "joulemark.pruning.method",
            Value::String("magic".to_owned()),
        ),
        ("joulemark.source_sha256", Value::String("beef".to_owned())),
        ("llama.attention.head_count", Value::U32(0)),
    ] {
        let mut metadata = Fixture::tiny().metadata();
        metadata.insert(key.to_owned(), value);
        fixture::write(&path, &metadata, &Fixture::tiny().tensors());
        let error = inspect(&path).expect_err("refused").to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn the_matrix_names_what_can_be_made() {
    let made = Quantisation::ALL.map(Quantisation::label);
    assert_eq!(made, QUANTISATIONS[..QUANTISATIONS.len() - 1]);
    for label in QUANTISATIONS {
        assert_eq!(
            label.parse::<Quantisation>().map(Quantisation::label),
            Ok(label)
        );
    }
    let error = "Q4_Q"
        .parse::<Quantisation>()
        .expect_err("unknown")
        .to_string();
    assert!(
        error.contains("Q4_K_M") && error.contains("Q4_Q"),
        "{error}"
    );
}
