//! How long a context a model was made for.

use std::path::Path;

use serde_json::Value;

use crate::gguf::{Gguf, Keys as _};

/// Tokens of the longest context that weights are made for, as their header or `config.json` says
/// it; `None` where neither does.
pub fn model_context_tokens(weights: &Path) -> Option<u32> {
    let tokens = if weights.is_dir() {
        let text = std::fs::read_to_string(weights.join("config.json")).ok()?;
        let config: Value = serde_json::from_str(&text).ok()?;
        let key = "max_position_embeddings";
        let of_text = || config["text_config"].get(key);
        let said = config.get(key).or_else(of_text)?.as_u64()?;
        u32::try_from(said).ok()?
    } else {
        let gguf = Gguf::open(weights).ok()?;
        let arch = gguf.text("general.architecture").ok()??;
        gguf.number(&format!("{arch}.context_length")).ok()??
    };
    (tokens > 0).then_some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::fixture::Fixture;

    #[test]
    fn header_and_config_say_how_long_a_context_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.gguf");
        Fixture::tiny().write(&file);
        assert_eq!(model_context_tokens(&file), Some(8_192));
        assert_eq!(model_context_tokens(folder.path()), None);
        let config = folder.path().join("config.json");
        for text in [
            r#"{"max_position_embeddings": 4096}"#,
            r#"{"text_config": {"max_position_embeddings": 4096}}"#,
        ] {
            std::fs::write(&config, text).expect("written");
            assert_eq!(model_context_tokens(folder.path()), Some(4_096));
        }
        std::fs::write(&config, "{").expect("written");
        assert_eq!(model_context_tokens(folder.path()), None);
    }
}
