//! `joulemark variant`: makes weights files and says what they are.

use std::path::PathBuf;

use anyhow::Context as _;
use domain::record::VariantFacts;
use runner::variant::{VariantCache, VariantError, VariantSpec, inspect};
use serde_json::{Value, json};

use crate::cli::{Form, Variant};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::output::{self, Report};

/// Makes or inspects.
pub(crate) fn run(args: Variant, config: &Config) -> Outcome {
    match args {
        Variant::Make {
            source,
            quant,
            prune,
            form,
        } => make(source, &quant, &prune, form, config),
        Variant::Inspect { file, format } => {
            let facts = or_bad_file(inspect(&file))?;
            report(&facts).print(format).or_infrastructure()?;
            Ok(Exit::Fine)
        }
    }
}

fn make(source: PathBuf, quant: &str, prune: &str, form: Form, config: &Config) -> Outcome {
    let spec = VariantSpec {
        source,
        quant: quant.parse().or_usage()?,
        prune: prune.parse().or_usage()?,
    };
    config.make_data_folder()?;
    let variants = VariantCache::new(config.variants());
    let made = or_bad_file(match form {
        Form::Gguf => variants.make(&spec),
        Form::HuggingFace => variants.make_huggingface(&spec),
    })?;
    output::line(&made.display().to_string()).or_infrastructure()?;
    Ok(Exit::Fine)
}

fn or_bad_file<T>(outcome: Result<T, VariantError>) -> Result<T, Failure> {
    outcome
        .context("failed to do that with the weights file")
        .or_usage()
}

fn report(facts: &VariantFacts) -> Report {
    let bytes: u64 = facts.files.iter().map(|file| file.bytes).sum();
    let bits = bytes as f64 * 8.0 / facts.params_total as f64;
    let pruning = serde_json::to_value(facts.pruning.method).unwrap_or(Value::Null);
    let rows = [
        ("sha256", facts.sha256.to_string()),
        ("model", facts.model.to_string()),
        ("architecture", facts.arch.to_string()),
        ("quantisation, by most bytes", facts.quant.to_string()),
        ("file", format!("{bytes} bytes")),
        ("parameters", facts.params_total.to_string()),
        ("bits per weight, by the file", format!("{bits:.2}")),
        (
            "read per token: layers",
            format!("{} bytes", facts.dense_bytes),
        ),
        (
            "read per token: head",
            format!("{} bytes", facts.head_bytes),
        ),
        ("vocabulary", facts.vocab_size.to_string()),
        ("pruning", pruning.as_str().unwrap_or("none").to_owned()),
        (
            "pruned share of the source",
            format!("{:.2} %", f64::from(facts.pruning.ratio_ppm) / 1e4),
        ),
    ];
    Report {
        header: vec!["fact", "value"],
        rows: rows
            .into_iter()
            .map(|(fact, value)| vec![fact.to_owned(), value])
            .collect(),
        json: json!(facts),
        notes: Vec::new(),
    }
}
