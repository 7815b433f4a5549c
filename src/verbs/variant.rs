//! `joulemark variant`: makes weights files and says what they are.

use std::path::PathBuf;

use anyhow::Context as _;
use domain::record::VariantFacts;
use runner::variant::{
    Agreement, Examined, Suspicion, VariantCache, VariantError, VariantSpec, examine, inspect,
};
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
            // A folder's numbers are not read: they are what their type says.
            let examined = (!file.is_dir()).then(|| examine(&file)).transpose();
            let examined = or_bad_file(examined)?;
            report(&facts, examined.as_ref())
                .print(format)
                .or_infrastructure()?;
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

fn report(facts: &VariantFacts, examined: Option<&Examined>) -> Report {
    let bytes: u64 = facts.files.iter().map(|file| file.bytes).sum();
    let bits = bytes as f64 * 8.0 / facts.params_total.max(1) as f64;
    let pruning = serde_json::to_value(facts.pruning.method).unwrap_or(Value::Null);
    let mut rows = vec![
        ("sha256", facts.sha256.to_string()),
        ("model", facts.model.to_string()),
        ("architecture", facts.arch.to_string()),
        ("quantisation, by its types", facts.quant.to_string()),
        ("files", format!("{}, {bytes} bytes", facts.files.len())),
        ("parameters", facts.params_total.to_string()),
        ("parameters used per token", facts.params_active.to_string()),
        ("bits per weight, by the files", format!("{bits:.2}")),
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
    if let Some(recipe) = &facts.pruning.recipe {
        rows.push(("pruning recipe", recipe.to_string()));
    }
    let mut notes = Vec::new();
    let mut json = json!(facts);
    if let Some(examined) = examined {
        rows.extend(examined_rows(facts, examined));
        notes = findings(examined);
        json["examined"] = json!(examined);
    }
    Report {
        header: vec!["fact", "value"],
        rows: rows
            .into_iter()
            .map(|(fact, value)| vec![fact.to_owned(), value])
            .collect(),
        json,
        notes,
    }
}

fn examined_rows(facts: &VariantFacts, examined: &Examined) -> Vec<(&'static str, String)> {
    let all: u64 = facts.types.iter().map(|share| share.bytes).sum();
    let types: Vec<String> = facts
        .types
        .iter()
        .map(|share| {
            let percent = share.bytes as f64 * 100.0 / all.max(1) as f64;
            let tensors = plural(share.tensors, "tensor");
            format!("{} {percent:.1} % of the bytes ({tensors})", share.dtype)
        })
        .collect();
    let unknown = || "not said".to_owned();
    let mut rows = vec![
        (
            "bits per weight, tensors alone",
            format!("{:.2}", examined.tensor_bits_per_weight),
        ),
        ("types", types.join("\n")),
        ("looks like", examined.mix.clone()),
        (
            "longest context",
            examined
                .context_tokens
                .map_or_else(unknown, |tokens| format!("{tokens} tokens")),
        ),
        (
            "chat template",
            if examined.has_chat_template {
                "yes"
            } else {
                "none"
            }
            .to_owned(),
        ),
    ];
    if let Some((total, used)) = examined.experts {
        rows.push(("experts", format!("{total}, {used} of them per token")));
    }
    rows
}

/// What a person should know, a line each.
fn findings(examined: &Examined) -> Vec<String> {
    let mut lines = Vec::new();
    for claim in &examined.claims {
        let (place, says, mix) = (claim.place, claim.says, &examined.mix);
        lines.push(match claim.agreement {
            Agreement::Same => format!("  ok  the {place} says {says}, and it is"),
            Agreement::OtherMix => {
                format!("note  the {place} says {says}; by its layers it looks like {mix}")
            }
            Agreement::Other => format!("WARN  the {place} says {says}, but it holds {mix}"),
        });
    }
    lines.extend(examined.requantised.iter().map(requantised));
    if examined.requantised.is_empty() && examined.told_matrices > 0 {
        let matrices = plural(examined.told_matrices, "matrix");
        lines.push(format!(
            "  ok  no trace of a coarser quantisation in {matrices}"
        ));
    } else if examined.told_matrices == 0 {
        lines.push(
            "note  whether it was made from a coarser quantisation cannot be told of its types"
                .to_owned(),
        );
    }
    if let Some(pattern) = examined.zero_pattern {
        let matrices = plural(pattern.matrices, "matrix");
        lines.push(format!(
            "note  pruned {}:{}: so many of each {} weights are kept, in {matrices}",
            pattern.kept, pattern.group, pattern.group
        ));
    }
    // Training leaves next to no exact zero.
    if let Some(share) = examined.zero_share.filter(|share| *share > 0.01) {
        lines.push(format!(
            "note  {:.1} % of the unquantised weights are exactly zero: pruned by magnitude",
            share * 100.0
        ));
    }
    for (words, names) in [
        ("WARN  nothing but zeros", &examined.zero_tensors),
        ("WARN  a number that is not finite", &examined.not_finite),
    ] {
        if !names.is_empty() {
            lines.push(format!("{words} in {}", list(names)));
        }
    }
    for layers in &examined.same_layers {
        let layers: Vec<String> = layers.iter().map(u32::to_string).collect();
        lines.push(format!("note  layers {} are the same", list(&layers)));
    }
    for names in &examined.same_tensors {
        lines.push(format!("note  the same numbers in {}", list(names)));
    }
    if !examined.unread_types.is_empty() {
        lines.push(format!(
            "note  stored as {}, which this program's own engine does not compute with; the numbers in it were not read",
            list(&examined.unread_types)
        ));
    }
    lines
}

fn requantised(found: &Suspicion) -> String {
    let matrices = plural(found.matrices, "matrix");
    let levels = if found.is_even {
        format!("lie on {} levels", found.levels)
    } else {
        format!("take at most {} values", found.levels)
    };
    format!(
        "WARN  likely made from a {}-bit file: in {matrices} of {}, {:.0} % of {} sampled runs of weights {levels}, such as in {}",
        found.bits,
        found.dtype,
        found.share * 100.0,
        found.runs,
        found.example
    )
}

/// The first few of a list.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn plural(count: u32, noun: &str) -> String {
    match (count, noun) {
        (1, noun) => format!("1 {noun}"),
        (count, "matrix") => format!("{count} matrices"),
        (count, noun) => format!("{count} {noun}s"),
    }
}
