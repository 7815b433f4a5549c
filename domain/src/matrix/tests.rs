//! Matrices: mistakes are named, rules keep what they say.

use super::*;
use proptest::prelude::*;

const GOOD: &str = r#"
quantisations = ["F16", "Q8_0", "Q4_K"]
pruning = ["none", "layers-1"]

[[models]]
name = "small"
path = "small-f16.gguf"

[[models]]
name = "large"
path = "large-f16.gguf"

[[workloads]]
id = "pp128-tg64"
prompt_tokens = 128
output_tokens = 64

[[include]]
pruning = ["none"]

[[include]]
model = ["large"]
quantisation = ["F16"]

[[exclude]]
model = ["sm*"]
quantisation = ["Q4_K"]

[repetitions]
min_seconds = 0.25
"#;

fn error_of(from: &str, to: &str) -> MatrixError {
    assert!(GOOD.contains(from), "{from}");
    let text = GOOD.replacen(from, to, 1);
    match Matrix::parse("m.toml", &text) {
        Err(error) => error,
        Ok(matrix) => matrix.expand(&[]).expect_err("a mistake"),
    }
}

#[test]
fn rules_keep_and_remove_cells() {
    let matrix = Matrix::parse("m.toml", GOOD).expect("valid");
    let labels: Vec<_> = matrix
        .expand(&[])
        .expect("cells")
        .iter()
        .map(MatrixCell::label)
        .collect();
    assert_eq!(
        labels,
        [
            "small F16 pp128-tg64",
            "small Q8_0 pp128-tg64",
            "large F16 pp128-tg64",
            "large F16 layers-1 pp128-tg64",
            "large Q8_0 pp128-tg64",
            "large Q4_K pp128-tg64",
        ]
    );
    assert!((matrix.repetitions.min_seconds - 0.25).abs() < 1e-9);
}

#[test]
fn a_mistake_is_named_with_file_line_key_and_a_suggestion() {
    for (from, to, line, key, what) in [
        (
            "\"Q8_0\"",
            "\"Q8-0\"",
            2,
            "quantisations",
            "Did you mean \"Q8_0\"?",
        ),
        ("\"layers-1\"", "\"layer-1\"", 3, "pruning", "magnitude-P%"),
        (
            "prompt_tokens = 128",
            "promt_tokens = 128",
            15,
            "[[workloads]] promt_tokens",
            "did you mean `prompt_tokens`?",
        ),
        (
            "output_tokens = 64",
            "output_tokens = 99999",
            16,
            "[[workloads]] output_tokens",
            "outside 2 to 4096",
        ),
        (
            "output_tokens = 64",
            "output_tokens = \"64\"",
            16,
            "[[workloads]] output_tokens",
            "expected",
        ),
        (
            "model = [\"large\"]",
            "model = [\"larg\"]",
            22,
            "[[include]] model",
            "Did you mean \"large\"?",
        ),
        (
            "min_seconds = 0.25",
            "min_seconds = -1",
            30,
            "[repetitions] min_seconds",
            "outside 0.05 to 60",
        ),
        (
            "min_seconds = 0.25",
            "min_seconds = nan",
            30,
            "[repetitions] min_seconds",
            "outside",
        ),
        (
            "\"small-f16.gguf\"",
            "\"../small.gguf\"",
            7,
            "[[models]] path",
            "models folder",
        ),
        (
            "name = \"large\"",
            "name = \"small\"",
            9,
            "[[models]] name",
            "already",
        ),
        (
            "id = \"pp128-tg64\"",
            "id = \"PP 128\"",
            14,
            "[[workloads]] id",
            "slug",
        ),
    ] {
        let error = error_of(from, to);
        assert_eq!(
            (error.file.as_str(), error.line, error.key.as_str()),
            ("m.toml", line, key),
            "{error}"
        );
        assert!(error.what.contains(what), "{error}");
    }
}

#[test]
fn a_rule_that_fits_nothing_is_refused() {
    let error = error_of(
        "model = [\"sm*\"]\n",
        "model = [\"small\"]\npruning = [\"none\"]\nworkload = [\"pp1\"]\n",
    );
    assert_eq!(error.key, "[[exclude]] workload", "{error}");
    let error = error_of(
        "[[exclude]]",
        "[[exclude]]\n[[exclude]]\nmodel = [\"x\"]\n[[exclude]]",
    );
    assert!(error.what.contains("unknown"), "{error}");
}

#[test]
fn a_pattern_takes_every_fitting_file_by_its_own_name() {
    let text = GOOD.replace(
        "name = \"large\"\npath = \"large-f16.gguf\"",
        "path = \"large*.gguf\"",
    );
    let matrix = Matrix::parse("m.toml", &text).expect("valid");
    let files = [
        "large-f16.gguf".to_owned(),
        "large.txt".to_owned(),
        "other.gguf".to_owned(),
    ];
    let cells = matrix.expand(&files).expect("cells");
    assert!(
        cells
            .iter()
            .any(|cell| cell.model == "large" && cell.file == "large-f16.gguf")
    );
    assert!(matrix.expand(&[]).is_err(), "nothing fits the pattern");
}

#[test]
fn the_digest_is_that_of_the_meaning() {
    let digest = |text: &str| {
        let matrix = Matrix::parse("m.toml", text).expect("valid");
        matrix.digest(&matrix.expand(&[]).expect("cells"))
    };
    assert_eq!(
        digest(GOOD),
        digest(&GOOD.replace("\n\n", "\n# a comment\n\n"))
    );
    assert_ne!(digest(GOOD), digest(&GOOD.replace("0.25", "0.5")));
}

#[test]
fn a_filter_picks_cells_and_refuses_unknown_values() {
    let cells = Matrix::parse("m.toml", GOOD)
        .expect("valid")
        .expand(&[])
        .expect("cells");
    let picked = CellFilter {
        pruning: vec!["layers-1".to_owned()],
        ..CellFilter::default()
    };
    assert_eq!(picked.pick(cells.clone()).map(|kept| kept.len()), Ok(1));
    let wrong = CellFilter {
        models: vec!["lagre".to_owned()],
        ..CellFilter::default()
    };
    assert!(
        wrong
            .pick(cells)
            .expect_err("unknown")
            .contains("Did you mean \"large\"?")
    );
}

#[test]
fn the_shipped_matrix_is_valid() {
    let text = include_str!("../../../model-matrix.toml");
    let matrix = Matrix::parse("model-matrix.toml", text).unwrap_or_else(|error| panic!("{error}"));
    let cells = matrix.expand(&[]).unwrap_or_else(|error| panic!("{error}"));
    assert!(cells.iter().any(|cell| cell.pruning != PruneRecipe::None));
}

proptest! {
    #[test]
    fn any_text_ends_in_an_answer(text in any::<String>()) {
        prop_assert!(Matrix::parse("m.toml", &text).is_err());
    }

    #[test]
    fn any_broken_line_ends_in_an_answer(line in 0_usize..40, with in "[ -~]{0,40}") {
        let text: Vec<_> = GOOD.lines().enumerate().map(|(i, old)| if i == line { with.as_str() } else { old }).collect();
        if let Ok(matrix) = Matrix::parse("m.toml", &text.join("\n")) {
            let _ = matrix.expand(&["small-f16.gguf".to_owned()]);
        }
    }
}

const ENGINES: &str = r#"
quantisations = ["F16", "Q8_0"]

[[models]]
name = "small"
path = "small-f16.gguf"

[[engines]]
name = "candle"
kind = "candle"

[[engines]]
name = "llama.cpp"
kind = "openai"
command = ["llama-server", "-m", "{weights}", "--port", "{port}"]

[[engines]]
name = "spark"
kind = "openai"
url = "http://127.0.0.1:8000/v1/"

[[workloads]]
id = "pp128-tg64"
prompt_tokens = 128
output_tokens = 64

[[workloads]]
id = "warm"
prompt_tokens = 128
output_tokens = 64
depth_tokens = 512
kv_state = "warm_prefix"

[[include]]
engine = ["candle", "llama.cpp"]
workload = ["pp128-tg64"]

[[include]]
engine = ["spark"]
quantisation = ["Q8_0"]
"#;

fn engines_error(from: &str, to: &str) -> MatrixError {
    assert!(ENGINES.contains(from), "{from}");
    let text = ENGINES.replacen(from, to, 1);
    match Matrix::parse("m.toml", &text) {
        Err(error) => error,
        Ok(matrix) => matrix.expand(&[]).expect_err("a mistake"),
    }
}

#[test]
fn engines_are_an_axis_and_named_unless_they_are_our_own() {
    let matrix = Matrix::parse("m.toml", ENGINES).unwrap_or_else(|error| panic!("{error}"));
    let cells = matrix.expand(&[]).unwrap_or_else(|error| panic!("{error}"));
    let labels: Vec<_> = cells.iter().map(MatrixCell::label).collect();
    assert_eq!(
        labels,
        [
            "small F16 pp128-tg64",
            "small F16 pp128-tg64 on llama.cpp",
            "small Q8_0 pp128-tg64",
            "small Q8_0 pp128-tg64 on llama.cpp",
            "small Q8_0 pp128-tg64 on spark",
            "small Q8_0 warm on spark",
        ]
    );
    let EngineKind::OpenAi(spark) = &matrix.engines()[2].kind else {
        panic!("a server");
    };
    let url = "http://127.0.0.1:8000".to_owned();
    assert_eq!(spark.server, Server::Running { url });
    let picked = CellFilter {
        engines: vec!["spark".to_owned()],
        ..CellFilter::default()
    };
    assert_eq!(picked.pick(cells).map(|kept| kept.len()), Ok(2));
}

#[test]
fn a_matrix_without_engines_is_measured_by_our_own() {
    let matrix = Matrix::parse("m.toml", GOOD).expect("valid");
    assert_eq!(matrix.engines(), [EngineSpec::candle()]);
}

#[test]
fn mistakes_in_engines_and_workloads_say_what_to_do() {
    for (from, to, line, what) in [
        ("\"{port}\"", "\"8000\"", 15, "{weights} and {port}"),
        ("name = \"spark\"", "name = \"candle\"", 18, "already"),
        ("name = \"spark\"", "name = \"a spark\"", 18, "no name"),
        ("127.0.0.1:8000", "10.0.0.7:8000", 20, "[engines.machines]"),
        (
            "http://127.0.0.1:8000/v1/",
            "127.0.0.1:8000",
            20,
            "write a url",
        ),
        ("http://127", "http://me:secret@127", 20, "without user"),
        (
            "kind = \"candle\"",
            "kind = \"candle\"\nurl = \"http://[::1]:80\"",
            10,
            "url means nothing",
        ),
        ("kind = \"candle\"", "kind = \"candel\"", 10, "candel"),
        ("depth_tokens = 512\n", "", 31, "depth_tokens"),
        (
            "depth_tokens = 512",
            "depth_tokens = 512\nconcurrency = 4",
            33,
            "cold",
        ),
        ("kv_state = \"warm_prefix\"", "samples = 4", 32, "majority"),
        (
            "kv_state = \"warm_prefix\"",
            "samples = 4\nverifier = \"majority\"",
            32,
            "temperature",
        ),
        ("quantisation = [\"Q8_0\"]", "", 1, "one variant"),
    ] {
        let error = engines_error(from, to);
        assert!(error.what.contains(what), "{to}: {error}");
        assert_eq!(error.line, line, "{error}");
    }
}

#[test]
fn the_suite_its_items_and_its_thinking_are_bounded() {
    let parse = |lines: &str| Matrix::parse("m.toml", &format!("{GOOD}[quality]\n{lines}"));
    let asked = parse("suite = \"core-v1\"\nitems = 180\nthinking_tokens = 4096").expect("valid");
    assert_eq!(
        asked.quality,
        QualitySettings {
            suite: Suite::CoreV1,
            items: 180,
            thinking_tokens: 4_096,
            fidelity: true,
        }
    );
    for (lines, line, key, what) in [
        ("suite = \"core-v2\"", 32, "suite", "core-v1"),
        ("suite = \"core-v1\"\nitems = 1001", 33, "items", "1000"),
        (
            "suite = \"core-v1\"\nthinking_tokens = 32769",
            33,
            "thinking_tokens",
            "more than 32768",
        ),
        (
            "suite = \"reference-v1\"\nthinking_tokens = 1",
            33,
            "thinking_tokens",
            "or ask core-v1",
        ),
    ] {
        let error = parse(lines).expect_err(lines);
        assert_eq!(
            (error.line, error.key),
            (line, format!("[quality] {key}")),
            "{}",
            error.what
        );
        assert!(error.what.contains(what), "{}", error.what);
    }
}

#[test]
fn more_answers_than_a_record_holds_are_refused_with_what_would_fit() {
    let sampled = |samples: u32, items: u32| {
        let more = format!(
            "output_tokens = 64\nsamples = {samples}\nverifier = \"majority\"\ntemperature = 0.7"
        );
        let text = GOOD.replacen("output_tokens = 64", &more, 1);
        Matrix::parse("m.toml", &format!("{text}[quality]\nitems = {items}"))
    };
    assert!(sampled(16, 62).is_ok() && sampled(5, 200).is_ok() && sampled(16, 0).is_ok());
    let error = sampled(16, 200).expect_err("3200 answers");
    assert_eq!(
        (error.line, error.key.as_str()),
        (17, "[[workloads]] samples")
    );
    assert!(
        error.what.contains("take 5 samples, or ask 62 items"),
        "{}",
        error.what
    );
    let error = sampled(2, 900).expect_err("1800 answers");
    assert!(
        error.what.ends_with("holds 1000: ask 500 items"),
        "{}",
        error.what
    );
}

#[test]
fn several_machines_say_how_they_share_the_work() {
    let one = "\n[engines.machines]\nhosts = [{ survey = \"spark.json\" }]\n\n[[workloads]]";
    let remote =
        ENGINES
            .replace("127.0.0.1:8000", "10.0.0.7:8000")
            .replacen("\n[[workloads]]", one, 1);
    let matrix = Matrix::parse("m.toml", &remote).unwrap_or_else(|error| panic!("{error}"));
    assert!(matrix.engines()[2].machines.is_some());

    let two = remote.replace("}]", "}, { survey = \"here\" }]");
    let error = Matrix::parse("m.toml", &two).expect_err("unconnected");
    assert!(error.what.contains("interconnect"), "{error}");
    let whole = two.replace(
        "[engines.machines]",
        "[engines.machines]\ninterconnect = \"Thunderbolt 5\"\n\
         split = { method = \"prefill-decode\", layout = \"prefill on host 0, decode on host 1\" }",
    );
    assert!(Matrix::parse("m.toml", &whole).is_ok());
}
