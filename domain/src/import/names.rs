//! Names out of paths: the model without its folders, its quantisation without the model.

use super::document::clipped;

/// The model's name without its folders: the last part of a path, the repository of a Hugging
/// Face cache folder; `owner/name` stays as it is.
pub(super) fn model(path: &str) -> String {
    let path = clipped(path.trim()).trim_end_matches(['/', '\\']);
    if let Some(repository) = path
        .split(['/', '\\'])
        .find_map(|part| part.strip_prefix("models--"))
    {
        return repository.replacen("--", "/", 1);
    }
    let parts: Vec<&str> = path.split(['/', '\\']).collect();
    if parts.len() > 1 && is_machine(parts[0]) {
        return String::new();
    }
    let last = parts.last().copied().unwrap_or_default();
    let is_path = path.starts_with(['/', '~', '.', '\\'])
        || path.contains('\\')
        || path.get(1..3) == Some(":/")
        || path.contains("://")
        || parts.len() != 2
        || has_extension(last);
    if is_path { last } else { path }.to_owned()
}

/// Whether the part before the first slash is a server's address, or was one and was taken out.
fn is_machine(part: &str) -> bool {
    let port = part
        .split_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()));
    let is_blanked = part.len() > 3 && part.bytes().all(|it| it == b'x');
    port || is_blanked || is_numbers(part)
}

fn is_numbers(part: &str) -> bool {
    part.split('.').count() == 4 && part.split('.').all(|it| it.parse::<u8>().is_ok())
}

fn has_extension(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, extension)| {
        ["gguf", "ggml", "bin", "safetensors", "llamafile", "json"]
            .iter()
            .any(|it| extension.eq_ignore_ascii_case(it))
    })
}

/// The quantisation that a file or repository name ends in or carries, as it spells it, such as
/// `Q4_K_M`, `UD-Q4_K_XL`, `IQ2_XXS`, `8bit`, `NVFP4`, `AWQ`; none if it names none.
pub(super) fn quantisation(name: &str) -> Option<String> {
    let name = clipped(name);
    let stem = match name.rsplit_once('.') {
        Some((stem, _)) if has_extension(name) => stem,
        _ => name,
    };
    let last = stem.rsplit('/').next().unwrap_or(stem);
    let parts: Vec<&str> = last.split(['-', '.', ' ', ':', '@']).collect();
    let index = parts.iter().rposition(|part| is_quantisation(part))?;
    let is_dynamic = index > 0 && parts[index - 1].eq_ignore_ascii_case("ud");
    let found = parts[index];
    Some(if is_dynamic {
        format!("{}-{found}", parts[index - 1])
    } else {
        found.to_owned()
    })
}

/// Whether a word names a quantisation of weights.
pub(super) fn is_quantisation(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let named = [
        "f16", "fp16", "bf16", "f32", "fp32", "fp8", "fp4", "nvfp4", "mxfp4", "mxfp8", "int4",
        "int8", "awq", "gptq", "w4a16", "w8a8", "w8a16", "4bit", "8bit", "6bit", "5bit", "3bit",
        "2bit", "bnb", "exl2", "exl3",
    ];
    if named.contains(&word.as_str()) || word.starts_with("mxfp4_") {
        return true;
    }
    let ggml = ["iq", "tq", "q"]
        .iter()
        .find_map(|prefix| word.strip_prefix(prefix));
    ggml.and_then(|rest| {
        let mut chars = rest.chars();
        let digit = chars.next()?.is_ascii_digit();
        let after = chars.as_str();
        Some(
            digit
                && after.starts_with('_')
                && after.len() < 12
                && after.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()),
        )
    })
    .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_left_out_and_repositories_kept() {
        for (path, name) in [
            (
                "/home/someone/models/Qwen3-4B-Q6_K.gguf",
                "Qwen3-4B-Q6_K.gguf",
            ),
            ("models/7B/ggml-model-q4_0.gguf", "ggml-model-q4_0.gguf"),
            ("C:\\models\\a.gguf", "a.gguf"),
            ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
            (
                "/x/hub/models--openai--gpt-oss-20b/snapshots/0a1b",
                "openai/gpt-oss-20b",
            ),
            ("gpt-oss-20b", "gpt-oss-20b"),
            ("/", ""),
            ("10.0.0.5:8000/alice", ""),
            ("box:8000/alice", ""),
            ("10.0.0.5/alice", ""),
            ("xxxxxxxx/alice", ""),
        ] {
            assert_eq!(model(path), name, "{path}");
        }
    }

    #[test]
    fn a_quantisation_is_read_from_a_name_and_none_is_made_up() {
        for (name, quant) in [
            ("Qwen3-4B-Q4_K_M.gguf", Some("Q4_K_M")),
            ("Qwen3.6-35B-A3B-UD-Q4_K_XL.gguf", Some("UD-Q4_K_XL")),
            ("llama-2-7b.Q4_0.gguf", Some("Q4_0")),
            (
                "GLM-4.5-Air-UD-Q4_K_XL-00001-of-00002.gguf",
                Some("UD-Q4_K_XL"),
            ),
            ("mlx-community/Qwen3.5-27B-4bit", Some("4bit")),
            ("gpt-oss-20b-F16.gguf", Some("F16")),
            ("nvidia/DeepSeek-R1-NVFP4", Some("NVFP4")),
            ("Qwen/Qwen3-0.6B", None),
            ("Quantum-7B", None),
        ] {
            assert_eq!(quantisation(name).as_deref(), quant, "{name}");
        }
    }
}
