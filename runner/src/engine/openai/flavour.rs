//! Which program a server is, and what it says of itself and of its weights.

use std::path::Path;

use serde_json::Value;

use super::vocabulary::TokenizePage;
use super::wire::{Wire, short};
use crate::engine::EngineError;
use crate::gguf::Keys as _;
use crate::gguf::{Gguf, stored_bytes};

/// How far a server's sizes may be from the file's: some leave tensors out that a pass never reads.
const SIZE_TOLERANCE: f64 = 0.01;

/// Names of models that an error lists at most.
const MAX_NAMES: usize = 8;

/// A program that is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    LlamaCpp,
    Vllm,
    Ollama,
    LmStudio,
    Mlx,
    Unknown,
}

/// What a server says of itself.
#[derive(Debug, Clone)]
pub(super) struct Flavour {
    pub(super) program: Program,
    pub(super) version: Option<String>,
    pub(super) commit: Option<String>,
    pub(super) chat_template: Option<String>,
    /// The entry of `/v1/models` that requests are for.
    model: Value,
    /// Requests it answers at once, where it says so.
    pub(super) slots: Option<u32>,
}

impl Flavour {
    /// Asks the pages that tell servers apart; an error if nothing answers at all, or if there are
    /// several models and none is `asked` for.
    pub(super) fn of(wire: &Wire, asked: Option<&str>) -> Result<Self, EngineError> {
        let health = wire.get("/health")?;
        // From here on a page that fails is a page that the server lacks: MLX drops the
        // connection at /v1/models where no Hugging Face cache exists.
        let page = |path: &str| match wire.get(path) {
            Ok(answer) if answer.status == 200 => answer.body,
            _ => Value::Null,
        };
        let text = |body: &Value, key: &str| {
            let text = body.get(key).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let models = match page("/v1/models")["data"].take() {
            Value::Array(models) => models,
            _ => Vec::new(),
        };
        let mut flavour = Self {
            program: Program::Unknown,
            version: None,
            commit: None,
            chat_template: None,
            model: Value::Null,
            slots: None,
        };
        let props = page("/props");
        if props.get("default_generation_settings").is_some() {
            flavour.program = Program::LlamaCpp;
            let build = text(&props, "build_info").unwrap_or_default();
            let (number, commit) = build.split_once('-').unwrap_or((&build, ""));
            // A build outside of a checkout calls itself b0-unknown.
            flavour.version = Some(number).filter(|n| *n != "b0").map(str::to_owned);
            flavour.commit = Some(commit)
                .filter(|commit| !commit.is_empty() && *commit != "unknown")
                .map(str::to_owned);
            flavour.version = flavour.version.filter(|version| !version.is_empty());
            flavour.chat_template = text(&props, "chat_template");
            let slots = props.get("total_slots").and_then(Value::as_u64);
            flavour.slots = slots.and_then(|slots| u32::try_from(slots).ok());
        } else if let Some(version) = text(&page("/version"), "version") {
            flavour.program = Program::Vllm;
            flavour.version = Some(version);
        } else if let Some(version) = text(&page("/api/version"), "version") {
            flavour.program = Program::Ollama;
            flavour.version = Some(version);
        } else if health.server.starts_with("basehttp") && health.body.get("status").is_some() {
            flavour.program = Program::Mlx;
        } else if page("/api/v0/models")["data"].is_array() {
            flavour.program = Program::LmStudio;
        }
        // MLX lists what it could fetch, and serves what it was started with.
        if asked.is_none() && models.len() > 1 && flavour.program != Program::Mlx {
            let names = models.iter().filter_map(|model| model["id"].as_str());
            let names: Vec<String> = names.take(MAX_NAMES).map(short).collect();
            return Err(EngineError::OtherWeights {
                url: wire.target().url.clone(),
                what: format!(
                    "it has {} models ({}); say which in model = \"…\"",
                    models.len(),
                    names.join(", ")
                ),
            });
        }
        let named = models.iter().find(|model| model["id"].as_str() == asked);
        flavour.model = match (named, models.as_slice()) {
            (Some(named), _) => named.clone(),
            // A server of one model may not care what it is called.
            (None, [only]) => only.clone(),
            // One of several goes by another name, or the server will refuse this one.
            (None, _) => Value::Null,
        };
        Ok(flavour)
    }

    /// Takes what only an answer tells: MLX's fingerprint is its version, that of mlx and the
    /// machine.
    pub(super) fn read_fingerprint(&mut self, fingerprint: &str) {
        if self.program == Program::Mlx {
            let mut parts = fingerprint.split('-');
            if let (Some(server), Some(library)) = (parts.next(), parts.next()) {
                self.version = Some(format!("{server} (mlx {library})"));
            }
        }
    }

    /// What requests call the model: MLX takes any other name for one to fetch.
    pub(super) fn model_name(&self) -> Option<String> {
        match self.program {
            Program::Mlx => Some("default_model".to_owned()),
            _ => self.model["id"].as_str().map(str::to_owned),
        }
    }

    /// Where it tells tokens.
    pub(super) fn tokenize_page(&self) -> Option<TokenizePage> {
        match self.program {
            Program::LlamaCpp => Some(TokenizePage::LlamaCpp),
            Program::Vllm => Some(TokenizePage::Vllm),
            _ => None,
        }
    }

    /// How the served weights differ from a file, by what the server says; nothing if it says
    /// nothing or the same.
    pub(super) fn contradicts(&self, weights: &Path, gguf: Option<&Gguf>) -> Option<String> {
        let meta = &self.model["meta"];
        if let Some(gguf) = gguf {
            let tensors = gguf.tensors();
            let elements: u64 = tensors
                .values()
                .map(|info| info.shape.elem_count() as u64)
                .sum();
            let bytes: u64 = tensors.values().map(|info| stored_bytes(info)).sum();
            let facts = [
                ("n_params", elements, "parameters"),
                ("size", bytes, "bytes"),
            ];
            let tokens = gguf.texts("tokenizer.ggml.tokens").ok().flatten();
            let theirs = meta.get("n_vocab").and_then(Value::as_u64);
            if let (Some(ours), Some(theirs)) = (tokens.map(|tokens| tokens.len() as u64), theirs)
                && ours != theirs
            {
                return Some(format!(
                    "its tokenizer has {theirs} tokens, that of the matrix's weights {ours}"
                ));
            }
            for (key, ours, unit) in facts {
                let theirs = meta.get(key).and_then(Value::as_u64);
                if let Some(theirs) = theirs
                    && theirs.abs_diff(ours) as f64 > ours as f64 * SIZE_TOLERANCE
                {
                    return Some(format!(
                        "it serves weights of {theirs} {unit}, the matrix names some of {ours}"
                    ));
                }
            }
        }
        // vLLM names the folder that it loaded.
        let root = self.model["root"].as_str().map(Path::new);
        if let Some(root) = root.filter(|root| root.is_absolute() && weights.is_dir()) {
            let config = |folder: &Path| std::fs::read(folder.join("config.json")).ok();
            if let (Some(theirs), Some(ours)) = (config(root), config(weights))
                && theirs != ours
            {
                return Some(
                    "its folder's config.json is not that of the weights of the matrix".to_owned(),
                );
            }
        }
        None
    }
}
