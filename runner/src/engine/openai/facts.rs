//! What a record says of a server: who it is, and everything of the harness that changes behaviour.

use std::net::IpAddr;
use std::path::Path;

use domain::ids::Sha256Digest;
use domain::matrix::{Endpoint, EngineSpec, OpenAiSpec, Server};
use domain::record::{EngineFacts, TokenSource};
use domain::text::Name;
use serde_json::Value;

use super::flavour::Program;
use super::request::Level;
use super::{Served, digest};
use crate::gguf::Gguf;
use crate::gguf::Keys as _;

/// Words of a launch command that are recorded at most.
const MAX_WORDS: usize = 24;

/// What is known before a server answered.
pub(super) fn unknown(spec: &EngineSpec) -> EngineFacts {
    let declared = &spec.declared;
    let or_unknown = |text: &Option<String>| Name::cleaned(text.as_deref().unwrap_or("unknown"));
    EngineFacts {
        name: Name::cleaned(&spec.name),
        version: or_unknown(&declared.version),
        commit: declared.commit.as_deref().map(Name::cleaned),
        build_flags: declared
            .build_flags
            .iter()
            .map(|flag| Name::cleaned(flag))
            .collect(),
        backend: or_unknown(&declared.backend),
        args: Vec::new(),
        binary_sha256: None,
        image_digest: None,
    }
}

/// What is known of a server that answers.
pub(super) fn of(
    spec: &EngineSpec,
    how: &OpenAiSpec,
    threads: u32,
    weights: &Path,
    gguf: Option<&Gguf>,
    served: &Served,
) -> EngineFacts {
    let mut facts = unknown(spec);
    let flavour = &served.flavour;
    if let Some(version) = &flavour.version {
        facts.version = Name::cleaned(version);
    }
    if let Some(commit) = &flavour.commit {
        facts.commit = Some(Name::cleaned(commit));
    }
    facts.binary_sha256 = served.launched.as_ref().and_then(super::Launched::digest);

    let capabilities = &served.capabilities;
    let mut args = vec![
        format!("server={}", program(flavour.program)),
        match how.endpoint {
            Endpoint::Completions => "endpoint=completions".to_owned(),
            Endpoint::Chat => "endpoint=chat".to_owned(),
        },
        format!(
            "prompt={}",
            if served.form.token_prompts {
                "tokens"
            } else {
                "text"
            }
        ),
        format!("ban-eos={}", served.form.ban.as_str()),
        format!(
            "cache={}",
            if capabilities.disables_prompt_cache {
                "off"
            } else {
                "unique-prefix"
            }
        ),
        format!(
            "counts={}",
            match capabilities.token_source {
                TokenSource::Ids => "ids",
                TokenSource::Timings => "timings",
                TokenSource::Usage => "usage",
                TokenSource::Retokenized => "retokenized",
                TokenSource::Apportioned => "apportioned",
            }
        ),
    ];
    if served.form.level != Level::Full {
        args.push("keys=standard".to_owned());
    }
    if let Server::Launched { command, .. } = &how.server {
        if command.iter().any(|word| word.contains("{threads}")) {
            args.push(format!("threads={threads}"));
        }
        args.push(format!("streams={}", served.needs.streams));
        args.extend(launch_words(command));
    }
    // Suites may be asked by chat where completions are timed.
    let chats = how.endpoint == Endpoint::Chat || capabilities.chat;
    if let Some(prompt) = &how.system_prompt
        && chats
    {
        args.push(format!("system-prompt-sha256={}", digest(prompt)));
    }
    if chats && let Some(template) = template(weights, gguf, served) {
        args.push(format!("chat-template-sha256={template}"));
    }
    facts.args = args.iter().map(|arg| Name::cleaned(arg)).collect();
    facts
}

fn program(program: Program) -> &'static str {
    match program {
        Program::LlamaCpp => "llama.cpp",
        Program::Vllm => "vllm",
        Program::Ollama => "ollama",
        Program::LmStudio => "lm-studio",
        Program::Mlx => "mlx",
        Program::Unknown => "unknown",
    }
}

/// Digest of the chat template: the server's own word, else that of the weights.
fn template(weights: &Path, gguf: Option<&Gguf>, served: &Served) -> Option<Sha256Digest> {
    if let Some(template) = &served.flavour.chat_template {
        return Some(digest(template));
    }
    if let Some(gguf) = gguf {
        return gguf.text("tokenizer.chat_template").ok()?.map(digest);
    }
    if let Ok(template) = std::fs::read_to_string(weights.join("chat_template.jinja")) {
        return Some(digest(&template));
    }
    let config = std::fs::read_to_string(weights.join("tokenizer_config.json")).ok()?;
    let config: Value = serde_json::from_str(&config).ok()?;
    config["chat_template"].as_str().map(digest)
}

/// The words of a launch command that change behaviour: flags with their values, without the
/// program, paths, secrets and what is filled in.
fn launch_words(command: &[String]) -> Vec<String> {
    let secret = |word: &str| {
        let word = word.to_ascii_lowercase();
        word == "-hft"
            || word.starts_with("-hft=")
            || ["key", "token", "secret", "password", "auth"]
                .iter()
                .any(|hint| word.contains(hint))
    };
    let hidden = |word: &str| {
        word.contains(['/', '\\', '{', '@'])
            || word
                .split(['=', ','])
                .any(|part| is_token(part) || is_address(part))
    };
    let number = |word: &str| word.parse::<f64>().is_ok();
    let is_flag = |word: &str| word.starts_with('-') && !number(word);
    let mut words = command.iter().skip(1).map(String::as_str).peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        let value = words.next_if(|next| is_flag(word) && !is_flag(next));
        let whole = value.map_or_else(|| word.to_owned(), |value| format!("{word}={value}"));
        if !secret(word) && !hidden(&whole) && kept.len() < MAX_WORDS {
            kept.push(whole);
        }
    }
    kept
}

/// Begins as the tokens of Hugging Face and of paid services do.
fn is_token(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    word.starts_with("hf_") || word.starts_with("sk-")
}

/// An IP address, or a host with a port.
fn is_address(word: &str) -> bool {
    let is_ip = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let is_host = |host: &str| host.contains(|c: char| c.is_ascii_alphabetic()) || is_ip(host);
    is_ip(word)
        || word
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launch_words_hold_no_path_secret_or_hole() {
        let command = [
            "/opt/bin/serve",
            "run.d/x.py",
            "-m",
            "{weights}",
            "--port={port}",
            "--kv-bits",
            "8",
            "--api-key",
            "hunter2",
            "--hf-token=abc",
            "--flash-attn",
            "--seed",
            "-1",
            "server",
            "-hft",
            "abcdef",
            "-x",
            "hf_abcdef",
            "--extra=sk-abcdef",
            "--host",
            "192.168.1.7",
            "--bind=[::1]:80",
            "--rpc",
            "10.0.0.1:50052,mac.local:50052",
            "--tensor-split",
            "3,1",
        ]
        .map(str::to_owned);
        assert_eq!(
            launch_words(&command),
            [
                "--kv-bits=8",
                "--flash-attn",
                "--seed=-1",
                "server",
                "--tensor-split=3,1"
            ]
        );
    }
}
