//! Sources that are cut or changed end in an error, or in a variant; never in a panic.

use super::*;

fn recipes() -> impl Iterator<Item = (Quantisation, PruneRecipe)> {
    [
        (Quantisation::Q4_0, "none"),
        (Quantisation::Mix(Mix::Q4KM), "layers-1"),
        (Quantisation::F16, "layers-by-importance-1"),
        (Quantisation::Q8_0, "heads-50%"),
        (Quantisation::Q5_0, "nm-2:4"),
        (Quantisation::Mix(Mix::Q3KL), "experts-1"),
    ]
    .into_iter()
    .map(|(quant, recipe)| (quant, recipe.parse().expect("a recipe")))
}

fn source() -> Fixture {
    Fixture {
        layers: 3,
        ..Fixture::tiny()
    }
}

#[test]
fn a_source_that_is_cut_anywhere_is_refused_by_name() {
    let workshop = Workshop::of(&source());
    let whole = fs::read(&workshop.source).expect("read");
    for sixteenths in 0..16 {
        fs::write(&workshop.source, &whole[..whole.len() * sixteenths / 16]).expect("written");
        for (quant, recipe) in recipes() {
            let error = workshop.make(quant, recipe).expect_err("refused");
            assert!(matches!(error, VariantError::File(_)), "{error}");
            assert!(error.to_string().contains("source.gguf"), "{error}");
        }
    }
}

#[test]
fn a_changed_header_byte_never_ends_the_program() {
    let workshop = Workshop::of(&source());
    let whole = fs::read(&workshop.source).expect("read");
    // Keys and numbers stand first, then the vocabulary, then the tensors' descriptions.
    let tensors = whole
        .windows(16)
        .position(|window| window == b"blk.0.attn_k.wei")
        .expect("a tensor's description");
    let places = (0..1_200)
        .step_by(11)
        .chain((tensors..tensors + 1_000).step_by(13));
    let mut refused = 0;
    for place in places {
        for value in [0, 0x7f, 0xff] {
            let mut changed = whole.clone();
            changed[place] = value;
            fs::write(&workshop.source, changed).expect("written");
            for (quant, recipe) in recipes().take(2) {
                if let Err(error) = workshop.make(quant, recipe) {
                    refused += 1;
                    assert!(error.to_string().contains("source.gguf"), "{error}");
                }
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn tensors_over_one_another_are_refused_before_they_are_read() {
    let workshop = Workshop::of(&source());
    let mut bytes = fs::read(&workshop.source).expect("read");
    // Every tensor's description ends with its offset; all of them are made the first's.
    let names = Gguf::open(&workshop.source).expect("opens");
    let names: Vec<String> = names.tensors().into_keys().map(str::to_owned).collect();
    for name in names {
        let at = bytes
            .windows(name.len())
            .position(|window| window == name.as_bytes())
            .expect("its name stands in the header")
            + name.len();
        let rank = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        let offset = at + 4 + 8 * rank + 4;
        bytes[offset..offset + 8].fill(0);
    }
    // As long as the largest tensor needs.
    let length = bytes.len() - 40_000;
    bytes.truncate(length);
    fs::write(&workshop.source, bytes).expect("written");
    let error = workshop
        .make(Quantisation::Q4_0, PruneRecipe::None)
        .expect_err("refused")
        .to_string();
    assert!(error.contains("overlap"), "{error}");
}

#[test]
fn one_part_of_several_is_not_taken_for_the_whole() {
    let workshop = Workshop::of(&source());
    let mut metadata = source().metadata();
    metadata.insert("split.count".to_owned(), Value::U32(3));
    fixture::write(&workshop.source, &metadata, &source().tensors());
    let error = workshop
        .make(Quantisation::Q8_0, PruneRecipe::None)
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("split.count") && error.contains("join"),
        "{error}"
    );
}
