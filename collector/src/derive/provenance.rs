//! Where a number comes from, line by line, and the command that measures it again.

use domain::api::ProvenanceLine;
use domain::record::{KvState, PruningMethod, SpeculationMethod};

use super::{CellFacts, DerivedRecord, rfc3339, row};

/// Provenance of a record. A `None` reads "not recorded".
pub(super) fn lines(record: &DerivedRecord) -> Vec<ProvenanceLine> {
    let facts = &record.facts;
    let mut lines = Vec::new();
    let mut line = |label: &str, value: Option<String>| {
        let value = value.filter(|value| !value.is_empty());
        lines.push(ProvenanceLine {
            label: label.to_owned(),
            value,
        });
    };
    suite(facts, &mut line);
    variant(facts, &mut line);
    engine(facts, &mut line);
    machine(facts, &mut line);
    line("Meter", Some(facts.meters.join("; ")));
    line("Warm-up repetitions", Some(facts.warmups.to_string()));
    line(
        "Measured",
        i64::try_from(record.started_ms).ok().map(rfc3339),
    );
    line("Received", Some(rfc3339(record.received.received_ms)));
    line(
        "Runner",
        Some(format!(
            "joulemark {} ({})",
            facts.runner.version, facts.runner.target
        )),
    );
    line("Runner commit", text(facts.runner.commit.as_ref()));
    line("Runner SHA-256", text(facts.runner.binary_sha256.as_ref()));
    line("Sweep", Some(facts.sweep.to_string()));
    line("Key", Some(record.received.key_id.to_string()));
    line("Record", Some(record.received.content_id.to_string()));
    lines
}

fn suite(facts: &CellFacts, line: &mut impl FnMut(&str, Option<String>)) {
    line(
        "Suite",
        facts.suite.as_ref().map(|suite| suite.version.to_string()),
    );
    line(
        "Suite digest",
        facts.suite.as_ref().map(|suite| suite.digest.to_string()),
    );
    line(
        "Suite seed",
        facts.suite.as_ref().map(|suite| suite.seed.to_string()),
    );
    let workload = &facts.workload;
    let state = match workload.kv_state {
        KvState::Cold => "cold cache",
        KvState::WarmPrefix => "context cached before",
        KvState::ExactHit => "whole prompt cached before",
    };
    line(
        "Workload",
        Some(format!(
            "{}: {} prompt tokens, {} output tokens, depth {}, {} at once, {state}",
            workload.id,
            workload.prompt_tokens,
            workload.output_tokens,
            workload.depth_tokens,
            workload.concurrency
        )),
    );
    line("Prompt SHA-256", text(workload.prompt_sha256.as_ref()));
}

fn variant(facts: &CellFacts, line: &mut impl FnMut(&str, Option<String>)) {
    let variant = &facts.variant;
    let pruning = &variant.pruning;
    line("Source", text(variant.repo.as_ref()));
    line("Source revision", text(variant.revision.as_ref()));
    line("File", text(variant.path.as_ref()));
    line("Weights SHA-256", Some(variant.sha256.to_string()));
    line("Tokenizer SHA-256", text(variant.tokenizer_sha256.as_ref()));
    line("Architecture", Some(variant.arch.to_string()));
    line("Quantisation", Some(variant.quant.to_string()));
    line(
        "Pruning",
        Some(match pruning.method {
            PruningMethod::None => "none".to_owned(),
            method => {
                let percent = f64::from(pruning.ratio_ppm) / 1e4;
                format!(
                    "{}, {percent:.1} % of the parameters",
                    row::pruning_word(method)
                )
            }
        }),
    );
    line("Pruned from SHA-256", text(pruning.source_sha256.as_ref()));
}

fn engine(facts: &CellFacts, line: &mut impl FnMut(&str, Option<String>)) {
    let engine = &facts.engine;
    let settings = &facts.settings;
    let joined = |names: &[domain::text::Name]| {
        names
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    line(
        "Engine",
        Some(format!(
            "{} {}, {}",
            engine.name, engine.version, engine.backend
        )),
    );
    line("Engine commit", text(engine.commit.as_ref()));
    line("Build flags", Some(joined(&engine.build_flags)));
    line("Arguments", Some(joined(&engine.args)));
    line("Engine SHA-256", text(engine.binary_sha256.as_ref()));
    let cache = settings.kv_type_k.as_ref().zip(settings.kv_type_v.as_ref());
    line("KV cache types", cache.map(|(k, v)| format!("{k}, {v}")));
    line(
        "Flash attention",
        settings
            .flash_attention
            .map(|on| if on { "on" } else { "off" }.to_owned()),
    );
    let speculation = match settings.speculation.method {
        SpeculationMethod::None => "none",
        SpeculationMethod::Draft => "draft model",
        SpeculationMethod::Mtp => "own heads",
        SpeculationMethod::Eagle => "EAGLE",
        SpeculationMethod::Ngram => "n-grams",
    };
    line("Speculation", Some(speculation.to_owned()));
}

fn machine(facts: &CellFacts, line: &mut impl FnMut(&str, Option<String>)) {
    for host in &facts.hosts {
        line("Processor", text(host.chip.as_ref()));
        line("Cores used", Some(host.cpu_cores.to_string()));
        let gigabytes = host.memory_bytes as f64 / f64::from(1u32 << 30);
        line("Memory", Some(format!("{gigabytes:.1} GiB")));
        let kind = match (host.is_virtual, host.container) {
            (Some(true), Some(true)) => Some("virtual machine, container"),
            (Some(true), _) => Some("virtual machine"),
            (_, Some(true)) => Some("container"),
            (Some(false), _) => Some("physical"),
            _ => None,
        };
        line("Machine", kind.map(str::to_owned));
        let system = match &host.os_version {
            Some(version) => format!("{} {version}", host.os),
            None => host.os.to_string(),
        };
        line("Operating system", Some(system));
        line("Kernel", text(host.kernel.as_ref()));
        for gpu in host.gpus.iter().filter(|gpu| gpu.used) {
            line("GPU", Some(gpu.name.to_string()));
            line("GPU driver", text(gpu.driver.as_ref()));
            line(
                "GPU power limit",
                gpu.power_limit_mw
                    .map(|mw| format!("{:.0} W", mw as f64 / 1e3)),
            );
        }
        line("Machine fingerprint", Some(host.fingerprint.to_string()));
    }
    let context = facts.context.as_ref();
    line(
        "Governor",
        context.and_then(|context| text(context.governor.as_ref())),
    );
    line(
        "Clock",
        context
            .and_then(|context| context.clock_mhz)
            .map(|mhz| format!("{mhz} MHz")),
    );
    line(
        "Power source",
        context.and_then(|context| text(context.power_source.as_ref())),
    );
}

fn text(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

/// The command that measures the cell again, with the digests to compare in comments.
pub(super) fn command(facts: &CellFacts) -> String {
    let variant = &facts.variant;
    let engine = &facts.engine;
    let suite = facts.suite.as_ref().map_or_else(String::new, |suite| {
        format!("\n# suite {}, seed {}", suite.version, suite.seed)
    });
    format!(
        "joulemark sweep --model {} --quant {} --prune {} --workload {}\n# weights SHA-256 {}\n# engine {} {} {}, {}{suite}",
        quoted(variant.model.as_str()),
        quoted(variant.quant.as_str()),
        quoted(&prune_label(facts)),
        facts.workload.id,
        variant.sha256,
        engine.name,
        engine.version,
        engine.backend,
        match facts.engine_build() {
            build if build.is_empty() => "build not recorded".to_owned(),
            build => format!("build {build}"),
        },
    )
}

/// The matrix's label of a pruning. The removed layers follow from the share that is left; a
/// magnitude is that of the layers' matrices, as the embedding is not pruned.
fn prune_label(facts: &CellFacts) -> String {
    let pruning = &facts.variant.pruning;
    let share = f64::from(pruning.ratio_ppm.min(999_999)) / 1e6;
    match pruning.method {
        PruningMethod::None => "none".to_owned(),
        PruningMethod::Layer => {
            let left: f64 = facts
                .variant
                .kv
                .iter()
                .map(|layer| f64::from(layer.layers))
                .sum();
            format!("layers-{:.0}", (left * share / (1.0 - share)).max(1.0))
        }
        PruningMethod::Unstructured => {
            let (dense, embedding) = (facts.variant.dense_bytes, facts.variant.embedding_bytes);
            let pruned_part = dense as f64 / (dense as f64 + embedding as f64).max(1.0);
            format!(
                "magnitude-{:.0}%",
                (share / pruned_part * 100.0).clamp(1.0, 99.0)
            )
        }
        method => row::pruning_word(method).to_owned(),
    }
}

/// A text as one word of a POSIX shell: names are hostile, and this command is made to be copied.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
