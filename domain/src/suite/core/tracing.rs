//! The family `tracing`: what does this program print?
//!
//! Programs are trees of a small part of Python: they are written out for the model and run here, so
//! nothing generated is ever run by Python itself. Higher levels have more turns of a loop, nested
//! loops, lists that change, functions and recursion. Every program ends and prints one line.

use rand_core::Rng;

use super::words::answer_tokens;
use super::{Check, Drawn};

mod programs;
mod python;

pub(super) fn draw(rng: &mut impl Rng, level: u8) -> Drawn {
    let program = programs::draw(rng, level);
    let output = python::run(&program);
    Drawn {
        prompt: format!(
            "What does this Python program print?\n\n```python\n{}```\n\n\
             End with one line that starts with \"Answer:\" followed by exactly what it prints.",
            python::write(&program)
        ),
        answer: format!("Answer: {output}"),
        max_answer_tokens: answer_tokens(level),
        check: Check::Lines(vec![output]),
    }
}

#[cfg(test)]
mod tests;
