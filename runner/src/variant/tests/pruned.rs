//! Pruning by measured importance, by groups, by patterns and by experts.

use candle_core::Tensor;
use candle_core::quantized::QTensor;

use super::*;
use crate::engine::candle::importance;

/// A Llama whose feed-forward is made of experts.
#[derive(Debug, Clone, Copy)]
struct Mixture {
    base: Fixture,
    experts: usize,
    used: usize,
}

impl Mixture {
    fn metadata(&self) -> BTreeMap<String, Value> {
        let mut metadata = self.base.metadata();
        for (key, number) in [
            ("llama.expert_count", self.experts),
            ("llama.expert_used_count", self.used),
        ] {
            metadata.insert(key.to_owned(), Value::U32(number as u32));
        }
        metadata
    }

    /// Every expert is the fixture's feed-forward times its number, counted from 1; so is its row in the router, with
    /// the last expert's first.
    fn tensors(&self) -> BTreeMap<String, QTensor> {
        let mut tensors = BTreeMap::new();
        for (name, (shape, values)) in self.base.weights() {
            let experts = (1..=self.experts).map(|expert| expert as f32);
            if name.contains("ffn_") && !name.contains("norm") {
                let all: Vec<f32> = experts
                    .flat_map(|factor| values.iter().map(move |value| value * factor))
                    .collect();
                let shape = [vec![self.experts], shape].concat();
                let name = name.replace(".weight", "_exps.weight");
                tensors.insert(name, stored(all, &shape, self.base.dtype));
                continue;
            }
            if name.ends_with("ffn_norm.weight") {
                let rows: Vec<f32> = experts
                    .rev()
                    .flat_map(|factor| values.iter().map(move |value| value * factor))
                    .collect();
                let name = name.replace("ffn_norm", "ffn_gate_inp");
                let shape = [self.experts, self.base.width];
                tensors.insert(name, stored(rows, &shape, GgmlDType::F32));
            }
            let dtype = if shape.len() == 1 {
                GgmlDType::F32
            } else {
                self.base.dtype
            };
            tensors.insert(name, stored(values, &shape, dtype));
        }
        tensors
    }

    fn workshop(&self) -> Workshop {
        let workshop = Workshop::of(&self.base);
        fixture::write(&workshop.source, &self.metadata(), &self.tensors());
        workshop
    }
}

fn stored(values: Vec<f32>, shape: &[usize], dtype: GgmlDType) -> QTensor {
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).expect("as many as the shape says");
    QTensor::quantize(&tensor, dtype).expect("rows of whole blocks")
}

fn values(gguf: &mut Gguf, name: &str) -> Vec<f32> {
    gguf.read(name)
        .expect("read")
        .dequantize(&Device::Cpu)
        .and_then(|tensor| tensor.flatten_all()?.to_vec1())
        .expect("values")
}

fn recipe(text: &str) -> PruneRecipe {
    text.parse().expect("a recipe")
}

/// The fixture with one matrix of one layer changed, row-major, by row and column.
fn changed(
    fixture: &Fixture,
    name: &str,
    change: impl Fn(usize, usize, f32) -> f32,
) -> BTreeMap<String, QTensor> {
    let mut tensors = fixture.tensors();
    let (shape, values) = fixture.weights().remove(name).expect("a matrix");
    let new = values
        .into_iter()
        .enumerate()
        .map(|(at, value)| change(at / shape[1], at % shape[1], value))
        .collect();
    tensors.insert(name.to_owned(), stored(new, &shape, fixture.dtype));
    tensors
}

#[test]
fn the_layer_that_does_least_goes_and_the_file_says_what_was_measured() {
    let fixture = Fixture {
        layers: 3,
        ..Fixture::tiny()
    };
    let workshop = Workshop::of(&fixture);
    // Layer 1 adds next to nothing.
    let mut tensors = changed(&fixture, "blk.1.attn_output.weight", |_, _, value| {
        value / 1_000.0
    });
    let quiet = changed(&fixture, "blk.1.ffn_down.weight", |_, _, value| {
        value / 1_000.0
    });
    tensors.extend(
        quiet
            .into_iter()
            .filter(|(name, _)| name == "blk.1.ffn_down.weight"),
    );
    fixture::write(&workshop.source, &fixture.metadata(), &tensors);

    let chosen = workshop
        .make(Quantisation::F16, recipe("layers-by-importance-1"))
        .expect("made");
    let named = workshop
        .make(Quantisation::F16, recipe("layers-at-1"))
        .expect("made");
    assert_eq!(logits(&chosen), logits(&named));
    let facts = inspect(&chosen).expect("inspected");
    assert_eq!(facts.pruning.method, PruningMethod::Layer);
    assert_eq!(
        facts.pruning.recipe.as_ref().map(Name::as_str),
        Some("layers-by-importance-1")
    );
    let gguf = Gguf::open(&chosen).expect("opens");
    let words = gguf
        .text("joulemark.pruning.importance")
        .expect("a text")
        .expect("is there");
    assert!(
        words.starts_with("layer 0 0.") && words.contains("layer 1 0.0000 removed, layer 2 0."),
        "{words}"
    );

    let error = workshop
        .make(Quantisation::F16, recipe("layers-by-importance-3"))
        .expect_err("refused");
    assert!(error.to_string().contains("at least one stays"), "{error}");
}

#[test]
fn block_influence_is_one_less_the_cosine_of_what_goes_in_and_comes_out() {
    let workshop = Workshop::of(&Fixture::tiny());
    // Every layer gives what it gets: nothing is added by attention or feed-forward.
    let fixture = Fixture::tiny();
    let mut tensors = changed(&fixture, "blk.0.attn_output.weight", |_, _, _| 0.0);
    let silent = changed(&fixture, "blk.0.ffn_down.weight", |_, _, _| 0.0);
    tensors.extend(
        silent
            .into_iter()
            .filter(|(name, _)| name == "blk.0.ffn_down.weight"),
    );
    fixture::write(&workshop.source, &fixture.metadata(), &tensors);
    let texts = ["+12+34=".to_owned(), "~abc=cba".to_owned()];
    let measured = importance(&workshop.source, &texts).expect("measured");
    assert_eq!(measured.tokens, 8 + 9);
    assert!(measured.layers[0].abs() < 1e-6, "{measured:?}");
    assert!(measured.groups[0].iter().all(|length| length.abs() < 1e-9));

    let loud = Workshop::of(&fixture);
    let measured = importance(&loud.source, &texts).expect("measured");
    assert!((0.01..2.0).contains(&measured.layers[0]), "{measured:?}");
    assert!(measured.groups[0].iter().all(|length| *length > 0.0));
}

#[test]
fn removed_heads_leave_what_the_others_compute() {
    for kv_heads in [2, 4] {
        let fixture = Fixture {
            layers: 2,
            kv_heads,
            ..Fixture::tiny()
        };
        let workshop = Workshop::of(&fixture);
        let group = fixture.width / kv_heads;
        // In layer 0 the first group of heads adds least, in layer 1 the last.
        let quieten = |name: &str, quiet: usize, factor: f32| {
            changed(&fixture, name, move |_, column, value| {
                if column / group == quiet {
                    value * factor
                } else {
                    value
                }
            })
            .remove(name)
            .expect("the matrix")
        };
        let with = |factor: f32| {
            let mut tensors = fixture.tensors();
            for (layer, quiet) in [(0, 0), (1, kv_heads - 1)] {
                let name = format!("blk.{layer}.attn_output.weight");
                tensors.insert(name.clone(), quieten(&name, quiet, factor));
            }
            tensors
        };
        fixture::write(&workshop.source, &fixture.metadata(), &with(0.001));
        let share = format!("heads-{}%", 100 / kv_heads);
        let path = workshop
            .make(Quantisation::F16, recipe(&share))
            .expect("made");

        let facts = inspect(&path).expect("inspected");
        assert_eq!(facts.pruning.method, PruningMethod::Head);
        let elements = facts.kv[0].elements_per_token as usize;
        assert_eq!(elements, 2 * (kv_heads - 1) * fixture.head_dim());
        let source = inspect(&workshop.source).expect("inspected");
        let removed = source.params_total - facts.params_total;
        assert_eq!(
            u64::from(facts.pruning.ratio_ppm),
            removed * 1_000_000 / source.params_total
        );

        // The source without what those heads add computes the same.
        let silent = workshop.folder.path().join("silent.gguf");
        fixture::write(&silent, &fixture.metadata(), &with(0.0));
        for (pruned, silent) in logits(&path).iter().zip(logits(&silent)) {
            assert!((pruned - silent).abs() < 1e-4, "{pruned} {silent}");
        }
        let gguf = Gguf::open(&path).expect("opens");
        let words = gguf
            .text("joulemark.pruning.importance")
            .expect("a text")
            .expect("is there");
        assert!(words.starts_with("layer 0: group 0 0."), "{words}");
        assert_eq!(words.matches("removed").count(), 2, "{words}");
    }
}

#[test]
fn heads_go_in_whole_groups_and_one_stays() {
    let workshop = Workshop::of(&Fixture::tiny());
    let error = workshop
        .make(Quantisation::F16, recipe("heads-25%"))
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("heads-25%") && error.contains("2 groups"),
        "{error}"
    );
    let most = workshop
        .make(Quantisation::F16, recipe("heads-99.9999%"))
        .expect("made");
    let gguf = Gguf::open(&most).expect("opens");
    let heads = |key: &str| gguf.number(key).expect("a number");
    assert_eq!(heads("llama.attention.head_count"), Some(2));
    assert_eq!(heads("llama.attention.head_count_kv"), Some(1));
    assert_eq!(heads("llama.attention.key_length"), Some(8));
    assert!(logits(&most).iter().all(|logit| logit.is_finite()));
}

#[test]
fn n_of_m_leaves_so_many_of_every_group_in_each_layers_matrices() {
    let workshop = Workshop::of(&Fixture::tiny());
    let path = workshop
        .make(Quantisation::F16, recipe("nm-1:4"))
        .expect("made");
    let mut gguf = Gguf::open(&path).expect("opens");
    let down = values(&mut gguf, "blk.0.ffn_down.weight");
    let left = |group: &[f32]| group.iter().filter(|value| value.abs() > 0.0).count();
    assert!(down.chunks(4).all(|group| left(group) <= 1));
    assert_eq!(
        down.chunks(4).filter(|group| left(group) == 1).count(),
        down.len() / 4
    );
    let embedding = values(&mut gguf, "token_embd.weight");
    assert!(embedding.chunks(4).any(|group| left(group) > 1));
    let facts = inspect(&path).expect("inspected");
    assert_eq!(facts.pruning.method, PruningMethod::NM);
    let matrices = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32;
    assert_eq!(
        u64::from(facts.pruning.ratio_ppm),
        matrices * 3 / 4 * 1_000_000 / facts.params_total
    );

    let error = workshop
        .make(Quantisation::F16, recipe("nm-2:3"))
        .expect_err("rows of 32")
        .to_string();
    assert!(
        error.contains("nm-2:3") && error.contains("multiple of 3"),
        "{error}"
    );
}

const MIXTURE: Mixture = Mixture {
    base: Fixture {
        layers: 2,
        width: 32,
        feed_forward: 64,
        heads: 4,
        kv_heads: 2,
        dtype: GgmlDType::F16,
        tied: true,
    },
    experts: 4,
    used: 2,
};

#[test]
fn fewer_experts_are_used_without_a_weight_removed() {
    let workshop = MIXTURE.workshop();
    let path = workshop
        .make(Quantisation::F16, recipe("experts-used-1"))
        .expect("made");
    let (facts, source) = (
        inspect(&path).expect("inspected"),
        inspect(&workshop.source).expect("inspected"),
    );
    assert_eq!(
        (facts.experts_total, facts.experts_used),
        (Some(4), Some(1))
    );
    assert_eq!(facts.params_total, source.params_total);
    assert_eq!(facts.pruning.method, PruningMethod::Expert);
    let idle = source.params_active - facts.params_active;
    assert_eq!(idle, 2 * 3 * 64 * 32);
    assert_eq!(
        u64::from(facts.pruning.ratio_ppm),
        idle * 1_000_000 / source.params_total
    );
    let refused = |text: &str| {
        let made = workshop.make(Quantisation::F16, recipe(text));
        made.expect_err("refused").to_string()
    };
    assert!(refused("experts-used-2").contains("2 of its 4 experts already"));
    assert!(refused("experts-3").contains("which have to stay"));
    let dense = Workshop::of(&Fixture::tiny());
    for text in ["experts-used-1", "experts-1"] {
        let error = dense
            .make(Quantisation::F16, recipe(text))
            .expect_err("refused")
            .to_string();
        assert!(error.contains("dense") && error.contains(text), "{error}");
    }
}

#[test]
fn the_experts_with_the_shortest_router_rows_go() {
    let workshop = MIXTURE.workshop();
    let path = workshop
        .make(Quantisation::Q8_0, recipe("experts-1"))
        .expect("made");
    let mut made = Gguf::open(&path).expect("opens");
    let mut source = Gguf::open(&workshop.source).expect("opens");
    assert_eq!(
        made.number("llama.expert_count").expect("a number"),
        Some(3)
    );
    // The router's last row is the shortest, and it stays as it was stored.
    for name in ["blk.0.ffn_gate_inp.weight", "blk.1.ffn_gate_inp.weight"] {
        let (left, all) = (values(&mut made, name), values(&mut source, name));
        assert_eq!(left, all[..3 * 32]);
        let dtype = made.tensor(name).map(|info| info.ggml_dtype);
        assert_eq!(dtype, Some(GgmlDType::F32));
    }
    let experts = made.tensor("blk.1.ffn_down_exps.weight").expect("a tensor");
    assert_eq!(experts.shape.dims(), [3, 32, 64]);
    assert_eq!(experts.ggml_dtype, GgmlDType::Q8_0);
    let words = made
        .text("joulemark.pruning.importance")
        .expect("a text")
        .expect("is there");
    assert_eq!(words.matches("expert 3").count(), 2, "{words}");
    assert_eq!(words.matches("removed").count(), 2, "{words}");
    let facts = inspect(&path).expect("inspected");
    let source = inspect(&workshop.source).expect("inspected");
    assert_eq!(
        source.params_total - facts.params_total,
        2 * (3 * 64 * 32 + 32)
    );
}

#[test]
fn layers_of_a_mixture_go_with_their_entries_in_lists() {
    let mut mixture = MIXTURE;
    mixture.base.layers = 3;
    let workshop = mixture.workshop();
    let mut metadata = mixture.metadata();
    metadata.insert(
        "llama.attention.head_count_kv".to_owned(),
        Value::Array([2, 2, 2].map(Value::U32).to_vec()),
    );
    fixture::write(&workshop.source, &metadata, &mixture.tensors());
    let path = workshop
        .make(Quantisation::F16, recipe("layers-1"))
        .expect("made");
    let gguf = Gguf::open(&path).expect("opens");
    let Some(Value::Array(left)) = gguf.entry("llama.attention.head_count_kv") else {
        panic!("a list");
    };
    assert_eq!(left.len(), 2);
}

#[test]
fn every_recipe_gives_the_same_bytes_again() {
    let fixture = Fixture {
        layers: 3,
        ..Fixture::tiny()
    };
    let (dense, mixture) = (Workshop::of(&fixture), MIXTURE.workshop());
    for (workshop, text) in [
        (&dense, "layers-1"),
        (&dense, "layers-by-importance-1"),
        (&dense, "heads-50%"),
        (&dense, "magnitude-30%"),
        (&dense, "nm-2:4"),
        (&mixture, "experts-1"),
        (&mixture, "experts-used-1"),
    ] {
        let spec = workshop.spec(Quantisation::Mix(Mix::Q4KM), recipe(text));
        let first = workshop.cache.make(&spec).expect("made");
        let elsewhere = VariantCache::new(workshop.folder.path().join("elsewhere"));
        let second = elsewhere.make(&spec).expect("made");
        assert_eq!(first.file_name(), second.file_name(), "{text}");
        assert!(inspect(&first).is_ok(), "{text}");
    }
}

/// Weights that are zero in both files, in millionths of all.
fn zero_in_both(a: &Path, b: &Path) -> u64 {
    let (mut a, mut b) = (Gguf::open(a).expect("opens"), Gguf::open(b).expect("opens"));
    let names: Vec<String> = a.tensors().into_keys().map(str::to_owned).collect();
    let (mut zeros, mut all) = (0, 0);
    for name in names {
        let pairs: Vec<(f32, f32)> = values(&mut a, &name)
            .into_iter()
            .zip(values(&mut b, &name))
            .collect();
        all += pairs.len() as u64;
        if name.starts_with("blk.") {
            let both = |(a, b): &&(f32, f32)| a.abs() + b.abs() == 0.0;
            zeros += pairs.iter().filter(both).count() as u64;
        }
    }
    zeros * 1_000_000 / all
}

#[test]
fn zeros_that_quantising_moved_are_not_called_removed() {
    let workshop = Workshop::of(&Fixture {
        layers: 1,
        ..Fixture::reference()
    });
    for text in ["magnitude-50%", "nm-2:4"] {
        let plain = workshop
            .make(Quantisation::F16, recipe(text))
            .expect("made");
        let meant = inspect(&plain).expect("inspected").pruning.ratio_ppm;
        assert!(meant > 400_000, "{meant}");
        for quant in Quantisation::ALL {
            let path = workshop.make(quant, recipe(text)).expect("made");
            let gguf = Gguf::open(&path).expect("opens");
            let number = |key: &str| gguf.number(key).expect("a number");
            assert_eq!(number("joulemark.pruning.ratio_ppm"), Some(meant));
            let zeros = number("joulemark.pruning.zeros_ppm");
            let said = inspect(&path).expect("inspected").pruning.ratio_ppm;
            let counted = zero_in_both(&plain, &path).min(u64::from(meant));
            assert!(
                counted.abs_diff(u64::from(said)) < 100,
                "{text} {quant}: {counted} are zero, {said} are claimed"
            );
            let moves = ["Q2_K", "Q4_K", "Q5_K", "Q4_1", "Q5_1"];
            if moves.contains(&quant.label()) {
                assert!(said < meant / 4, "{text} {quant}: {said} of {meant}");
                assert_eq!(zeros, Some(said), "{text} {quant}");
            } else if !matches!(quant, Quantisation::Mix(_)) {
                assert_eq!((said, zeros), (meant, None), "{text} {quant}");
            }
        }
    }
}

/// The tiny model with these words about its pruning.
fn saying(entries: &[(&str, Value)]) -> (Workshop, Fixture) {
    let fixture = Fixture::tiny();
    let workshop = Workshop::of(&fixture);
    let mut metadata = fixture.metadata();
    for (key, value) in entries {
        metadata.insert(format!("joulemark.pruning.{key}"), value.clone());
    }
    fixture::write(&workshop.source, &metadata, &fixture.tensors());
    (workshop, fixture)
}

fn word(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[test]
fn a_file_without_the_share_of_zeros_is_taken_at_its_word() {
    let ratio = |entries: &[(&str, Value)]| {
        let (workshop, _) = saying(entries);
        inspect(&workshop.source)
            .expect("inspected")
            .pruning
            .ratio_ppm
    };
    let older = [
        ("method", word("unstructured")),
        ("ratio_ppm", Value::U32(489_100)),
    ];
    assert_eq!(ratio(&older), 489_100);
    let zeros = |zeros| [older.to_vec(), vec![("zeros_ppm", Value::U32(zeros))]].concat();
    assert_eq!(ratio(&zeros(6_400)), 6_400);
    assert_eq!(ratio(&zeros(600_000)), 489_100, "no more than was removed");
    let layers = [
        ("method", word("layer")),
        ("ratio_ppm", Value::U32(250_000)),
        ("zeros_ppm", Value::U32(0)),
    ];
    assert_eq!(ratio(&layers), 250_000, "whole layers leave no zeros");
}

#[test]
fn a_share_of_more_than_all_is_an_error_that_names_file_and_key() {
    for key in ["ratio_ppm", "zeros_ppm"] {
        let (workshop, _) = saying(&[
            ("method", word("unstructured")),
            (key, Value::U32(1_000_001)),
        ]);
        for error in [
            inspect(&workshop.source).map(|_| ()),
            examine(&workshop.source).map(|_| ()),
        ] {
            let error = error.expect_err("refused").to_string();
            assert!(
                error.contains("source.gguf") && error.contains(&format!("pruning.{key}")),
                "{error}"
            );
        }
    }
}

#[test]
fn what_is_said_of_pruning_is_held_against_what_is_there() {
    let workshop = Workshop::of(&Fixture {
        layers: 1,
        ..Fixture::reference()
    });
    let said = |quant, text| {
        let path = workshop.make(quant, recipe(text)).expect("made");
        examine(&path).expect("examined").pruning
    };
    assert_eq!(said(Quantisation::Q8_0, "none"), None);
    for (quant, keeps) in [
        (Quantisation::F16, true),
        (Quantisation::Q8_0, true),
        (Quantisation::Q4K, false),
    ] {
        let said = said(quant, "magnitude-50%").expect("it says so");
        assert!(!said.contradicts_itself && said.share > 0.4, "{said:?}");
        let zeroed = said.zeroed.expect("its types are read");
        assert_eq!(zeroed.has_types_without_zero, !keeps);
        assert_eq!(
            zeroed.share >= said.share - 1e-4,
            keeps,
            "{quant}: {said:?}"
        );
    }
    let heads = said(Quantisation::F16, "heads-25%").expect("it says so");
    assert_eq!((heads.contradicts_itself, heads.zeroed), (false, None));
}

#[test]
fn words_about_pruning_that_contradict_each_other_are_found() {
    let contradicts = |entries: &[(&str, Value)]| {
        let (workshop, _) = saying(entries);
        let found = examine(&workshop.source).expect("examined").pruning;
        found.expect("it says something").contradicts_itself
    };
    let ratio = |ppm| ("ratio_ppm", Value::U32(ppm));
    let method = |text| ("method", word(text));
    let says = |text| ("recipe", word(text));
    assert!(contradicts(&[method("head"), ratio(0)]));
    assert!(contradicts(&[method("none"), ratio(300_000)]));
    assert!(contradicts(&[says("heads-25%")]));
    assert!(contradicts(&[
        method("head"),
        ratio(300_000),
        says("magnitude-30%")
    ]));
    assert!(contradicts(&[
        method("unstructured"),
        ratio(10),
        ("zeros_ppm", Value::U32(11))
    ]));
    assert!(!contradicts(&[
        method("head"),
        ratio(300_000),
        says("heads-25%")
    ]));
    assert!(!contradicts(&[
        method("unstructured"),
        ratio(0),
        says("magnitude-0.0001%")
    ]));
    assert!(!contradicts(&[
        method("head"),
        ratio(1),
        says("a recipe of a later version")
    ]));
}
