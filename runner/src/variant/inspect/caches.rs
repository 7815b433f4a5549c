//! What a GGUF's layers keep of the tokens they have seen.
//!
//! The rules are those of llama.cpp's `load_arch_hparams` functions
//! (<https://github.com/ggml-org/llama.cpp/tree/master/src/models>) and of its `llama-hparams.cpp`.

use domain::record::{KvKind, KvLayout};

use crate::gguf::{GgufError, Header, Keys, PerLayer};

/// No published model comes near so many layers.
const MAX_LAYERS: u32 = 10_000;

/// Architectures whose caches follow none of the rules here: of them nothing is said.
const NOT_DESCRIBED: [&str; 2] = ["deepseek4", "minimax-01"];

/// Layers that compute every token: those that guess further tokens ahead come after them and are left out.
pub(super) fn layers(header: &Header, architecture: &str) -> Result<u32, GgufError> {
    let blocks = format!("{architecture}.block_count");
    let count = header.required(&blocks, header.number(&blocks)?)?;
    let guessing = header
        .number(&format!("{architecture}.nextn_predict_layers"))?
        .unwrap_or(0);
    match count.checked_sub(guessing) {
        Some(layers @ 1..=MAX_LAYERS) => Ok(layers),
        _ => Err(header.bad_key(&blocks, format!("is {count}, beyond belief"))),
    }
}

/// What layers cache, by kind; empty for an architecture that is not described here.
pub(super) fn layouts(header: &Header, architecture: &str) -> Result<Vec<KvLayout>, GgufError> {
    if NOT_DESCRIBED.contains(&architecture) {
        return Ok(Vec::new());
    }
    let rules = Rules::read(header, architecture)?;
    let mut found: Vec<KvLayout> = Vec::new();
    for layer in 0..layers(header, architecture)? {
        for cache in rules.caches(layer)? {
            match found.iter_mut().find(|known| {
                KvLayout {
                    layers: 1,
                    ..(*known).clone()
                } == cache
            }) {
                Some(known) => known.layers += 1,
                None => found.push(cache),
            }
        }
    }
    Ok(found)
}

/// A model's numbers from which each layer's cache follows.
struct Rules<'a> {
    header: &'a Header,
    architecture: &'a str,
    kv_heads: PerLayer,
    feed_forward: PerLayer,
    /// Width of keys and values together, per head.
    full_width: u64,
    /// The same in layers with a window.
    window_width: u64,
    /// Numbers of the compressed keys and values of multi-head latent attention.
    latent: Option<u64>,
    window: Option<Window>,
    /// Numbers of the state that a recurrent layer keeps instead of tokens.
    state: Option<u64>,
    recurrence: Recurrence,
    /// Layers from here on look into the caches of earlier ones.
    sharing_from: u32,
}

/// Which layers have a window, and how long it is.
struct Window {
    tokens: u64,
    pattern: Pattern,
}

enum Pattern {
    /// As the file lists it: not 0 for a window.
    Listed(PerLayer),
    /// One layer in so many looks at everything: the last of them, or the first.
    OneIn { layers: u32, full_first: bool },
    /// Every layer that attends.
    All,
}

/// Which layers are recurrent.
enum Recurrence {
    /// As the file lists it: not 0 for a recurrent one.
    Listed(PerLayer),
    /// All but the last of so many.
    AllButOneIn(u32),
    /// Those without heads for keys.
    Headless,
    /// All, and they attend as well.
    AllAndAttention,
    /// All.
    All,
}

impl<'a> Rules<'a> {
    fn read(header: &'a Header, architecture: &'a str) -> Result<Self, GgufError> {
        let key = |name: &str| format!("{architecture}.{name}");
        let number = |name: &str| header.number(&key(name));
        let layers = layers(header, architecture)?;
        let (recurrence, state) = recurrence(header, architecture)?;

        let heads_key = key("attention.head_count");
        let heads = match header.per_layer(&heads_key)? {
            Some(heads) => heads,
            None if state.is_some() => PerLayer::all(0),
            None => header.required(&heads_key, None)?,
        };
        if heads.largest() == 0 && state.is_none() {
            return Err(header.bad_key(&heads_key, "is 0"));
        }
        let width = key("embedding_length");
        let width = header.required(&width, header.number(&width)?)?;
        let by_width = width.checked_div(heads.largest()).unwrap_or(0);
        let keys = number("attention.key_length")?.unwrap_or(by_width);
        let values = number("attention.value_length")?.unwrap_or(by_width);
        let window_keys = number("attention.key_length_swa")?.unwrap_or(keys);
        let window_values = number("attention.value_length_swa")?.unwrap_or(values);

        // A file from before llama.cpp knew the compressed form has no such key, and is cached at full width.
        let latent = match number("attention.key_length_mla")? {
            Some(_) => number("attention.kv_lora_rank")?.zip(number("rope.dimension_count")?),
            None => None,
        };
        let shared = match architecture {
            // Gemma 3n's file does not say that its last layers share: llama.cpp's `gemma3n.cpp` has the 20.
            "gemma3n" => layers.saturating_sub(20),
            _ => number("attention.shared_kv_layers")?.unwrap_or(0),
        };
        Ok(Self {
            header,
            architecture,
            kv_heads: header
                .per_layer(&key("attention.head_count_kv"))?
                .unwrap_or(heads),
            feed_forward: header
                .per_layer(&key("feed_forward_length"))?
                .unwrap_or(PerLayer::all(0)),
            full_width: u64::from(keys) + u64::from(values),
            window_width: u64::from(window_keys) + u64::from(window_values),
            latent: latent.map(|(rank, rope)| u64::from(rank) + u64::from(rope)),
            window: window(header, architecture)?,
            state,
            recurrence,
            sharing_from: layers.saturating_sub(shared),
        })
    }

    fn caches(&self, layer: u32) -> Result<Vec<KvLayout>, GgufError> {
        let kv_heads = self.of(&self.kv_heads, "attention.head_count_kv", layer)?;
        let mut caches = Vec::new();
        let recurs = self.recurs(layer, kv_heads)?;
        if let Some(state) = self.state.filter(|_| recurs) {
            caches.push(KvLayout {
                kind: KvKind::State,
                layers: 1,
                elements_per_token: 0,
                window_tokens: None,
                state_elements: Some(state),
            });
        }
        let attends = !recurs || matches!(self.recurrence, Recurrence::AllAndAttention);
        if attends && kv_heads > 0 && layer < self.sharing_from {
            caches.push(self.attention(layer, kv_heads)?);
        }
        Ok(caches)
    }

    fn attention(&self, layer: u32, kv_heads: u32) -> Result<KvLayout, GgufError> {
        let window = match &self.window {
            Some(window) if self.has_window(window, layer)? => Some(window.tokens),
            _ => None,
        };
        let (kind, elements_per_token) = match (self.latent, window) {
            (Some(latent), _) => (KvKind::Latent, latent),
            (None, Some(_)) => (KvKind::Window, u64::from(kv_heads) * self.window_width),
            (None, None) => (KvKind::Full, u64::from(kv_heads) * self.full_width),
        };
        Ok(KvLayout {
            kind,
            layers: 1,
            elements_per_token,
            window_tokens: window.filter(|_| kind == KvKind::Window),
            state_elements: None,
        })
    }

    fn recurs(&self, layer: u32, kv_heads: u32) -> Result<bool, GgufError> {
        if self.state.is_none() {
            return Ok(false);
        }
        Ok(match &self.recurrence {
            Recurrence::Listed(list) => self.of(list, "attention.recurrent_layers", layer)? != 0,
            Recurrence::AllButOneIn(layers) => !(layer + 1).is_multiple_of(*layers),
            // In Nemotron-H a layer is a Mamba, an attention or a feed-forward one, and only the last has a width.
            Recurrence::Headless if self.architecture.starts_with("nemotron_h") => {
                kv_heads == 0 && self.of(&self.feed_forward, "feed_forward_length", layer)? == 0
            }
            Recurrence::Headless => kv_heads == 0,
            Recurrence::AllAndAttention | Recurrence::All => true,
        })
    }

    fn has_window(&self, window: &Window, layer: u32) -> Result<bool, GgufError> {
        Ok(match &window.pattern {
            Pattern::Listed(list) => self.of(list, "attention.sliding_window_pattern", layer)? != 0,
            Pattern::OneIn { layers, full_first } => {
                layer % layers != if *full_first { 0 } else { layers - 1 }
            }
            Pattern::All => true,
        })
    }

    fn of(&self, list: &PerLayer, name: &str, layer: u32) -> Result<u32, GgufError> {
        list.of(layer).ok_or_else(|| {
            let key = format!("{}.{name}", self.architecture);
            self.header
                .bad_key(&key, format!("says nothing of layer {layer}"))
        })
    }
}

/// How many layers to one full one in files that do not say, and whether the full one is the first of them
/// (`load_swa_pattern` in each architecture's file).
fn usual_pattern(architecture: &str) -> Option<Pattern> {
    let (layers, full_first) = match architecture {
        "gemma2" | "gpt-oss" => (2, false),
        "cohere2" | "llama4" | "exaone4" | "exaone-moe" | "olmo2" | "muse-glimmer" | "afmoe"
        | "mellum" => (4, false),
        "cohere2moe" | "smallthinker" | "laguna" => (4, true),
        "gemma3n" => (5, false),
        "gemma3" | "gemma-embedding" => (6, false),
        "plamo3" => (8, false),
        "lfm2" | "lfm2moe" => return Some(Pattern::All),
        _ => return None,
    };
    Some(Pattern::OneIn { layers, full_first })
}

fn window(header: &Header, architecture: &str) -> Result<Option<Window>, GgufError> {
    let said = header.number(&format!("{architecture}.attention.sliding_window"))?;
    // Lengths that llama.cpp knows where the file does not say them, or takes whatever the file says.
    let tokens = match (architecture, said) {
        (_, Some(0)) => return Ok(None),
        ("gemma2" | "exaone4" | "smallthinker", None) => 4_096,
        ("exaone-moe", None) => 128,
        ("llama4", _) => 8_192,
        (_, Some(tokens)) => tokens,
        (_, None) => return Ok(None),
    };
    let key = format!("{architecture}.attention.sliding_window_pattern");
    let usual = usual_pattern(architecture);
    let pattern = match (header.entry(&key), usual) {
        (None, None) => {
            // Such as Mistral's and Phi 3's: llama.cpp reads the length and keeps every token.
            return Ok(None);
        }
        (None, Some(usual)) => usual,
        (Some(_), usual) => {
            let listed = header.per_layer(&key)?;
            let single = header.number(&key).ok().flatten();
            match (single, usual, listed) {
                // 0 and 1 are all and none, as `set_swa_pattern` has them.
                (Some(0), _, _) => Pattern::All,
                (Some(1), _, _) => return Ok(None),
                (Some(layers), usual, _) => Pattern::OneIn {
                    layers,
                    full_first: matches!(
                        usual,
                        Some(Pattern::OneIn {
                            full_first: true,
                            ..
                        })
                    ),
                },
                (None, _, Some(listed)) => Pattern::Listed(listed),
                (None, ..) => return Ok(None),
            }
        }
    };
    Ok(Some(Window {
        tokens: u64::from(tokens),
        pattern,
    }))
}

/// Which layers are recurrent and how many numbers one keeps, convolution and state together (`n_embd_r`, `n_embd_s`).
fn recurrence(header: &Header, architecture: &str) -> Result<(Recurrence, Option<u64>), GgufError> {
    let key = |name: &str| format!("{architecture}.{name}");
    let number = |name: &str| Ok(header.number(&key(name))?.map(u64::from));
    let width = || header.required(&key("embedding_length"), number("embedding_length")?);
    let heads = || {
        let heads = header.per_layer(&key("attention.head_count"))?;
        let heads = heads.map(|heads| u64::from(heads.largest()));
        header.required(&key("attention.head_count"), heads)
    };

    let state = if let Some(head) = number("wkv.head_size")? {
        // RWKV: the last tokens' activations, and a square per head.
        Some(width()? * (number("token_shift_count")?.unwrap_or(2) + head))
    } else if let Some(length) = number("shortconv.l_cache")? {
        Some(width()? * length.saturating_sub(1))
    } else if let Some(head) = number("kda.head_dim")? {
        let inner = heads()? * head;
        let kernel = number("ssm.conv_kernel")?.unwrap_or(4);
        Some(3 * kernel.saturating_sub(1) * inner + inner * head)
    } else if let Some(inner) = number("ssm.inner_size")? {
        let state = header.required(&key("ssm.state_size"), number("ssm.state_size")?)?;
        let groups = number("ssm.group_count")?.unwrap_or(0);
        let kernel = number("ssm.conv_kernel")?.unwrap_or(0);
        Some(kernel.saturating_sub(1) * (inner + 2 * groups * state) + state * inner)
    } else {
        None
    };

    let recurrence = if let Some(list) = header.per_layer(&key("attention.recurrent_layers"))? {
        Recurrence::Listed(list)
    } else if let Some(interval) = header.number(&key("full_attention_interval"))? {
        if interval == 0 {
            return Err(header.bad_key(&key("full_attention_interval"), "is 0"));
        }
        Recurrence::AllButOneIn(interval)
    } else {
        match architecture {
            "qwen3next" | "qwen35" | "qwen35moe" => Recurrence::AllButOneIn(4),
            "falcon-h1" => Recurrence::AllAndAttention,
            _ if header.entry(&key("wkv.head_size")).is_some() => Recurrence::All,
            _ => Recurrence::Headless,
        }
    };
    Ok((recurrence, state))
}
