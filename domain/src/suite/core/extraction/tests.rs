//! Letters say what is asked for, and only the right object is right.

use serde_json::Value;

use super::super::super::{Verdict, score};
use super::super::tests::{assert_laws, drawn};
use super::*;
use crate::suite::Family;

#[test]
fn items_keep_the_laws_of_the_suite() {
    assert_laws(
        Family::Extraction,
        6_000,
        "340d6f96add9cbbf288fa397b3a510f978700f81a49f731248e99c09b6c350f3",
    );
}

fn leaves<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| leaves(value, into)),
        Value::Object(map) => map.values().for_each(|value| leaves(value, into)),
        leaf => into.push(leaf),
    }
}

fn answer_of(text: &str) -> Value {
    let json = text
        .trim_start_matches("```json\n")
        .trim_end_matches("\n```");
    serde_json::from_str(json).expect("the answer is JSON")
}

#[test]
fn every_name_and_number_stands_in_the_letter() {
    for level in 1..=5 {
        for index in 0..100 {
            let item = drawn(Family::Extraction, level, index);
            assert!(item.answer.len() <= 1_500, "{}", item.answer.len());
            let answer = answer_of(&item.answer);
            let mut found = Vec::new();
            leaves(&answer, &mut found);
            let letter = item.prompt.split("---").nth(1).expect("the letter");
            for leaf in found {
                let text = match leaf {
                    Value::String(text) => text.clone(),
                    Value::Number(number) if number.is_f64() => {
                        format!("${:.2}", number.as_f64().unwrap())
                    }
                    Value::Number(number) if number.as_u64() > Some(8) => number.to_string(),
                    _ => continue,
                };
                let is_date = text.len() == 10 && text.split('-').count() == 3;
                assert!(is_date || letter.contains(&text), "{text} in {letter}");
            }
        }
    }
}

#[test]
fn any_changed_value_is_wrong() {
    for level in 1..=5 {
        let item = drawn(Family::Extraction, level, 0);
        let answer = answer_of(&item.answer);
        let keys: Vec<String> = answer.as_object().unwrap().keys().cloned().collect();
        for key in keys {
            let mut changed = answer.clone();
            changed[&key] = Value::from("something else");
            assert_eq!(score(&item, &changed.to_string()), Verdict::Wrong);
            changed.as_object_mut().unwrap().remove(&key);
            assert_eq!(score(&item, &changed.to_string()), Verdict::Wrong);
        }
        assert_eq!(score(&item, &answer.to_string()), Verdict::Right);
    }
}

#[test]
fn a_later_day_stays_in_its_month() {
    let day = Date {
        year: 2024,
        month: 2,
        day: 20,
    };
    assert_eq!(day.later(7).iso(), "2024-02-27");
}
