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
        Check::List(owned(&["Ada", "5220"])),
        Check::Lines(owned(&["a b"])),
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
fn the_line_of_the_answer_beats_the_blocks_around_it() {
    for given in [
        "```python\nprint(41)\n```\nAnswer: [4, 2]",
        "It runs like this:\n```\nx = 4\n```\n**Answer:** `[4, 2]`",
        "Answer: **[4, 2]**\nThat is the list after the last turn.",
        "Answer: [4, 2]\n\n```\nprint(x)\n```",
        "Answer:\n```\n[4, 2]\n```\nIt prints a list.",
        "Answer: ```[4, 2]```",
        "Answer:\n```[4, 2]```",
        "```\nx = 1\n```\nIt prints:\n```\n[4, 2]\n```",
    ] {
        assert_eq!(lines(&["[4, 2]"], given), Right, "{given}");
    }
    for given in [
        "```\n[4, 2]\n```\nAnswer: [4, 3]",
        "Answer: [4, 2] or [4, 3]",
        "Answer: [4,2]",
        "```\n[4, 2]\n[4, 3]\n```",
    ] {
        assert_eq!(lines(&["[4, 2]"], given), Wrong, "{given}");
    }
    assert_eq!(lines(&["**"], "Answer: **"), Unextractable);
    assert_eq!(lines(&["_x_"], "Answer: _x_"), Right);
    assert_eq!(
        lines(&["a b", "c"], "```\na b\nc\n```\nAnswer: done"),
        Right
    );
}

#[test]
fn a_number_of_a_list_is_compared_as_a_number() {
    let wanted = ["Mei", "5220"];
    for given in [
        "Mei, 5220",
        "Mei, 5,220",
        "Mei, 5220.00",
        "Mei, $5,220.00.",
        "Mei, 5220 km",
        "Mei, 5,220 km",
        "Mei, 5220 (km)",
        "Mei (5220)",
        "Mei ($5,220)",
        "**Mei (5,220 km)**",
        "(Mei, 5220)",
        "Mei and 5\u{202f}220",
        "Mei,5,220",
        "Mei, 5{,}220",
        "\n- Mei\n- 5,220",
    ] {
        assert_eq!(list(&wanted, &format!("Answer: {given}")), Right, "{given}");
    }
    for given in [
        "Mei, 5221",
        "Mei, 5,221",
        "Mei, 5220.5",
        "Mei, 5, 220",
        "Mei, 5,2200",
        "Mei, 52,20",
        "Mei, -5220",
        "Mei, 5220 or 5221",
        "Mei, 5,220, 3",
        "Mei, 3, 5,220",
        "Mei (5220), 5221",
        "Mei (5220, 5221)",
        "Mei (3), 5220",
        "Ada, Mei, 5220",
        "Mei, five",
        "Mei",
        "5220, Mei",
    ] {
        assert_eq!(list(&wanted, &format!("Answer: {given}")), Wrong, "{given}");
    }
    // A comma between digits may separate two entries as well.
    assert_eq!(list(&["12", "220"], "Answer: 12,220"), Right);
    assert_eq!(list(&["12220"], "Answer: 12,220"), Right);
    assert_eq!(
        list(
            &["Sunday", "2027-03-14"],
            "Answer: Sunday, 2027\u{2011}03\u{2011}14"
        ),
        Right
    );
}

#[test]
fn a_list_may_stand_in_every_ordinary_form() {
    let names = ["Ada", "the bob", "Cy"];
    for given in [
        "the Ada, bob, the Cy",
        "Ada, then the bob, then Cy",
        "Ada, the bob, and then Cy",
        "Ada then bob then Cy",
        "1. Ada\n2. Bob\n3. Cy",
        "1) Ada\n\n2) Bob\n\n3) Cy\nThat is it.",
        "- Ada\n- Bob\n- Cy",
        "\n- Ada\n\n- Bob\n\n- Cy\n\nBecause:\n\n- x",
        "\n1. Ada\n1. Bob\n1. Cy",
        "\n\n1. Ada\n\n2. Bob\n\n3. Cy\n\n1. Ada is first, as we saw.",
        "1. Ada, 2. Bob, 3. Cy\n2. is a number",
        "Ada, Bob, Cy (from first to last)",
        "**Ada, Bob, Cy** (from front to back).",
        "Ada, Bob, Cy (in that order)",
        "\nAda\nBob\nCy",
    ] {
        assert_eq!(list(&names, &format!("Answer: {given}")), Right, "{given}");
    }
    for given in [
        "1. Ada\n2. Bob\n3. Cy\n4. Di",
        "- Ada\n- Bob\n\n- Cy\n\n- Di",
        "1. Ada\n2. Bob",
        "\n1. Bob\n2. Ada\n3. Cy",
        "Ada, Bob, Cy (or Di)",
        "Ada, Bob (from first to last)",
        "Ada, then Cy, then Bob",
        "Ada, Bob then Cy, Di",
    ] {
        assert_eq!(list(&names, &format!("Answer: {given}")), Wrong, "{given}");
    }
}

#[test]
fn every_hyphen_and_minus_sign_is_a_plain_one() {
    for mark in ['-', '\u{2010}', '\u{2011}', '\u{2212}', '\u{2013}'] {
        assert_eq!(number(-300, &format!("Answer: {mark}3")), Right);
        assert_eq!(text("AB-12", &format!("Answer: AB{mark}12")), Right);
        assert_eq!(
            list(&["a-b", "-1"], &format!("Answer: a{mark}b, {mark}1")),
            Right
        );
        assert_eq!(lines(&["[-3, 4]"], &format!("Answer: [{mark}3, 4]")), Right);
        assert_eq!(
            lines(&["a-b", "c"], &format!("```\na{mark}b\nc\n```")),
            Right
        );
        let check = Check::Json(json!({"a": ["x-y"]}));
        assert_eq!(score(&check, &format!("{{\"a\": [\"x{mark}y\"]}}")), Right);
        assert_eq!(lines(&["[3, 4]"], &format!("Answer: [{mark}3, 4]")), Wrong);
    }
}

#[test]
fn the_last_block_is_found_from_the_end() {
    let wanted = ["a b", "c"];
    for given in [
        "x\n```\nthen\n```\na b\nc\n```\nDone.",
        "x\n```\nthen\n```text\na b\nc\n```",
        "x\n```\n~~~\ny\n~~~\nthen\n```\na b\nc\n```",
        "```\nx\n```\nthen\n```text\na b\nc",
        "```\nx\n```\nAnswer: ```\na b\nc",
        "```\na b\nc\n```\n```\n```",
        "```\na b\nc\n```\n\n```",
    ] {
        assert_eq!(lines(&wanted, given), Right, "{given}");
    }
    let check = Check::Json(json!({"a": 1}));
    let given = "{\"a\": 0}\n```\nthen\n```json\n{\"a\": 1}\n```\nnot {\"a\": 2}";
    assert_eq!(score(&check, given), Right);
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
        "~~~\n```\n".repeat(mib / 8),
        "```a\n```\n\n".repeat(mib / 10),
        format!("Answer: {}", "1,234(".repeat(2_000)),
        format!("Answer: {}", "( ".repeat(8_000)),
        format!("Answer:\n{}", "1. \n- \n".repeat(2_000)),
        format!("Answer:\n{}", "1. a then and \n".repeat(1_000)),
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
    fn a_cut_that_keeps_the_last_block_keeps_the_answer(
        earlier in prop::collection::vec(("[a-z]{0,6}", "[a-z \n]{0,60}", "[a-z ,.\n]{0,40}"), 0..8),
        language in prop::sample::select(vec!["", "text"]),
        after in "[a-z ,.\n]{0,20}",
        share in 0.0..=1.0_f64,
    ) {
        let reply: Vec<String> = earlier
            .iter()
            .map(|(language, block, prose)| format!("```{language}\n{block}\n```\n{prose}\n"))
            .collect();
        let reply = reply.concat();
        let most = reply.len();
        let cut = (share * most as f64) as usize;
        for (check, block) in [
            (Check::Lines(owned(&["the red box", "a b"])), "the red box\na b"),
            (Check::Json(json!({"a": [1, 2]})), "{\"a\": [1, 2]}"),
        ] {
            let whole = format!("{reply}```{language}\n{block}\n```\n{after}");
            prop_assert_eq!(score(&check, &whole), Right, "{}", &whole);
            prop_assert_eq!(score(&check, &whole[cut..]), Right, "{}", &whole[cut..]);
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
