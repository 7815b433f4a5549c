//! The child's side: an engine that answers on its standard output what is asked on its input.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufWriter, Read as _, Write};
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
    match serve(engine, &mut input, &mut output) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
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
