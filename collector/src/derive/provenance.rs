//! Where a number comes from, line by line, and the command that measures it again.

use domain::api::ProvenanceLine;
use domain::record::{
    Asking, BandwidthPoint, Host, KvState, PruningMethod, SpeculationMethod, TemplateSource,
    Thinking,
};
use domain::statistics::median;

use super::theory::Theory;
use super::{CellFacts, DerivedRecord, cell, rfc3339, row};
use crate::numbers::number;

/// Provenance of a record. A `None` reads "not recorded".
pub(super) fn lines(record: &DerivedRecord, theory: &Theory) -> Vec<ProvenanceLine> {
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
    views(record, &mut line);
    ceilings(facts, theory, &mut line);
    machine(facts, &mut line);
    line("Meter", Some(facts.meters.clone()));
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
    if let Some(asking) = &facts.asking {
        asked(asking, line);
    }
    let workload = &facts.workload;
    let state = match workload.kv_state {
        KvState::Cold => "cold cache",
        KvState::WarmPrefix => "context cached before",
        KvState::ExactHit => "whole prompt cached before",
    };
    let samples = match (workload.samples, &workload.verifier) {
        (0 | 1, _) => String::new(),
        (several, None) => format!(", best of {several}"),
        (several, Some(verifier)) => format!(", best of {several} by {verifier}"),
    };
    line(
        "Workload",
        Some(format!(
            "{}: {} prompt tokens, {} output tokens, depth {}, {} at once, {state}{samples}",
            workload.id,
            workload.prompt_tokens,
            workload.output_tokens,
            workload.depth_tokens,
            workload.concurrency
        )),
    );
    line("Prompt SHA-256", text(workload.prompt_sha256.as_ref()));
}

/// How the suite's items were put to the model.
fn asked(asking: &Asking, line: &mut impl FnMut(&str, Option<String>)) {
    let template = match asking.template {
        TemplateSource::None => "none: items are plain prompts",
        TemplateSource::Model => "that of the weights, applied by the server",
        TemplateSource::Server => "the server's own: the weights have none",
    };
    line("Chat template", Some(template.to_owned()));
    let thinking = match asking.thinking {
        Thinking::None => "none was seen",
        Thinking::Apart => "said apart from the answer by the server",
        Thinking::Tags => "between tags in the text, cut from the answer",
    };
    let most = asking.thinking_tokens;
    line(
        "Thinking",
        Some(format!("{thinking}; at most {most} tokens")),
    );
    let bytes = asking.answer_bytes;
    line(
        "Answers kept",
        Some(format!("up to {bytes} bytes; of a longer one its end")),
    );
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
    line("Pruning recipe", text(pruning.recipe.as_ref()));
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
    let endpoint = engine
        .args
        .iter()
        .find_map(|arg| arg.as_str().strip_prefix("endpoint="));
    line("Endpoint", endpoint.map(str::to_owned));
    let sources: Vec<&str> = facts.token_sources.iter().copied().collect();
    line("Tokens counted by", Some(sources.join("; ")));
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

/// Both clocks of the record: medians over its repetitions.
fn views(record: &DerivedRecord, line: &mut impl FnMut(&str, Option<String>)) {
    let counting = || record.repetitions.iter().filter(|rep| rep.void.is_none());
    let both = |decode: Vec<f64>, prefill: Vec<f64>| {
        let speed = |name: &str, speeds: &[f64]| {
            median(speeds).map(|speed| format!("{name} {} tok/s", number(speed)))
        };
        let parts = [speed("decode", &decode), speed("prefill", &prefill)];
        let words: Vec<String> = parts.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(", "))
    };
    let client = both(
        counting().filter_map(|rep| rep.decode).collect(),
        counting().filter_map(|rep| rep.prefill).collect(),
    );
    let engine = both(
        counting().filter_map(|rep| rep.engine_decode).collect(),
        counting().filter_map(|rep| rep.engine_prefill).collect(),
    );
    let none = || {
        record
            .engine_only
            .then(|| "none: timed by the engine itself".to_owned())
    };
    line("Client's clock", client.or_else(none));
    line("Engine's clock", engine);
}

fn ceilings(facts: &CellFacts, theory: &Theory, line: &mut impl FnMut(&str, Option<String>)) {
    let weights = domain::roofline::active_weight_bytes(&facts.variant, &facts.settings);
    let who = match facts.settings.weight_bytes_per_pass {
        Some(_) => "as the engine says",
        None => "as in the file",
    };
    line(
        "Weights read per pass",
        Some(format!("{} MB, {who}", number(weights / 1e6))),
    );
    let decode = match &theory.decode {
        Ok(ceiling) => format!(
            "{} tok/s: {} GB/s ({}) over {} MB a pass",
            number(ceiling.tokens_per_second),
            number(ceiling.bandwidth.bytes_s / 1e9),
            ceiling.bandwidth.basis.as_str(),
            number(ceiling.bytes_per_pass / 1e6)
        ),
        Err(reason) => format!("none: {reason}"),
    };
    line("Decode ceiling", Some(decode));
    let prefill = match &theory.prefill {
        Ok(ceiling) => format!(
            "{} tok/s: {} TFLOP/s ({}) over {} MFLOP a token",
            number(ceiling.tokens_per_second),
            number(ceiling.flop_s / 1e12),
            ceiling.basis.as_str(),
            number(ceiling.flop_per_token / 1e6)
        ),
        Err(reason) => format!("none: {reason}"),
    };
    line("Prefill ceiling", Some(prefill));
}

/// What the runner's probes found of one machine.
fn probes(host: &Host, line: &mut impl FnMut(&str, Option<String>)) {
    let gigabytes = |bytes_s: u64| number(bytes_s as f64 / 1e9);
    line(
        "Memory bandwidth, probed",
        host.bandwidth_probe_bytes_s
            .map(|bytes_s| format!("{} GB/s", gigabytes(bytes_s))),
    );
    let point = |point: &BandwidthPoint| {
        let size = number(point.working_set_bytes as f64 / f64::from(1u32 << 20));
        format!("{size} MiB: {} GB/s", gigabytes(point.bytes_s))
    };
    let curve: Vec<String> = host.bandwidth_curve.iter().map(point).collect();
    line("Bandwidth by working set", Some(curve.join("; ")));
    line(
        "FP32 arithmetic, probed",
        host.compute_probe_flop_s
            .map(|flop_s| format!("{} GFLOP/s", gigabytes(flop_s))),
    );
}

fn machine(facts: &CellFacts, line: &mut impl FnMut(&str, Option<String>)) {
    let several = facts.hosts.len() > 1;
    if several {
        line("Machines", Some(facts.hosts.len().to_string()));
        line("Interconnect", text(facts.setup.interconnect.as_ref()));
        let split = facts.setup.split.as_ref();
        line(
            "Split",
            split.map(|split| format!("{}: {}", row::split_word(split.method), split.layout)),
        );
    }
    for host in &facts.hosts {
        if several {
            line("Host", Some(host.host.to_string()));
            line("Profile", text(host.profile.as_ref()));
        }
        line("Processor", text(host.chip.as_ref()));
        line("Cores available", Some(host.cpu_cores.to_string()));
        let gibibytes = |bytes: u64| bytes as f64 / f64::from(1u32 << 30);
        let memory = host.memory_bytes.map(gibibytes);
        line("Memory", memory.map(|memory| format!("{memory:.1} GiB")));
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
        probes(host, line);
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
    let (prune, unsaid) = match prune_label(facts) {
        Some(label) => (format!(" --prune {}", quoted(&label)), String::new()),
        None => (
            String::new(),
            format!(
                "\n# add --prune: the record gives {} of {:.4} %, which names no recipe",
                row::pruning_word(variant.pruning.method),
                f64::from(variant.pruning.ratio_ppm) / 1e4
            ),
        ),
    };
    let threads = cell::threads(engine).map_or_else(String::new, |n| format!(" --threads {n}"));
    let suite = facts.suite.as_ref().map_or_else(String::new, |suite| {
        format!("\n# suite {}, seed {}", suite.version, suite.seed)
    });
    format!(
        "joulemark sweep --model {} --quant {}{prune} --engine {} --workload {}{threads}{unsaid}\n# weights SHA-256 {}\n# engine {} {} {}, {}{suite}",
        quoted(variant.model.as_str()),
        quoted(variant.quant.as_str()),
        quoted(engine.name.as_str()),
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

/// The matrix's label of a pruning: the recipe, or where the record has none what it leads to. Only the layers' matrices
/// are pruned, embedding and head stay whole: the share of all parameters is turned into one of
/// the layers, and has to come out as a whole number.
fn prune_label(facts: &CellFacts) -> Option<String> {
    let variant = &facts.variant;
    if let Some(recipe) = &variant.pruning.recipe {
        return Some(recipe.to_string());
    }
    let share = f64::from(variant.pruning.ratio_ppm.min(999_999)) / 1e6;
    let total = variant.params_total as f64;
    match variant.pruning.method {
        PruningMethod::None => Some("none".to_owned()),
        PruningMethod::Layer => {
            let left: f64 = variant.kv.iter().map(|layer| f64::from(layer.layers)).sum();
            let removed = total * share / (1.0 - share);
            let dropped = whole(removed * left / layer_parameters(facts)?, 0.1)?;
            Some(format!("layers-{dropped}"))
        }
        PruningMethod::Unstructured => {
            let percent = whole(100.0 * share * total / layer_parameters(facts)?, 0.25)?;
            (percent < 100).then(|| format!("magnitude-{percent}%"))
        }
        _ => None,
    }
}

/// Parameters of the layers, from their bytes: all matrices have the label's type.
fn layer_parameters(facts: &CellFacts) -> Option<f64> {
    let variant = &facts.variant;
    // Bits of a block over its weights
    // (<https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h>).
    let bits = match variant.quant.as_str() {
        "F32" => 32.0,
        "F16" | "BF16" => 16.0,
        "Q8_0" => 8.5,
        "Q6_K" => 6.5625,
        "Q5_K" => 5.5,
        "Q4_K" | "Q4_0" => 4.5,
        "Q2_K" => 2.625,
        _ => return None,
    };
    let bytes = [
        Some(variant.dense_bytes),
        variant.shared_expert_bytes,
        variant.routed_expert_bytes,
    ];
    let bytes: f64 = bytes
        .into_iter()
        .flatten()
        .map(|bytes: u64| bytes as f64)
        .sum();
    let parameters = bytes * 8.0 / bits;
    (parameters > 0.0 && parameters <= variant.params_total as f64).then_some(parameters)
}

/// The positive whole number that a value is, within a tolerance.
fn whole(value: f64, tolerance: f64) -> Option<u32> {
    let near = value.round();
    ((value - near).abs() <= tolerance && (1.0..=1e6).contains(&near)).then_some(near as u32)
}

/// A text as one word of a POSIX shell: names are hostile, and this command is made to be copied.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('-') {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
