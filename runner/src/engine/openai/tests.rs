//! Servers that misbehave are answered with a clear error; real servers agree with what is known
//! of the weights.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::matrix::{Declared, EngineKind};
use serde_json::json;

use super::*;

mod chat;
mod counting;
mod fake;
mod misbehaviour;
mod real;

fn spec(server: Server, weights: WeightsForm) -> EngineSpec {
    EngineSpec {
        name: "under-test".to_owned(),
        kind: EngineKind::OpenAi(OpenAiSpec {
            server,
            weights,
            endpoint: Endpoint::Completions,
            model: None,
            tokenizer: None,
            system_prompt: None,
            api_key_file: None,
            stall_seconds: 30.0,
        }),
        declared: Declared::default(),
        machines: None,
    }
}

/// The spec's server part, to be changed.
fn how(spec: &mut EngineSpec) -> &mut OpenAiSpec {
    match &mut spec.kind {
        EngineKind::OpenAi(how) => how,
        EngineKind::Candle | EngineKind::LlamaBench(_) => panic!("a server's spec"),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn reference(size: &str) -> PathBuf {
    root().join(format!(
        "reference-models/joulemark-reference-{size}-f16.gguf"
    ))
}

const NEEDS: Needs = Needs {
    context_tokens: 512,
    streams: 1,
};

fn timed(prompt: Prompt, tokens: u32) -> GenerateRequest {
    GenerateRequest {
        prompt,
        max_output_tokens: tokens,
        ban_eos: true,
        deadline: Some(Instant::now() + Duration::from_mins(2)),
        sampling: Sampling::Greedy,
        reuse_cache: false,
    }
}
