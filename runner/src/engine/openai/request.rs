//! What is sent: everything that helps a measurement and does no harm, less what the server refuses.

use domain::matrix::Endpoint;
use serde_json::{Map, Value, json};

use crate::engine::{GenerateRequest, Prompt, Sampling};

/// How much is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// The keys of llama.cpp and vLLM too; others ignore them.
    Full,
    /// Only what `OpenAI` documents.
    Standard,
    /// Only what every server must know; without `usage`.
    Bare,
}

impl Level {
    /// The next lesser one.
    pub(super) fn less(self) -> Option<Self> {
        match self {
            Self::Full => Some(Self::Standard),
            Self::Standard => Some(Self::Bare),
            Self::Bare => None,
        }
    }
}

/// What keeps the end token out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ban {
    IgnoreEos,
    LogitBias,
    MinTokens,
    /// All of them: which one worked could not be told apart.
    Every,
    /// Nothing that the server knows.
    Nothing,
}

impl Ban {
    /// As it stands in a record.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::IgnoreEos => "ignore_eos",
            Self::LogitBias => "logit_bias",
            Self::MinTokens => "min_tokens",
            Self::Every => "unproven",
            Self::Nothing => "none",
        }
    }
}

/// What is constant over a server's requests.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) endpoint: Endpoint,
    pub(super) model: Option<String>,
    pub(super) system_prompt: Option<String>,
    /// End tokens, where they are known.
    pub(super) eos: Vec<u32>,
    pub(super) level: Level,
    pub(super) ban: Ban,
    /// Prompts go over as ids where there are ids.
    pub(super) token_prompts: bool,
}

impl Form {
    /// Where this prompt goes: a chat message always to the chat endpoint.
    pub(super) fn endpoint(&self, prompt: &Prompt) -> Endpoint {
        match prompt {
            Prompt::Chat(_) => Endpoint::Chat,
            Prompt::Text(_) | Prompt::Exact { .. } => self.endpoint,
        }
    }

    pub(super) fn path(&self, prompt: &Prompt) -> &'static str {
        match self.endpoint(prompt) {
            Endpoint::Completions => "/v1/completions",
            Endpoint::Chat => "/v1/chat/completions",
        }
    }

    /// The ids that go over, if any.
    pub(super) fn ids<'a>(&self, prompt: &'a Prompt) -> Option<&'a [u32]> {
        match prompt {
            Prompt::Exact { tokens, .. } if self.token_prompts && !tokens.is_empty() => {
                Some(tokens)
            }
            _ => None,
        }
    }

    /// A request's body. `salt` differs from request to request.
    pub(super) fn body(&self, request: &GenerateRequest, salt: u64) -> Value {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| {
            body.insert(key.to_owned(), value);
        };
        if let Some(model) = &self.model {
            put("model", json!(model));
        }
        let text = match &request.prompt {
            Prompt::Text(text) | Prompt::Chat(text) | Prompt::Exact { text, .. } => text,
        };
        match (self.endpoint(&request.prompt), self.ids(&request.prompt)) {
            (Endpoint::Completions, Some(ids)) => put("prompt", json!(ids)),
            (Endpoint::Completions, None) => put("prompt", json!(text)),
            (Endpoint::Chat, _) => {
                let system = self.system_prompt.iter();
                let messages: Vec<Value> = system
                    .map(|text| json!({"role": "system", "content": text}))
                    .chain([json!({"role": "user", "content": text})])
                    .collect();
                put("messages", json!(messages));
            }
        }
        // No server makes none: MLX refuses 0, llama.cpp makes one all the same.
        put("max_tokens", json!(request.max_output_tokens.max(1)));
        put("stream", json!(true));
        match request.sampling {
            Sampling::Greedy => put("temperature", json!(0)),
            Sampling::Drawn {
                temperature_ppm,
                seed,
            } => {
                put("temperature", json!(f64::from(temperature_ppm) / 1e6));
                // Every server takes 31 bits.
                put("seed", json!(seed & 0x7fff_ffff));
                // Servers cut and bend the distribution by default, each in its own way.
                if self.level != Level::Bare {
                    put("top_p", json!(1.0));
                }
                if self.level == Level::Full {
                    put("top_k", json!(0));
                    put("min_p", json!(0.0));
                    put("repeat_penalty", json!(1.0));
                    put("repetition_penalty", json!(1.0));
                }
            }
        }
        if self.level == Level::Bare {
            return Value::Object(body);
        }
        if self.bans(request, Ban::LogitBias) && !self.eos.is_empty() {
            let bias = self.eos.iter().map(|eos| (eos.to_string(), json!(-100)));
            put("logit_bias", Value::Object(bias.collect()));
        }
        if self.level == Level::Standard {
            put("stream_options", json!({"include_usage": true}));
            return Value::Object(body);
        }
        put(
            "stream_options",
            json!({"include_usage": true, "continuous_usage_stats": true}),
        );
        if self.bans(request, Ban::IgnoreEos) {
            put("ignore_eos", json!(true));
        }
        if self.bans(request, Ban::MinTokens) {
            put("min_tokens", json!(request.max_output_tokens.max(1)));
        }
        put("cache_prompt", json!(request.reuse_cache));
        if !request.reuse_cache {
            put("cache_salt", json!(format!("joulemark-{salt}")));
        }
        put("timings_per_token", json!(true));
        put("return_token_ids", json!(true));
        Value::Object(body)
    }

    fn bans(&self, request: &GenerateRequest, by: Ban) -> bool {
        request.ban_eos && (self.ban == by || self.ban == Ban::Every)
    }
}
