//! Whether the engines that a matrix names are here: programs that can be run, servers that answer.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use domain::matrix::{EngineKind, EngineSpec, Server};

/// A server that says nothing for so long does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What was found of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFinding {
    /// What the matrix calls it.
    pub name: String,
    /// What was seen, or what is wrong and what to do.
    pub found: Result<String, Missing>,
}

/// What is wrong with an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What was seen.
    pub evidence: String,
    /// What to do.
    pub fix: String,
}

/// Looks for one engine of a matrix; starts nothing.
pub async fn look_for(spec: &EngineSpec) -> EngineFinding {
    let found = match &spec.kind {
        EngineKind::Candle => Ok("in this program".to_owned()),
        EngineKind::LlamaBench(bench) => program(&bench.program),
        EngineKind::OpenAi(server) => match &server.server {
            Server::Launched { command, .. } => command
                .first()
                .map_or_else(|| program(""), |first| program(first)),
            Server::Running { url } => answers(url).await,
        },
    };
    EngineFinding {
        name: spec.name.clone(),
        found,
    }
}

/// A program by path or, with a bare name, on PATH.
pub(super) fn program(name: &str) -> Result<String, Missing> {
    // The shell searches PATH as the user does, and says nothing of what cannot be executed.
    let output = Command::new("sh")
        .args(["-c", "command -v -- \"$1\"", "sh", name])
        .output();
    let path = output
        .ok()
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
        .filter(|path| path.is_file());
    path.map(|path| path.display().to_string())
        .ok_or_else(|| Missing {
            evidence: format!("{name:?} is no program here"),
            fix: "install it, or name it in the matrix by its full path".to_owned(),
        })
}

async fn answers(url: &str) -> Result<String, Missing> {
    let missing = |evidence: String| Missing {
        evidence,
        fix: "start the server, or correct its address in the matrix".to_owned(),
    };
    let models = format!("{}/v1/models", url.trim_end_matches('/'));
    let client = reqwest::Client::builder()
        .timeout(ANSWER_WITHIN)
        .build()
        .map_err(|error| missing(error.to_string()))?;
    let answer = client
        .get(&models)
        .send()
        .await
        .map_err(|error| missing(format!("{url} does not answer: {}", root_cause(&error))))?;
    let status = answer.status();
    // A server that asks for a key is there; the sweep has the key.
    if status.is_success() || status.as_u16() == 401 || status.as_u16() == 403 {
        Ok(format!("{url} answers"))
    } else {
        Err(missing(format!(
            "{url} answers {} when asked for its models",
            status.as_u16()
        )))
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
