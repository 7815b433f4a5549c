//! The laws that every family of the suite keeps to.

use std::collections::BTreeMap;

use super::super::{Item, ItemId, Suite, Verdict, item, score};
use super::*;

/// Items per level among which no answer may be common.
const GUESSED_ITEMS: u32 = 2_000;

/// The published item of that number.
pub(super) fn drawn(family: Family, level: u8, index: u32) -> Item {
    item(
        &Suite::CoreV1.public_seed(),
        ItemId {
            family,
            level,
            index,
        },
    )
}

/// Prompts are printable and at most `bytes` long, answers right, never common, and the same for
/// ever: `golden` is the hash of the first twenty of each level.
pub(super) fn assert_laws(family: Family, bytes: usize, golden: &str) {
    for level in 1..=LEVELS {
        let mut answers = BTreeMap::<String, u32>::new();
        for index in 0..GUESSED_ITEMS {
            let item = drawn(family, level, index);
            assert!(
                item.prompt.len() <= bytes,
                "{}: {} bytes",
                item.id,
                item.prompt.len()
            );
            let printable = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
            assert!(
                item.prompt.chars().all(printable),
                "{}: {}",
                item.id,
                item.prompt
            );
            assert_eq!(
                score(&item, &item.answer),
                Verdict::Right,
                "{}: {}",
                item.prompt,
                item.answer
            );
            assert!(
                item.answer.len() <= item.max_answer_tokens as usize * 2,
                "{}",
                item.answer
            );
            *answers.entry(item.answer).or_default() += 1;
        }
        let most = answers.values().max().copied().unwrap_or_default();
        assert!(
            most * 100 <= GUESSED_ITEMS,
            "{family} {level}: one answer {most} times"
        );
    }
    let changed = "items changed: that needs a new version of the suite";
    assert_eq!(laws::golden(family), golden, "{family}: {changed}");
}

#[test]
fn the_suite_is_the_published_one() {
    let digest = "b3ad416081adfeba6202540dbc30df829938df06a7f37a872cb81d6c4fd261c2";
    assert_eq!(hex::encode(Suite::CoreV1.digest()), digest);
}
