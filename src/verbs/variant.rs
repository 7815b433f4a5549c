//! `joulemark variant`: makes weights files and says what they are.

use std::path::PathBuf;

use anyhow::Context as _;
use domain::record::{PruningMethod, VariantFacts};
use runner::variant::{
    Agreement, Examined, SaidPruning, Suspicion, VariantCache, VariantError, VariantSpec, examine,
    inspect,
};
use serde_json::json;

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
        (
            "pruning, as it says of itself",
            method(facts.pruning.method),
        ),
    ];
    if facts.pruning.method != PruningMethod::None || facts.pruning.ratio_ppm > 0 {
        rows.push((
            "pruned share, as it says",
            format!("{:.2} %", f64::from(facts.pruning.ratio_ppm) / 1e4),
        ));
    }
    if let Some(recipe) = &facts.pruning.recipe {
        rows.push(("recipe, as it says", recipe.to_string()));
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
            "bits per weight, tensors",
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
    lines.extend(
        examined
            .pruning
            .as_ref()
            .and_then(|said| pruning(said, examined)),
    );
    if let Some(pattern) = examined.zero_pattern {
        let matrices = plural(pattern.matrices, "matrix");
        lines.push(format!(
            "note  pruned {}:{}: so many of each {} weights are kept, in {matrices}",
            pattern.kept, pattern.group, pattern.group
        ));
    }
    lines.extend(plain_zeros(examined));
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
    lines.iter().map(|line| wrapped(line)).collect()
}

/// A finding in lines of at most [`COLUMNS`], those after the first below its words.
fn wrapped(finding: &str) -> String {
    const INDENT: &str = "\n      ";
    let mut text = String::new();
    let mut column = 0;
    // The word that opens a finding is set apart by spaces.
    for word in finding.split_inclusive(' ') {
        let width = word.trim_end().chars().count();
        if column + width > COLUMNS && column > 0 {
            text.truncate(text.trim_end().len());
            text.push_str(INDENT);
            column = INDENT.len() - 1;
        }
        text.push_str(word);
        column += word.chars().count();
    }
    text
}

/// Columns that a finding takes at most.
const COLUMNS: usize = 100;

/// What the file says of its pruning, held against the zeros in it.
fn pruning(said: &SaidPruning, examined: &Examined) -> Option<String> {
    let percent = said.share * 100.0;
    if said.contradicts_itself {
        let method = method(said.method);
        let recipe = said.recipe.as_deref().unwrap_or("not said");
        return Some(format!(
            "WARN  says of itself that {percent:.1} % were pruned, by method {method}, recipe {recipe}: that does not fit together"
        ));
    }
    let zeroed = said.zeroed?;
    let zeros = zeroed.share * 100.0;
    Some(if zeroed.share + ROUNDED >= said.share {
        format!("  ok  says {percent:.1} % were zeroed; {zeros:.1} % are zero")
    } else if zeroed.has_types_without_zero {
        let mix = &examined.mix;
        format!(
            "note  says {percent:.1} % were zeroed; {zeros:.1} % are zero now: quantising to {mix} moved them"
        )
    } else {
        format!("WARN  says {percent:.1} % were zeroed, but {zeros:.1} % are zero")
    })
}

/// A difference between shares that comes of rounding.
const ROUNDED: f64 = 1e-4;

/// Where so many exact zeros may come from; training leaves next to none.
fn plain_zeros(examined: &Examined) -> Option<String> {
    let share = examined.zero_share.filter(|share| *share > 0.01)?;
    let is_told = examined
        .pruning
        .as_ref()
        .is_some_and(|said| said.zeroed.is_some());
    if is_told || examined.zero_pattern.is_some() {
        return None;
    }
    let zeros = format!(
        "note  {:.1} % of the unquantised weights are exactly zero",
        share * 100.0
    );
    Some(if examined.requantised.is_empty() {
        format!("{zeros}: pruned by magnitude")
    } else {
        format!("{zeros}, as such a grid makes them")
    })
}

/// A method's word, as in records.
fn method(method: PruningMethod) -> String {
    let word = serde_json::to_value(method).unwrap_or_default();
    word.as_str().unwrap_or("none").to_owned()
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

#[cfg(test)]
mod tests {
    use runner::variant::Zeroed;

    use super::*;

    fn examined() -> Examined {
        Examined {
            tensors: 1,
            files: 1,
            file_bits_per_weight: 16.0,
            tensor_bits_per_weight: 16.0,
            mix: "Q4_K_M".to_owned(),
            claims: Vec::new(),
            unread_types: Vec::new(),
            context_tokens: None,
            has_chat_template: false,
            experts: None,
            requantised: Vec::new(),
            told_matrices: 1,
            pruning: None,
            zero_share: None,
            zero_pattern: None,
            zero_tensors: Vec::new(),
            not_finite: Vec::new(),
            same_layers: Vec::new(),
            same_tensors: Vec::new(),
        }
    }

    fn coarse() -> Suspicion {
        Suspicion {
            dtype: "F16".to_owned(),
            bits: 4,
            levels: 16,
            is_even: true,
            matrices: 29,
            share: 0.999,
            runs: 14_848,
            example: "blk.0.attn_k.weight".to_owned(),
        }
    }

    fn said(share: f64, zeros: f64, has_types_without_zero: bool) -> SaidPruning {
        SaidPruning {
            method: PruningMethod::Unstructured,
            recipe: Some("magnitude-50%".to_owned()),
            share,
            contradicts_itself: false,
            zeroed: Some(Zeroed {
                share: zeros,
                has_types_without_zero,
            }),
        }
    }

    #[test]
    fn zeros_of_a_coarser_grid_are_not_called_pruned() {
        let mut examined = examined();
        examined.zero_share = Some(0.125);
        let plain = findings(&examined).join("\n");
        assert!(plain.contains("12.5 %") && plain.contains("pruned by magnitude"));
        examined.requantised = vec![coarse()];
        let found = findings(&examined).join("\n");
        assert!(
            found.contains("exactly zero, as such a grid makes them"),
            "{found}"
        );
        assert!(!found.contains("pruned"), "{found}");
    }

    #[test]
    fn what_is_said_of_pruning_stands_beside_the_zeros_found() {
        let examined = examined();
        let line = |said: SaidPruning| pruning(&said, &examined).expect("a finding");
        assert_eq!(
            line(said(0.4891, 0.0064, true)),
            "note  says 48.9 % were zeroed; 0.6 % are zero now: quantising to Q4_K_M moved them"
        );
        assert!(line(said(0.4891, 0.4891, false)).starts_with("  ok  "));
        assert!(
            line(said(0.4891, 0.55, false)).starts_with("  ok  "),
            "rounding adds zeros"
        );
        assert!(line(said(0.4891, 0.0, false)).starts_with("WARN  "));
        let odd = SaidPruning {
            method: PruningMethod::Head,
            share: 0.0,
            contradicts_itself: true,
            zeroed: None,
            ..said(0.0, 0.0, false)
        };
        let odd = line(odd);
        assert!(
            odd.starts_with("WARN  says of itself") && odd.contains("head") && odd.contains("50%"),
            "{odd}"
        );
    }

    #[test]
    fn findings_keep_to_a_terminals_width() {
        let mut examined = examined();
        examined.requantised = vec![coarse()];
        examined.unread_types = vec!["IQ2_XXS".to_owned(), "IQ3_S".to_owned()];
        examined.zero_tensors = vec!["blk.0.ffn_gate_inp.weight".to_owned(); 9];
        examined.same_tensors = vec![vec!["blk.0.ffn_gate_inp.weight".to_owned(); 9]];
        examined.pruning = Some(SaidPruning {
            contradicts_itself: true,
            ..said(0.5, 0.0, true)
        });
        let text = findings(&examined).join("\n");
        assert!(text.lines().count() > examined.claims.len() + 6, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
            assert!(line.trim_end() == line, "{line:?}");
        }
        assert_eq!(wrapped("  ok  short"), "  ok  short");
        let long = wrapped(&format!("note  {}", "word ".repeat(40)));
        assert!(
            long.lines()
                .skip(1)
                .all(|line| line.starts_with("      word"))
        );
    }
}
