//! The child's side: an engine that answers on its standard output what is asked on its input.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{self, BufRead, BufWriter, Read as _, Write};
use std::mem;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::protocol::{About, Answer, Ask, Hello, VERSION};
use crate::engine::{Capabilities, Engine, EngineError, GenerateRequest};

/// Longest message of a parent: a text for a prompt of the longest context.
const MAX_ASK_BYTES: u64 = 64 << 20;

/// Serves `engine` until the input ends, or nobody hears any more. Its answers have to be alone on
/// the output: whatever else is said goes to standard error.
pub fn serve_arm(
    engine: &mut dyn Engine,
    mut input: impl BufRead,
    mut output: impl Write,
) -> io::Result<()> {
    displace_memory()?;
    match serve(engine, &mut input, &mut output) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Lets what is allocated from here on, such as weights, begin at a random place of a page.
///
/// Where an allocator puts weights follows from everything allocated before, an argument's text
/// included, and moves their speed by percents (docs/gate-honesty.md). Drawn anew by each process it
/// is noise that both arms share, and no difference of them. (C. Curtsinger, E. D. Berger, *STABILIZER:
/// Statistically Sound Performance Evaluation*, ASPLOS 2013.) With an allocator that maps a block of
/// this size for itself nothing moves; glibc's does not until a greater one was freed.
fn displace_memory() -> io::Result<()> {
    /// Greater than what was freed before and could be used again, smaller than what glibc maps for itself.
    const LEAST_BYTES: usize = 64 << 10;
    /// What allocators align to.
    const STEP_BYTES: usize = 16;
    let mut steps = [0_u8];
    getrandom::fill(&mut steps)?;
    let displacing = Vec::<u8>::with_capacity(LEAST_BYTES + STEP_BYTES * usize::from(steps[0]));
    // Never freed, never written.
    mem::forget(black_box(displacing));
    Ok(())
}

fn serve(
    engine: &mut dyn Engine,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> io::Result<()> {
    let hello = Hello {
        joulemark_arm: VERSION,
        about: about(engine),
    };
    say(output, &hello)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        input.take(MAX_ASK_BYTES).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let ask = serde_json::from_slice(&line)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let answer = answer(engine, ask, output)?;
        say(output, &answer)?;
    }
}

/// Does what was asked. An error only where nobody hears any more.
fn answer(engine: &mut dyn Engine, ask: Ask, output: &mut impl Write) -> io::Result<Answer> {
    let answer = match ask {
        Ask::Load { weights, needs } => engine
            .load(&weights, needs)
            .map(|()| Answer::Loaded(Box::new(about(engine)))),
        Ask::FitPrompt { text, tokens } => engine.fit_prompt(&text, tokens).map(Answer::Prompt),
        Ask::Generate {
            mut request,
            left_ms,
        } => {
            request.deadline =
                left_ms.and_then(|left| Instant::now().checked_add(Duration::from_millis(left)));
            generate(engine, &request, output)?
        }
        Ask::Logits { tokens, file } => match engine.logits(&tokens) {
            Ok(rows) => {
                write_rows(&rows, &file)?;
                Ok(Answer::Logits {
                    rows: rows.len() as u64,
                    columns: rows.first().map_or(0, Vec::len) as u64,
                })
            }
            Err(error) => Err(error),
        },
    };
    Ok(answer.unwrap_or_else(|error| Answer::Failed {
        outcome: error.outcome(),
        of_the_request: error.is_of_the_request(),
        reason: error.to_string(),
    }))
}

fn generate(
    engine: &mut dyn Engine,
    request: &GenerateRequest,
    output: &mut impl Write,
) -> io::Result<Result<Answer, EngineError>> {
    let mut heard = Ok(());
    let generated = engine.generate(request, &mut |event| {
        if heard.is_ok() {
            heard = say(output, &Answer::Event(event));
        }
    });
    heard?;
    Ok(generated.map(|generated| Answer::Generated(Box::new(generated))))
}

fn about(engine: &dyn Engine) -> About {
    About {
        facts: engine.facts(),
        settings: engine.settings(),
        capabilities: Capabilities {
            // One thing is asked at a time.
            max_streams: 1,
            ..engine.capabilities()
        },
    }
}

/// Says it at once: the parent stamps its arrival.
fn say(output: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

fn write_rows(rows: &[Vec<f32>], file: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(OpenOptions::new().write(true).truncate(true).open(file)?);
    for value in rows.iter().flatten() {
        file.write_all(&value.to_le_bytes())?;
    }
    file.flush()
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Places of a page at which blocks lie that take whole pages with what the allocator adds.
    fn places(before_each: impl Fn()) -> HashSet<usize> {
        let place = |_| {
            before_each();
            let weights = vec![1_u8; (72 << 10) - 8];
            let place = weights.as_ptr().addr() % 4096;
            mem::forget(weights);
            place
        };
        (0..32).map(place).collect()
    }

    #[test]
    fn what_is_allocated_lies_at_other_places_of_a_page_once_memory_was_displaced() {
        let (as_it_happens, displaced) = (
            places(|| ()),
            places(|| displace_memory().expect("random bytes")),
        );
        assert!(displaced.len() > 8, "{as_it_happens:?} and {displaced:?}");
    }
}
