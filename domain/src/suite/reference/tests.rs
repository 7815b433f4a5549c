//! The laws of the suite: deterministic items, disjoint from training, scored exactly.

use std::collections::HashSet;

use proptest::prelude::*;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use sha2::{Digest as _, Sha256};

use super::super::{Verdict, item, score};
use super::*;

fn any_family() -> impl Strategy<Value = Family> {
    prop::sample::select(Family::REFERENCE.to_vec())
}

fn public(family: Family, level: u8, index: u32) -> Item {
    item(
        &Suite::ReferenceV1.public_seed(),
        ItemId {
            family,
            level,
            index,
        },
    )
}

proptest! {
    #[test]
    fn evaluation_and_training_never_share_a_prompt(
        seed: [u8; 32], family in any_family(), level in 1..=LEVELS, index: u32,
    ) {
        let asked = item(&seed, ItemId { family, level, index });
        let trained = training_item(&mut ChaCha8Rng::from_seed(seed), family, level);
        prop_assert!(is_evaluation_prompt(&asked.prompt));
        prop_assert!(!is_evaluation_prompt(&trained.prompt));
    }

    #[test]
    fn an_item_is_short_printable_and_answers_itself(
        seed: [u8; 32], family in any_family(), level: u8, index: u32,
    ) {
        let drawn = item(&seed, ItemId { family, level, index });
        prop_assert!(drawn.prompt.len() + drawn.answer.len() <= MAX_ITEM_BYTES);
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        prop_assert!(printable(&drawn.prompt) && printable(&drawn.answer));
        prop_assert!(drawn.answer.len() >= 2);
        prop_assert_eq!(score(&drawn, &drawn.answer), Verdict::Right);
        let longer = format!("{} ", drawn.answer);
        prop_assert_eq!(score(&drawn, &longer), Verdict::Wrong);
        prop_assert_eq!(item(&seed, drawn.id), drawn);
    }

    #[test]
    fn sums_are_right(seed: [u8; 32], level in 1..=LEVELS) {
        let drawn = item(&seed, ItemId { family: Family::Addition, level, index: 0 });
        let question = drawn.prompt.trim_start_matches('+').trim_end_matches('=');
        let (left, right) = question.split_once('+').expect("two summands");
        let number = |text: &str| text.parse::<u32>().expect("digits");
        let answer: String = drawn.answer.chars().rev().collect();
        prop_assert_eq!(number(left) + number(right), number(&answer));
    }

    #[test]
    fn closed_brackets_balance(seed: [u8; 32], level in 1..=LEVELS) {
        let drawn = item(&seed, ItemId { family: Family::Brackets, level, index: 0 });
        let question = drawn.prompt.trim_start_matches('!').trim_end_matches('=');
        let all = [question, &drawn.answer].concat();
        let mut stack = Vec::new();
        for bracket in all.chars() {
            match bracket {
                '(' => stack.push(')'),
                '[' => stack.push(']'),
                '{' => stack.push('}'),
                '<' => stack.push('>'),
                closing => prop_assert_eq!(stack.pop(), Some(closing)),
            }
        }
        prop_assert!(stack.is_empty());
    }

    #[test]
    fn hostile_answers_are_wrong(answer in "\\PC*", index: u32, family in any_family()) {
        let drawn = public(family, 1, index);
        prop_assert_eq!(score(&drawn, &answer) == Verdict::Right, answer == drawn.answer);
    }
}

#[test]
fn huge_and_control_text_is_wrong_but_harmless() {
    let drawn = public(Family::Copy, 2, 0);
    for answer in [
        "x".repeat(1 << 20),
        "\0".to_owned(),
        "\u{202e}abc".to_owned(),
        format!("{}\0", drawn.answer),
    ] {
        assert_eq!(score(&drawn, &answer), Verdict::Wrong);
    }
}

#[test]
fn the_plan_is_balanced_over_families_and_levels() {
    let planned = Suite::ReferenceV1.plan(2_100);
    for family in Family::REFERENCE {
        for level in 1..=LEVELS {
            let count = planned
                .iter()
                .filter(|id| id.family == family && id.level == level)
                .count();
            assert_eq!(count, 100, "{family}/{level}");
        }
    }
    assert_eq!(planned.iter().collect::<HashSet<_>>().len(), planned.len());
    assert_eq!(Suite::ReferenceV1.plan(9), planned[..9]);
}

#[test]
fn a_run_of_2100_items_hardly_repeats_a_prompt() {
    let prompts: HashSet<String> = Suite::ReferenceV1
        .plan(2_100)
        .into_iter()
        .map(|id| item(&Suite::ReferenceV1.public_seed(), id).prompt)
        .collect();
    assert!(
        prompts.len() >= 2_000,
        "only {} different prompts",
        prompts.len()
    );
}

#[test]
fn the_commonest_answer_is_right_at_most_once_in_fifty_times() {
    let mut rng = ChaCha8Rng::from_seed(Suite::ReferenceV1.public_seed());
    for family in Family::REFERENCE {
        for level in 1..=LEVELS {
            let mut counts = std::collections::HashMap::new();
            for _ in 0..4_000 {
                *counts
                    .entry(training_item(&mut rng, family, level).answer)
                    .or_insert(0_u32) += 1;
            }
            let commonest = counts.values().max().copied().unwrap_or_default();
            assert!(commonest <= 115, "{family}/{level}: {commonest} of 4000");
        }
    }
}

#[test]
fn each_family_has_its_own_marker_and_a_name_that_reads_back() {
    let markers: HashSet<u8> = Family::REFERENCE
        .iter()
        .map(|&family| public(family, 1, 0).prompt.as_bytes()[0])
        .collect();
    assert_eq!(markers.len(), Family::REFERENCE.len());
    for family in Family::REFERENCE {
        assert_eq!(Family::from_name(family.name()), Some(family));
    }
    assert_eq!(Family::from_name("Addition"), None);
}

#[test]
fn every_description_shows_a_true_example() {
    let solved = [
        ("+047+985=", "2301"),
        ("\"qzab=", "qzab"),
        ("~qzab=", "bazq"),
        ("&qzab=", "abqz"),
        ("?KmpTazWre=T", "az"),
        ("%47+35:60=", "22"),
        ("!([]{(<=", ">)})"),
    ];
    for (family, (prompt, answer)) in Family::REFERENCE.into_iter().zip(solved) {
        assert!(
            family
                .describe()
                .contains(&format!("{prompt} gives {answer}.")),
            "{}",
            family.describe()
        );
    }
}

#[test]
fn the_public_seed_is_the_hash_of_its_phrase() {
    let seed: [u8; 32] = Sha256::digest(b"joulemark reference-v1 public seed").into();
    assert_eq!(seed, Suite::ReferenceV1.public_seed());
}

#[test]
fn the_generators_are_the_published_ones() {
    assert_eq!(
        hex::encode(Suite::ReferenceV1.digest()),
        "378e82720243d18ef0aa9d76d81bdea15f984d72cae220d49c9798ca00676c74"
    );
}
