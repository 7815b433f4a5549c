//! Policies: what is absent has its default, percent become shares, mistakes are named.

use super::*;
use crate::ids::Slug;
use proptest::prelude::*;

const GOOD: &str = r#"required = ["speed", "energy", "quality"]
alpha_percent = 4.0
beta_percent = 6
practical_zero_percent = 0.4
budget_minutes = 12
repetitions = 5
slot_seconds = 0.5
cool_down_seconds = 2
slot_limit_seconds = 60
models = ["joulemark-reference-*.gguf"]

[margins]
decode = 2.5
energy = 4

[quality]
suite = "reference-v1"
items = 700
alpha_percent = 2.0
margin_points = 1.5
dnll_nats = 0.003
kld_nats = 0.02

[arms]
kind = "candle"
build = ["cargo build --release"]
run = "target/release/joulemark"
layout_build = ["cargo rustc --release -- -C link-arg=-Wl,--shuffle-sections=*={seed}"]

[[workloads]]
id = "pp64-tg64"
prompt_tokens = 64
output_tokens = 64
metrics = ["decode", "energy"]

[[workloads]]
id = "pp512-tg16"
prompt_tokens = 512
output_tokens = 16

[[waivers]]
cell = "small pp64-tg64"
metric = "decode"
limit_percent = 4.0
reason = "the new sampler, until its kernel lands"
expires = 2026-12-31
"#;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12
}

#[test]
fn every_key_is_read_and_percent_become_shares() {
    let policy = Policy::parse("gate.toml", GOOD).expect("valid");
    assert_eq!(policy.required, [Axis::Speed, Axis::Energy, Axis::Quality]);
    assert!(close(policy.alpha, 0.04) && close(policy.beta, 0.06));
    assert!(close(policy.practical_zero, 0.004));
    assert_eq!(policy.budget_minutes, Some(12.0));
    assert_eq!(policy.repetitions, 5);
    assert!(close(policy.slot_seconds, 0.5) && close(policy.cool_down_seconds, 2.0));
    assert!(close(policy.slot_limit_seconds, 60.0));
    assert_eq!(policy.models, ["joulemark-reference-*.gguf"]);
    assert!(close(policy.tolerance(Metric::Decode), 0.025));
    assert!(close(policy.tolerance(Metric::Energy), 0.04));
    assert!(close(policy.tolerance(Metric::Prefill), 0.02));
    let quality = policy.quality.as_ref().expect("asked for");
    assert_eq!((quality.suite, quality.items), (Suite::ReferenceV1, 700));
    assert!(close(quality.alpha, 0.02) && close(quality.margin, 0.015));
    assert!(close(quality.dnll_nats, 0.003) && close(quality.kld_nats, 0.02));
    let arms = policy.arms.as_ref().expect("asked for");
    assert_eq!(arms.kind, ArmKind::Candle);
    assert_eq!((arms.build.len(), arms.layout_build.len()), (1, 1));
    assert_eq!(arms.run, "target/release/joulemark");
    let [first, second] = &policy.workloads[..] else {
        panic!("two workloads: {:?}", policy.workloads)
    };
    assert_eq!(first.metrics, [Metric::Decode, Metric::Energy]);
    assert_eq!(second.metrics, [Metric::Decode, Metric::Prefill]);
    assert_eq!(second.workload.prompt_tokens, 512);
    let [waiver] = &policy.waivers[..] else {
        panic!("one waiver: {:?}", policy.waivers)
    };
    assert!(close(waiver.limit, 0.04));
    assert_eq!(waiver.expires, jiff::civil::date(2026, 12, 31));
}

#[test]
fn the_empty_policy_is_the_built_in_one() {
    let empty = Policy::parse("gate.toml", "").expect("defaults");
    assert_eq!(
        empty,
        Policy::parse("built-in", BUILT_IN).expect("defaults")
    );
    assert_eq!(empty.required, [Axis::Speed]);
    assert!(close(empty.alpha, 0.05) && close(empty.beta, 0.05));
    assert!(close(empty.practical_zero, 0.005));
    assert_eq!((empty.repetitions, empty.budget_minutes), (3, None));
    assert!(empty.workloads.is_empty() && empty.arms.is_none() && empty.quality.is_none());
    for metric in Metric::ALL {
        assert!(close(empty.tolerance(metric), metric.tolerance()));
    }
}

#[test]
fn where_answers_are_judged_they_are_required() {
    let policy = Policy::parse("gate.toml", "[quality]\n").expect("defaults");
    assert_eq!(policy.required, [Axis::Speed, Axis::Quality]);
    let shown = Policy::parse("gate.toml", "required = [\"speed\"]\n[quality]\n").expect("valid");
    assert_eq!(shown.required, [Axis::Speed]);
    assert!(shown.quality.is_some());
}

/// What is wrong in each line below: text of [`GOOD`], and what stands there instead.
const MISTAKES: &[(&str, &str)] = &[
    ("alpha_percent = 4.0", "alpha_procent = 4.0"),
    ("alpha_percent = 4.0", "alpha_percent = 0"),
    ("alpha_percent = 4.0", "alpha_percent = 50"),
    ("alpha_percent = 4.0", "alpha_percent = nan"),
    ("alpha_percent = 4.0", "alpha_percent = inf"),
    ("alpha_percent = 4.0", "alpha_percent = \"4\""),
    (
        "alpha_percent = 4.0",
        "alpha_percent = 4.0\nalpha_percent = 5.0",
    ),
    ("beta_percent = 6", "beta_percent = -1"),
    (
        "practical_zero_percent = 0.4",
        "practical_zero_percent = 2.0",
    ),
    (
        "practical_zero_percent = 0.4",
        "practical_zero_percent = 3.0",
    ),
    ("budget_minutes = 12", "budget_minutes = 0"),
    ("repetitions = 5", "repetitions = 2"),
    ("repetitions = 5", "repetitions = 3.5"),
    (
        "slot_limit_seconds = 60",
        "slot_limit_seconds = 1\nslot_second = 1",
    ),
    ("slot_seconds = 0.5", "slot_seconds = 60"),
    ("cool_down_seconds = 2", "cool_down_seconds = -0.5"),
    ("joulemark-reference-*.gguf", "../elsewhere.gguf"),
    (
        "[\"joulemark-reference-*.gguf\"]",
        "[\"a.gguf\", \"a.gguf\"]",
    ),
    ("\"energy\", \"quality\"]", "\"speed\"]"),
    ("\"energy\", \"quality\"]", "\"jouls\"]"),
    ("[\"speed\", \"energy\", \"quality\"]", "[]"),
    ("[\"speed\", \"energy\", \"quality\"]", "[\"memory\"]"),
    ("decode = 2.5", "decod = 2.5"),
    ("decode = 2.5", "decode = 0.4"),
    ("decode = 2.5", "decode = 2.5\nttft = 5.0"),
    ("suite = \"reference-v1\"", "suite = \"refrence-v1\""),
    ("items = 700", "items = 0"),
    ("margin_points = 1.5", "margin_points = 0"),
    ("kind = \"candle\"", "kind = \"candel\""),
    ("kind = \"candle\"", "kind = \"server\""),
    ("kind = \"candle\"", "kind = \"command\""),
    ("run = \"target/release/joulemark\"", ""),
    ("run = \"target/release/joulemark\"", "run = \" \""),
    ("*={seed}", "*=1"),
    ("id = \"pp512-tg16\"", "id = \"pp64-tg64\""),
    ("id = \"pp512-tg16\"", "id = \"two words\""),
    ("prompt_tokens = 512", "prompt_tokens = 1"),
    ("output_tokens = 16", "output_tokens = 16\nmetrics = []"),
    (
        "output_tokens = 16",
        "output_tokens = 16\nmetrics = [\"time\"]",
    ),
    ("[\"decode\", \"energy\"]", "[\"decode\", \"decode\"]"),
    ("[\"decode\", \"energy\"]", "[\"decode\"]"),
    ("metric = \"decode\"", "metric = \"ttft\""),
    ("limit_percent = 4.0", "limit_percent = 2.5"),
    ("reason = \"the new sampler, until its kernel lands\"", ""),
    (
        "reason = \"the new sampler, until its kernel lands\"",
        "reason = \"\"",
    ),
    ("expires = 2026-12-31", ""),
    ("expires = 2026-12-31", "expires = 2026-12-31T10:00:00Z"),
    ("expires = 2026-12-31", "expires = \"2026-12-31\""),
    ("[[waivers]]", "[waivers]"),
    ("kld_nats = 0.02", "kld_nats = 0.02\nseed = 1"),
];

#[test]
fn a_mistake_is_named_with_file_line_key_and_what_to_do() {
    let said: Vec<String> = MISTAKES
        .iter()
        .map(|(from, to)| {
            assert!(GOOD.contains(from), "{from}");
            let text = GOOD.replacen(from, to, 1);
            let error = Policy::parse("gate.toml", &text).expect_err(to);
            format!("{}\n  failed to {error}", to.replace('\n', "; "))
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn what_a_record_cannot_hold_is_refused() {
    let long = "#".repeat(super::super::record::MAX_POLICY_BYTES + 1);
    let error = Policy::parse("gate.toml", &long).expect_err("too long");
    assert!(error.what.contains("shorten it"), "{error}");
    let many: Vec<String> = (0..257).map(|at| format!("\"{at}.gguf\"")).collect();
    let error = Policy::parse("gate.toml", &format!("models = [{}]", many.join(",")));
    assert!(error.expect_err("too many").what.contains("more than 256"));
    let builds = vec!["\"true\""; 33].join(",");
    let text = format!("[arms]\nkind = \"command\"\nrun = \"x\"\nbuild = [{builds}]");
    let error = Policy::parse("gate.toml", &text).expect_err("too many");
    assert!(error.what.contains("more than 32"), "{error}");
}

#[test]
fn commands_need_no_workloads_and_may_have_margins_and_waivers() {
    let text = "[arms]\nkind = \"command\"\nrun = \"./bench\"\n[margins]\ntime = 1.0\n\
                [[waivers]]\ncell = \"bench\"\nmetric = \"time\"\nlimit_percent = 3\n\
                reason = \"known\"\nexpires = 2027-01-01\n";
    let policy = Policy::parse("gate.toml", text).expect("valid");
    assert!(close(policy.tolerance(Metric::Time), 0.01));
    assert_eq!(policy.waivers.len(), 1);
}

proptest! {
    #[test]
    fn any_text_ends_in_a_policy_or_an_error(text in ".{0,200}") {
        let _ = Policy::parse("gate.toml", &text);
    }

    #[test]
    fn any_part_of_a_policy_ends_in_a_policy_or_an_error(from in 0..GOOD.len(), to in 0..GOOD.len()) {
        // The text is ASCII: every byte is a character's end.
        if let Ok(policy) = Policy::parse("gate.toml", &GOOD[from.min(to)..from.max(to)]) {
            prop_assert!(policy.alpha > 0.0 && policy.alpha < 0.5);
            for waiver in &policy.waivers {
                prop_assert!(waiver.limit > policy.tolerance(waiver.metric));
            }
        }
    }

    #[test]
    fn any_numbers_end_in_shares_within_their_ranges(alpha: f64, zero: f64, margin: f64) {
        let text = format!(
            "alpha_percent = {alpha:?}\npractical_zero_percent = {zero:?}\n[margins]\ndecode = {margin:?}\n"
        );
        if let Ok(policy) = Policy::parse("gate.toml", &text) {
            prop_assert!(policy.alpha > 0.0 && policy.alpha < 0.5);
            prop_assert!(policy.practical_zero >= 0.0);
            prop_assert!(policy.tolerance(Metric::Decode) > policy.practical_zero);
        }
    }
}

#[test]
fn what_was_typed_takes_the_place_of_models_and_workloads_and_of_nothing_else() {
    let before = Policy::parse("gate.toml", GOOD).expect("valid");
    let slug = Slug::from_text("pp16-tg17").expect("a slug");
    let workload = WorkloadSpec::simple(slug, 16, 17);
    let models = ["other.gguf".to_owned()];
    let both = typed("gate.toml", GOOD, &models, std::slice::from_ref(&workload)).expect("valid");
    assert!(both.starts_with("# Typed in place of the policy's own: models and workloads."));
    let after = Policy::parse("gate.toml", &both).expect("valid");
    assert_eq!(after.models, models);
    assert_eq!(after.workloads.len(), 1);
    assert_eq!(after.workloads[0].workload, workload);
    // All that any of its workloads is gated by: what is required, tolerated and waived stays so.
    let all = [Metric::Decode, Metric::Energy, Metric::Prefill];
    assert_eq!(after.workloads[0].metrics, all);
    let same = Policy {
        models: before.models.clone(),
        workloads: before.workloads.clone(),
        ..after
    };
    assert_eq!(same, before);

    let one = typed("gate.toml", BUILT_IN, &[], &[workload]).expect("valid");
    let policy = Policy::parse("gate.toml", &one).expect("valid");
    assert_eq!(
        policy.workloads[0].metrics,
        [Metric::Decode, Metric::Prefill]
    );
    assert_eq!(typed("gate.toml", GOOD, &[], &[]).expect("valid"), GOOD);
    assert!(typed("gate.toml", GOOD, &["../other.gguf".to_owned()], &[]).is_err());
}
