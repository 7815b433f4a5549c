//! The programs print what Python prints.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use super::super::laws;
use super::*;

proptest! {
    #[test]
    fn a_question_is_well_formed(seed: [u8; 32], level in 1_u8..=5) {
        laws::a_question_is_well_formed(draw, seed, level);
    }

    #[test]
    fn a_program_prints_one_short_line(seed: [u8; 32], level in 1_u8..=5) {
        let question = laws::drawn(draw, seed, level);
        prop_assert!(question.answer.len() <= 120, "{}", question.answer);
        prop_assert!(!question.answer.contains('\n'));
    }
}

#[test]
fn python_prints_the_same() {
    const RUN: &str = "
import contextlib, io, json, sys
for program in json.load(sys.stdin):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    print(json.dumps(printed.getvalue()))
";
    let mut rng = ChaCha8Rng::from_seed([3; 32]);
    let mut programs = Vec::new();
    let mut expected = Vec::new();
    for level in 1..=5 {
        for _ in 0..100 {
            let question = draw(&mut rng, level);
            let (_, program) = question
                .prompt
                .split_once("```python\n")
                .expect("a program");
            let (program, _) = program.split_once("```").expect("its end");
            programs.push(program.to_owned());
            let Check::Lines(lines) = question.check else {
                panic!("lines")
            };
            expected.push(format!("{}\n", lines.join("\n")));
        }
    }
    let started = Command::new("python3")
        .args(["-I", "-c", RUN])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut python = match started {
        Ok(python) => python,
        Err(error) => {
            println!("SKIPPED: python3 cannot be started: {error}");
            return;
        }
    };
    let text = serde_json::to_vec(&programs).expect("texts are JSON");
    let mut input = python.stdin.take().expect("piped");
    input.write_all(&text).expect("Python reads all of it");
    drop(input);
    let output = python.wait_with_output().expect("Python ends");
    assert!(output.status.success());
    let printed: Vec<String> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON text"))
        .collect();
    assert_eq!(printed.len(), expected.len());
    for ((program, printed), expected) in programs.iter().zip(&printed).zip(&expected) {
        assert_eq!(printed, expected, "{program}");
    }
}

#[test]
fn a_blind_guess_is_right_once_in_a_hundred() {
    laws::a_blind_guess_is_right_once_in_a_hundred(draw);
}

#[test]
fn the_published_items_do_not_change() {
    assert_eq!(
        laws::golden(super::super::Family::Tracing),
        "9dd0d1adf4e9822dcad77f2e113385ab43ab3290d968faf4da6308bc0607ee7a"
    );
}
