//! The published rule, case by case, and texts that want to break it.

use proptest::prelude::*;
use serde_json::json;

use super::super::super::Verdict::{self, Right, Unextractable, Wrong};
use super::super::constraints::Constraint;
use super::*;

fn number(hundredths: i64, text: &str) -> Verdict {
    score(&Check::Number { hundredths }, text)
}

fn text(expected: &str, given: &str) -> Verdict {
    score(&Check::Text(expected.to_owned()), given)
}

fn list(expected: &[&str], given: &str) -> Verdict {
    score(&Check::List(owned(expected)), given)
}

fn lines(expected: &[&str], given: &str) -> Verdict {
    score(&Check::Lines(owned(expected)), given)
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn all_checks() -> Vec<Check> {
    vec![
        Check::Number { hundredths: 4_200 },
        Check::Text("the red box".to_owned()),
        Check::List(owned(&["Ada", "Bob", "Cy"])),
        Check::Lines(owned(&["a b", "c"])),
        Check::Json(json!({"a": [1, null], "b": "x"})),
        Check::Constraints(vec![Constraint::Words(3)]),
    ]
}

#[test]
fn the_answer_line_is_found_in_every_dress() {
    for given in [
        "Answer: 42",
        "answer: 42",
        "ANSWER : 42",
        "**Answer:** 42",
        "**Answer**: 42",
        "**Answer: 42**",
        "Answer: **42**",
        "### Answer: 42",
        "- Answer: 42.",
        "> *Answer:* `42`",
        "Answer:\n42",
        "Answer:\n\n**42**\n",
        "Answer:\n```\n42\n```",
        "Answer:\n$$\n\\boxed{42}\n$$",
        "Answer: \\boxed{42}",
        "Answer: $\\boxed{\\text{42}}$",
        "Answer: \\(42\\)",
        "Answer: 6 * 7 = 42",
        "I think 41.\r\nAnswer: 42\r\nThat was easy: 1, 2, 3.",
        "Answer: 41\nNo, wait.\nAnswer: 42",
        "<think>Answer: 41</think>\nAnswer: 42",
        "Answer: 41</think>Answer: 42",
        "Answer: 42\n<think>Answer: 41",
    ] {
        assert_eq!(number(4_200, given), Right, "{given}");
    }
}

#[test]
fn without_an_answer_nothing_is_extracted() {
    for given in [
        "",
        "42",
        "The answer is 42",
        "Answer 42",
        "Answer:",
        "Answer:\n\n",
        "Answers: 42",
        "<think>Answer: 42",
        "Answer: 42</think>",
    ] {
        assert_eq!(number(4_200, given), Unextractable, "{given}");
    }
}

#[test]
fn a_number_is_read_however_it_is_written() {
    for (hundredths, given) in [
        (123_450, "$1,234.50"),
        (123_450, "1234.5"),
        (123_450, "USD 1\u{202f}234.50"),
        (123_450, "1{,}234.50 \\text{ dollars}"),
        (123_450, "\\$1\\,234.500"),
        (123_456_700, "1 234 567"),
        (-300, "-3"),
        (-300, "\u{2212}3 degrees"),
        (-300, "-$3"),
        (-300, "$-3.00"),
        (1_200, "12 %"),
        (1_200, "12%."),
        (1_200, "12kg"),
        (1_200, "12 m2 (12.0 m^2)"),
        (50, ".5"),
        (700, "007"),
        (0, "0"),
    ] {
        assert_eq!(
            number(hundredths, &format!("Answer: {given}")),
            Right,
            "{given}"
        );
    }
}

#[test]
fn another_number_is_wrong() {
    for given in [
        "42 or 43",
        "43",
        "-42",
        "4.2",
        "42.001",
        "42e0",
        "1e999999",
        "42.0.0",
        "4,2",
        "42,00",
        "42/2",
        "1042",
        "forty-two",
        "x42",
        "10-42",
        "42 1",
    ] {
        assert_eq!(number(4_200, &format!("Answer: {given}")), Wrong, "{given}");
    }
}

#[test]
fn a_text_is_equal_but_for_its_dress() {
    for given in [
        "the red box",
        "The Red Box.",
        "red box",
        "\"the red  box\"",
        "**red box**!",
        "`The red box`.",
        "\u{201c}Red box.\u{201d}",
        "\\boxed{\\text{red box}}",
    ] {
        assert_eq!(
            text("the red box", &format!("Answer: {given}")),
            Right,
            "{given}"
        );
    }
    for given in [
        "red",
        "the blue box",
        "the red box or the blue box",
        "a box that is red",
        "box red",
    ] {
        assert_eq!(
            text("the red box", &format!("Answer: {given}")),
            Wrong,
            "{given}"
        );
    }
    assert_eq!(text("Ada", "Answer: a Ada"), Right);
    assert_eq!(text("a b", "Answer: b"), Wrong);
    assert_eq!(text("***", "Answer: ***"), Right);
    assert_eq!(text("***", "Answer: ..."), Wrong);
}

#[test]
fn a_list_may_be_separated_in_many_ways() {
    let names = ["Ada", "Bob", "Cy"];
    for given in [
        "Ada, Bob, Cy",
        "ada,bob,cy",
        "Ada, Bob and Cy",
        "Ada, Bob, and Cy.",
        "[Ada, Bob, Cy]",
        "Ada > Bob > Cy",
        "Ada -> Bob -> Cy",
        "Ada \u{2192} Bob \u{2192} Cy",
        "Ada; Bob; Cy",
        "**Ada**, **Bob**, **Cy**",
        "\n1. Ada\n2. Bob\n3. Cy\n\nThat is it.",
        "\n- Ada\n- Bob\n- Cy",
        "\n```\nAda\nBob\nCy\n```",
    ] {
        assert_eq!(list(&names, &format!("Answer: {given}")), Right, "{given}");
    }
    for given in ["Ada, Cy, Bob", "Ada, Bob", "Ada, Bob, Cy, Di", "Ada Bob Cy"] {
        assert_eq!(list(&names, &format!("Answer: {given}")), Wrong, "{given}");
    }
    assert_eq!(list(&["3", "-1"], "Answer: 3, -1"), Right);
    assert_eq!(list(&names, "Ada, Bob, Cy"), Unextractable);
    assert_eq!(list(&names, "Answer: ,,,"), Unextractable);
}

#[test]
fn lines_are_those_of_the_last_block_or_after_the_answer() {
    let wanted = ["a b", "c"];
    for given in [
        "```\na b\nc\n```",
        "First:\n```\nx\n```\nthen\n```text\na b  \n  c\n\n```\nDone.",
        "Answer:\n```\na b\nc\n```",
        "Answer: ```\na b\nc\n```",
        "~~~~\na b\nc\n~~~~",
        "```\na b\nc",
        "Answer:\na b\nc\n",
        "Answer: a b\nc",
        "  ```\r\n  a b\r\n  c\r\n  ```",
    ] {
        assert_eq!(lines(&wanted, given), Right, "{given}");
    }
    for given in [
        "```\na b\n\nc\n```",
        "```\nA b\nc\n```",
        "```\na  b\nc\n```",
        "Answer: a b c",
        "```\nc\na b\n```",
    ] {
        assert_eq!(lines(&wanted, given), Wrong, "{given}");
    }
    for given in ["a b\nc", "```\n```", "", "Answer:"] {
        assert_eq!(lines(&wanted, given), Unextractable, "{given}");
    }
    assert_eq!(lines(&["a b"], "Answer: `a b`"), Right);
    assert_eq!(lines(&["a b"], "```a b```"), Right);
}

#[test]
fn json_is_compared_by_value() {
    let check = Check::Json(json!({"a": [1, null, 12.5], "b": "x y"}));
    for given in [
        "```json\n{\"b\": \"x y\", \"a\": [1.0, null, 12.50]}\n```",
        "Answer: {\"a\":[1,null,12.5],\"b\":\" x y \"} I hope.",
        "It said {x} and [\"no. {\"a\":[1,null,125e-1],\"b\":\"x\\u0020y\"}",
        "```\n{\"a\": 1}\n```\n```json\n{\"a\":[1,null,12.5],\"b\":\"x y\"}\n```\n```\nnot json\n```",
    ] {
        assert_eq!(score(&check, given), Right, "{given}");
    }
    for given in [
        "{\"a\":[1,null,12.5],\"b\":\"x y\",\"c\":1}",
        "{\"a\":[1,null,12.5]}",
        "{\"a\":[1,null,12.5],\"b\":\"x y\",\"b\":\"x y\"}",
        "{\"a\":[1,null],\"b\":\"x y\"}",
        "{\"a\":[\"1\",null,12.5],\"b\":\"x y\"}",
        "{\"a\":[1,null,12.5],\"b\":\"X y\"}",
        "[{\"a\":[1,null,12.5],\"b\":\"x y\"}]",
        "{}",
    ] {
        assert_eq!(score(&check, given), Wrong, "{given}");
    }
    for given in [
        "",
        "no",
        "```\n42\n```",
        "{'a': 1}",
        "{\"a\":1,}",
        "{\"a\": 1e999999}",
        "{\"a\":\"\\ud800\"}",
    ] {
        assert_eq!(score(&check, given), Unextractable, "{given}");
    }
}

#[test]
fn a_constrained_text_stands_after_the_answer_or_alone() {
    let check = Check::Constraints(vec![Constraint::Words(3)]);
    for given in [
        "one two three",
        "Here it comes, I hope.\nAnswer: one two three",
        "Answer:\n\n\"One two three.\"",
        "**Answer: one two three**",
        "Answer:\n```\none two three\n```",
    ] {
        assert_eq!(score(&check, given), Right, "{given}");
    }
    assert_eq!(score(&check, "one two"), Wrong);
    assert_eq!(score(&check, " \n"), Unextractable);
}

#[test]
fn hostile_texts_end_in_a_verdict() {
    let mib = 1 << 20;
    let number_of_digits = |digits: usize| "9".repeat(digits);
    let bombs = [
        "a".repeat(mib),
        "\0".repeat(mib),
        "\u{202e}\u{2066}rtl".repeat(mib / 9),
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        format!("{}{}", "[".repeat(16_000), "]".repeat(16_000)),
        "[\"".repeat(mib / 2),
        "[\\\"".repeat(mib / 3),
        "[\"\\\"".repeat(mib / 4),
        "[1,".repeat(mib / 3),
        "{\"a\":\"[\",".repeat(mib / 9),
        "{}".repeat(mib / 2),
        "```\n".repeat(mib / 4),
        "```".repeat(mib / 3),
        "```{}\n```\n".repeat(mib / 10),
        "Answer:".repeat(mib / 7),
        "Answer:\n".repeat(mib / 8),
        "answer: 1,".repeat(mib / 10),
        "*_*_".repeat(mib / 4),
        "<think>".repeat(mib / 7),
        "</think>".repeat(mib / 8),
        format!("Answer: {}", number_of_digits(1_000_000)),
        format!("Answer: {}", "1,234".repeat(16_000)),
        format!("Answer: {}", "1e999999 ".repeat(1_800)),
        format!("Answer: {}", "\\boxed{".repeat(2_000)),
        format!("Answer: {}", "$-".repeat(8_000)),
        format!("Answer: {}", " and ".repeat(3_000)),
        format!("{{\"a\": {}}}", number_of_digits(16_000)),
        "{\"a\": 1e999999}".to_owned(),
        "{\"a\": \"\\uZZZZ\"}".to_owned(),
        "\u{feff}\u{0}\u{ffff}".to_owned(),
        "\u{1f600}".repeat(mib / 4 + 1),
    ];
    for bomb in &bombs {
        for check in all_checks() {
            assert_ne!(
                score(&check, bomb),
                Right,
                "{}",
                &bomb[..bomb.floor_char_boundary(20)]
            );
        }
    }
}

#[test]
fn the_answer_after_a_megabyte_is_still_found() {
    let given = format!("{}\nAnswer: 42", "Answer: 41\n".repeat(100_000));
    assert_eq!(number(4_200, &given), Right);
    let check = Check::Json(json!({"a": 1}));
    assert_eq!(
        score(
            &check,
            &format!("{}{{\"a\": 1}}", "{\"a\": 2} ".repeat(100_000))
        ),
        Right
    );
}

/// How often the parser is started on a text, and how many bytes it reads in all.
fn parsing_work(text: &str) -> usize {
    let text = visible(text);
    let (mut work, mut at) = (0, 0);
    while let Some(opening) = text[at..].find(['{', '[']) {
        at += opening;
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Tree>();
        match values.next() {
            Some(Ok(_)) => {
                work += values.byte_offset();
                at += values.byte_offset();
            }
            Some(Err(error)) => {
                // One line, so that the column is the offset.
                work += error.column();
                at += 1;
            }
            None => at += 1,
        }
    }
    work
}

#[test]
fn no_json_bomb_is_read_more_often_than_the_nesting_allows() {
    for unit in [
        "[", "{\"a\":", "[\"", "[\\\"", "[\"\\\"", "[1,", "[{\"", "[\"[\",", "[]", "[[]", "[ \"]",
    ] {
        let bomb = unit.repeat(READ_BYTES / unit.len());
        let work = parsing_work(&bomb);
        assert!(work <= 256 * READ_BYTES, "{unit}: {work}");
    }
}

proptest! {
    #[test]
    fn any_text_ends_in_a_verdict(given in "\\PC{0,400}") {
        for check in all_checks() {
            let _ = score(&check, &given);
        }
    }

    #[test]
    fn pieces_of_answers_end_in_a_verdict(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "Answer:", "answer : ", "**", "```", "~~~", "\n", "{", "}", "[", "]", "\"", "\\", "\\boxed{", ",", " and ",
            "42", "-", ".", "$", "e9", "=", "a", "\u{2212}", "\u{202e}", "\0", "<think>", "</think>", ":", "null", "1,000",
        ]), 0..60),
    ) {
        let given = pieces.concat();
        for check in all_checks() {
            let _ = score(&check, &given);
        }
    }

    #[test]
    fn every_amount_is_read_back(hundredths in -1_000_000_000_i64..1_000_000_000) {
        let sign = if hundredths < 0 { "-" } else { "" };
        let (whole, cents) = (hundredths.abs() / 100, hundredths.abs() % 100);
        prop_assert_eq!(number(hundredths, &format!("Answer: {sign}${whole}.{cents:02}")), Right);
        prop_assert_eq!(number(hundredths + 1, &format!("Answer: {sign}{whole}.{cents:02}")), Wrong);
        let grouped = format!("{},{:03},{:03}", whole / 1_000_000 + 1, whole / 1_000 % 1_000, whole % 1_000);
        let value = 100 * (whole + 1_000_000);
        prop_assert_eq!(number(value, &format!("Answer: {grouped}")), Right);
    }

    #[test]
    fn an_answer_survives_any_text_before_it(before in "\\PC{0,200}") {
        prop_assert_eq!(number(4_200, &format!("{before}\nAnswer: 42")), Right);
    }
}
