//! Examinations of honest files, and of files made from worse ones.

use std::fs;
use std::path::PathBuf;

use candle_core::Tensor;
use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::Value;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tempfile::TempDir;

use super::*;
use crate::gguf::Gguf;
use crate::gguf::fixture::{self, Fixture};

const PLAIN: [GgmlDType; 3] = [GgmlDType::F32, GgmlDType::F16, GgmlDType::BF16];

/// A folder, and the metadata of a model whose tensors the tests make.
struct Bench {
    folder: TempDir,
    metadata: BTreeMap<String, Value>,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            metadata: Fixture::reference().metadata(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("model.gguf")
    }

    fn examined(&self, tensors: &BTreeMap<String, QTensor>) -> Examined {
        fixture::write(&self.path(), &self.metadata, tensors);
        examine(&self.path()).expect("a whole file")
    }
}

/// Weights, each tensor through the types in turn; the last is what it is stored in.
fn through(weights: &BTreeMap<String, Tensor>, types: &[GgmlDType]) -> BTreeMap<String, QTensor> {
    let (last, before) = types.split_last().expect("a type");
    let of = |weight: &Tensor, dtype| QTensor::quantize(weight, dtype).expect("whole blocks");
    let tensors = weights.iter().map(|(name, weight)| {
        if weight.rank() < 2 {
            return (name.clone(), of(weight, GgmlDType::F32));
        }
        let mut weight = weight.clone();
        for dtype in before {
            weight = of(&weight, *dtype).dequantize(&Device::Cpu).expect("plain");
        }
        (name.clone(), of(&weight, *last))
    });
    tensors.collect()
}

/// The smallest reference model's weights.
fn trained() -> BTreeMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../reference-models/joulemark-reference-0.9m-f16.gguf");
    let mut gguf = Gguf::open(&path).expect("in the repository");
    let names: Vec<String> = gguf.tensors().into_keys().map(str::to_owned).collect();
    let read = |name: String| {
        let tensor = gguf.read(&name).expect("whole");
        (name, tensor.dequantize(&Device::Cpu).expect("plain"))
    };
    names.into_iter().map(read).collect()
}

/// Matrices of normally distributed weights, one with some outliers.
fn random() -> BTreeMap<String, Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / 2_f64.powi(32);
    let names = [
        "token_embd.weight",
        "blk.0.ffn_up.weight",
        "blk.0.ffn_down.weight",
    ];
    let mut matrix = |name: &str| {
        let numbers: Vec<f32> = (0..256 * 256)
            .map(|at| {
                let normal =
                    (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
                let size = if at % 97 == 0 { 0.5 } else { 0.02 };
                (normal * size) as f32
            })
            .collect();
        let tensor = Tensor::from_vec(numbers, (256, 256), &Device::Cpu).expect("a matrix");
        (name.to_owned(), tensor)
    };
    names.into_iter().map(&mut matrix).collect()
}

#[test]
fn honest_files_are_not_suspected() {
    let bench = Bench::new();
    let mut told = 0;
    for weights in [trained(), random()] {
        for types in [
            &[GgmlDType::F32][..],
            &[GgmlDType::F16],
            &[GgmlDType::BF16],
            &[GgmlDType::F16, GgmlDType::Q8_0],
            &[GgmlDType::BF16, GgmlDType::Q8_0],
            &[GgmlDType::F16, GgmlDType::Q6K],
            &[GgmlDType::F16, GgmlDType::Q4K],
            &[GgmlDType::F16, GgmlDType::Q4_0],
        ] {
            let found = bench.examined(&through(&weights, types));
            assert_eq!(found.requantised, [], "{types:?}");
            assert_eq!(found.zero_pattern, None, "{types:?}");
            assert_eq!((found.not_finite.len(), found.same_tensors.len()), (0, 0));
            told += found.told_matrices;
        }
    }
    // Nothing is told of the last two.
    assert_eq!(
        told,
        6 * (trained()
            .values()
            .filter(|weight| weight.rank() > 1)
            .count() as u32
            + 3)
    );
}

#[test]
fn an_earlier_quantisation_is_found_with_its_bits() {
    let bench = Bench::new();
    let from = |source: GgmlDType, targets: &[GgmlDType], bits: u32, of_all: bool| {
        let kinds = [("trained", trained()), ("with outliers", random())];
        for (kind, weights) in kinds.into_iter().take(1 + usize::from(of_all)) {
            for target in targets {
                let found = bench.examined(&through(&weights, &[GgmlDType::F16, source, *target]));
                let matrices: u32 = found.requantised.iter().map(|one| one.matrices).sum();
                let case = format!("{kind} {source:?} to {target:?}: {:?}", found.requantised);
                assert_eq!(matrices, found.told_matrices, "{case}");
                assert!(found.told_matrices > 2, "{case}");
                for one in &found.requantised {
                    assert_eq!((one.bits, one.is_even), (bits, true), "{case}");
                    assert!(one.share >= MOST_RUNS && one.runs >= LEAST_RUNS, "{case}");
                }
            }
        }
    };
    let with_q8 = [PLAIN.as_slice(), &[GgmlDType::Q8_0]].concat();
    from(GgmlDType::Q2K, &with_q8, 2, true);
    from(GgmlDType::Q3K, &with_q8, 3, true);
    from(GgmlDType::Q4_0, &with_q8, 4, true);
    from(GgmlDType::Q4K, &with_q8, 4, true);
    from(GgmlDType::Q5K, &PLAIN, 5, true);
    from(GgmlDType::Q5K, &[GgmlDType::Q8_0], 5, false);
    from(GgmlDType::Q6K, &PLAIN, 6, false);
    from(GgmlDType::Q8_0, &[GgmlDType::F32, GgmlDType::F16], 8, false);
    from(GgmlDType::Q2K, &[GgmlDType::Q6K], 2, false);
    from(GgmlDType::Q3K, &[GgmlDType::Q6K], 3, false);
}

#[test]
fn zeros_of_a_grid_come_with_the_suspicion_of_it() {
    let bench = Bench::new();
    let types = [GgmlDType::F16, GgmlDType::Q4_0, GgmlDType::F16];
    let found = bench.examined(&through(&trained(), &types));
    assert!(found.zero_share.is_some_and(|share| share > 0.01));
    assert!(!found.requantised.is_empty() && found.pruning.is_none());
    assert_eq!(found.zero_pattern, None);
}

#[test]
fn a_code_of_few_uneven_values_is_found_too() {
    // The sixteen values of IQ4_NL, of each block of 32 times another scale.
    const VALUES: [f32; 16] = [
        -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0,
        69.0, 89.0, 113.0,
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let numbers: Vec<f32> = (0..256 * 256)
        .map(|at| {
            let scale = 1e-4 * (1.0 + (at / BLOCK % 7) as f32);
            VALUES[(rng.next_u32() % 16) as usize] * scale
        })
        .collect();
    let tensor = Tensor::from_vec(numbers, (256, 256), &Device::Cpu).expect("a matrix");
    let weights = BTreeMap::from([("blk.0.ffn_up.weight".to_owned(), tensor)]);
    let bench = Bench::new();
    for dtype in [GgmlDType::F16, GgmlDType::Q8_0] {
        let found = bench.examined(&through(&weights, &[dtype])).requantised;
        assert_eq!(found.len(), 1, "{dtype:?}");
        assert_eq!((found[0].bits, found[0].is_even), (4, false), "{dtype:?}");
    }
}

#[test]
fn zeros_are_counted_and_their_pattern_is_recognised() {
    let bench = Bench::new();
    let pruned = |kept: usize, group: usize| {
        let zeroed = |(name, weight): (String, Tensor)| {
            let shape = weight.dims().to_vec();
            let mut numbers: Vec<f32> = weight.flatten_all().expect("flat").to_vec1().expect("f32");
            for group in numbers.chunks_mut(group) {
                let mut sizes: Vec<f32> = group.iter().map(|number| number.abs()).collect();
                sizes.sort_by(|a, b| b.total_cmp(a));
                let least = sizes[kept - 1];
                for number in group.iter_mut().filter(|number| number.abs() < least) {
                    *number = 0.0;
                }
            }
            (
                name,
                Tensor::from_vec(numbers, shape, &Device::Cpu).expect("as many"),
            )
        };
        random().into_iter().map(zeroed).collect::<BTreeMap<_, _>>()
    };
    for (kept, group) in [(2, 4), (1, 4), (4, 8)] {
        for dtype in [GgmlDType::F16, GgmlDType::Q8_0] {
            let found = bench.examined(&through(&pruned(kept, group), &[dtype]));
            let expected = ZeroPattern {
                kept: kept as u32,
                group: group as u32,
                matrices: 3,
            };
            assert_eq!(found.zero_pattern, Some(expected), "{dtype:?}");
            assert_eq!(found.requantised, [], "{dtype:?}");
            if let Some(share) = found.zero_share {
                let expected = 1.0 - kept as f64 / group as f64;
                assert!((share - expected).abs() < 0.001, "{share}");
            }
        }
    }
    // Half of all, wherever they stand, is no pattern.
    let mut weights = random();
    for weight in weights.values_mut() {
        let large = weight
            .abs()
            .and_then(|sizes| sizes.gt(0.013))
            .expect("compared");
        let large = large.to_dtype(candle_core::DType::F32).expect("numbers");
        *weight = weight.mul(&large).expect("the same shape");
    }
    let found = bench.examined(&through(&weights, &[GgmlDType::F16]));
    assert_eq!(found.zero_pattern, None);
    assert!(
        found
            .zero_share
            .is_some_and(|share| (0.3..0.7).contains(&share))
    );
    assert_eq!(found.requantised, []);
}

#[test]
fn what_is_broken_or_stands_there_twice_is_named() {
    let bench = Bench::new();
    let shape = Fixture {
        layers: 3,
        ..Fixture::tiny()
    };
    let mut tensors = shape.tensors();
    let plain = |tensor: &QTensor| tensor.dequantize(&Device::Cpu).expect("plain");
    let again = |tensor: &QTensor| QTensor::quantize(&plain(tensor), tensor.dtype()).expect("same");
    let second: Vec<(String, QTensor)> = tensors
        .iter()
        .filter(|(name, _)| name.starts_with("blk.0."))
        .map(|(name, tensor)| (name.replace("blk.0.", "blk.2."), again(tensor)))
        .collect();
    tensors.extend(second);
    let of = |weight: Tensor| QTensor::quantize(&weight, GgmlDType::F16).expect("F16");
    let zeros = plain(&tensors["blk.1.ffn_up.weight"]).zeros_like();
    tensors.insert("blk.1.ffn_up.weight".to_owned(), of(zeros.expect("zeros")));
    let mut numbers = vec![0.5_f32; 32 * 32];
    numbers[1_000] = f32::NAN;
    let broken = Tensor::from_vec(numbers, (32, 32), &Device::Cpu).expect("a matrix");
    tensors.insert("blk.1.attn_q.weight".to_owned(), of(broken));
    let found = bench.examined(&tensors);
    assert_eq!(found.same_layers, [[0, 2]]);
    assert!(found.same_tensors.is_empty(), "{:?}", found.same_tensors);
    assert_eq!(found.zero_tensors, ["blk.1.ffn_up.weight"]);
    assert_eq!(found.not_finite, ["blk.1.attn_q.weight"]);
}

#[test]
fn a_file_is_held_against_what_it_says() {
    let mut bench = Bench::new();
    let number = |number| Value::U32(number);
    bench
        .metadata
        .insert("general.file_type".to_owned(), number(1));
    bench.metadata.insert(
        "general.name".to_owned(),
        Value::String("A Model Q8_0".to_owned()),
    );
    let found = bench.examined(&through(&random(), &[GgmlDType::Q8_0]));
    assert_eq!(found.mix, "Q8_0");
    let claims: Vec<_> = found
        .claims
        .iter()
        .map(|claim| (claim.place, claim.says, claim.agreement))
        .collect();
    assert_eq!(
        claims,
        [
            ("general.name", "Q8_0", Agreement::Same),
            ("general.file_type", "F16", Agreement::Other),
        ]
    );
    assert!((found.tensor_bits_per_weight - 8.5).abs() < 1e-9);
    assert!(found.file_bits_per_weight > 8.5);
    assert_eq!(found.context_tokens, Some(8_192));
    assert!(!found.has_chat_template && found.experts.is_none() && found.files == 1);
}

/// Opens and examines what may be damaged; what matters is that each ends, in facts or in an error of one line.
fn survives(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("damaged.gguf");
    fs::write(&path, bytes).expect("written");
    for error in [
        super::super::inspect(&path).map(|_| ()).err(),
        examine(&path).map(|_| ()).err(),
        Gguf::open(&path).map(|_| ()).err().map(VariantError::File),
    ] {
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.len() < 2_000 && !text.contains('\n'), "{text}");
    }
}

fn whole() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("whole.gguf");
    Fixture::tiny().write(&path);
    fs::read(&path).expect("read")
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let bytes = whole();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cut.gguf");
    // The last tensor's padding may be missing, nothing else.
    for length in (0..bytes.len() - 32).step_by(101) {
        fs::write(&path, &bytes[..length]).expect("written");
        let error = examine(&path).expect_err("cut").to_string();
        assert!(error.contains("cut.gguf"), "{error}");
        assert!(super::super::inspect(&path).is_err());
        assert!(Gguf::open(&path).is_err());
    }
}

#[test]
fn tensors_that_share_bytes_are_refused() {
    let mut bytes = whole();
    let name = b"blk.0.ffn_up.weight";
    let at = bytes
        .windows(name.len())
        .position(|window| window == name)
        .expect("a tensor");
    // After the name: the number of dimensions, two of them, the type, the offset.
    let offset = at + name.len() + 4 + 16 + 4;
    let before = u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"));
    bytes[offset..offset + 8].copy_from_slice(&(before - 32).to_le_bytes());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("over.gguf");
    fs::write(&path, &bytes).expect("written");
    let error = examine(&path).expect_err("overlapping").to_string();
    assert!(error.contains("lies over the tensor"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
    #[test]
    fn damaged_bytes_end_in_facts_or_an_error(
        flips in proptest::collection::vec((0.0..1.0_f64, proptest::num::u8::ANY), 1..6),
        in_header in proptest::bool::ANY,
    ) {
        let mut bytes = whole();
        // Half of the cases in the counts, lengths and keys at the beginning.
        let span = if in_header { 2_000 } else { bytes.len() };
        for (place, value) in flips {
            bytes[(place * span as f64) as usize] = value;
        }
        survives(&bytes);
    }

    #[test]
    fn a_header_of_absurd_numbers_ends_in_an_error(
        place in 8..2_000_usize,
        number in proptest::sample::select(vec![u64::MAX, u64::MAX / 2, 1 << 40, 1 << 32, 0]),
    ) {
        let mut bytes = whole();
        bytes[place..place + 8].copy_from_slice(&number.to_le_bytes());
        survives(&bytes);
    }
}
