//! The Hugging Face form: read back by the libraries of that world, and served by MLX.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use candle_core::DType;
use domain::record::Finish;
use domain::suite::{self, Suite};
use safetensors::SafeTensors;
use tokenizers::Tokenizer;

use super::*;
use crate::engine::candle::CandleEngine;
use crate::engine::{Engine, GenerateRequest, Needs, Prompt, Sampling};
use crate::gguf::fixture::Fixture;
use crate::variant::{PruneRecipe, Quantisation, VariantCache, VariantSpec};

fn written(fixture: &Fixture) -> (tempfile::TempDir, Gguf, Files) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    fixture.write(&path);
    let mut gguf = Gguf::open(&path).expect("opens");
    let files = files(&mut gguf, &Sha256Digest([7; 32])).expect("written");
    (folder, gguf, files)
}

fn content<'a>(files: &'a Files, name: &str) -> &'a [u8] {
    let found = files.iter().find(|(file, _)| *file == name);
    &found.expect("the file is there").1
}

#[test]
fn a_heads_rotated_pairs_move_half_a_head_apart() {
    let rows: Vec<f32> = (0..8_u8).map(f32::from).collect();
    let tensor = Tensor::from_vec(rows, (8, 1), &Device::Cpu).expect("a matrix");
    let moved: Vec<f32> = by_halves(&tensor, 2, 4)
        .and_then(|tensor| tensor.flatten_all()?.to_vec1())
        .expect("moved");
    let expected = [0, 2, 1, 3, 4, 6, 5, 7].map(|row: u8| f32::from(row));
    assert_eq!(moved, expected);
}

#[test]
fn every_number_of_the_gguf_stands_in_the_safetensors() {
    let fixture = Fixture {
        tied: false,
        ..Fixture::tiny()
    };
    let (_folder, mut gguf, files) = written(&fixture);
    let tensors = SafeTensors::deserialize(content(&files, WEIGHTS)).expect("whole");
    assert_eq!(tensors.len(), gguf.tensors().len());
    for (ours, theirs, moves) in [
        ("blk.0.ffn_down", "model.layers.0.mlp.down_proj", None),
        ("blk.0.attn_v", "model.layers.0.self_attn.v_proj", None),
        ("blk.0.attn_q", "model.layers.0.self_attn.q_proj", Some(4)),
        ("blk.0.attn_k", "model.layers.0.self_attn.k_proj", Some(2)),
        ("output", "lm_head", None),
        ("output_norm", "model.norm", None),
    ] {
        let found = tensors.tensor(&format!("{theirs}.weight")).expect(theirs);
        assert_eq!(found.dtype(), Dtype::F16);
        let tensor = gguf
            .read(&format!("{ours}.weight"))
            .and_then(|tensor| {
                tensor
                    .dequantize(&Device::Cpu)
                    .map_err(|error| gguf.bad_tensor(ours, error.to_string()))
            })
            .expect("values");
        assert_eq!(found.shape(), tensor.dims());
        let tensor = match moves {
            Some(heads) => by_halves(&tensor, heads, 8).expect("moved"),
            None => tensor,
        };
        let expected: Vec<f32> = tensor
            .to_dtype(DType::F16)
            .and_then(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1())
            .expect("values");
        let read = Tensor::from_raw_buffer(found.data(), DType::F16, found.shape(), &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>())
            .expect("values");
        assert_eq!(read, expected, "{ours}");
    }
}

#[test]
fn text_becomes_the_same_tokens_as_in_process_and_comes_back() {
    let (_folder, gguf, files) = written(&Fixture::tiny());
    let theirs = Tokenizer::from_bytes(content(&files, TOKENIZER)).expect("a tokenizer");
    let (ours, begins_with_bos) = tokenizer(&gguf, 288).expect("a vocabulary");
    assert!(begins_with_bos);
    for text in [
        "a:12+34=",
        "two words\n\ttab",
        "na\u{ef}ve \u{1f680} \u{0}\u{ad}",
        "",
    ] {
        let mut expected = vec![ours.bos()];
        expected.extend(ours.encode(text));
        let encoding = theirs.encode(text, true).expect("encodes");
        assert_eq!(encoding.get_ids(), expected, "{text:?}");
        assert_eq!(theirs.decode(&expected, true).expect("decodes"), text);
    }
    assert_eq!(theirs.get_vocab_size(true), 288);
}

#[test]
fn the_same_gguf_gives_the_same_folder_and_a_damaged_one_is_made_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("source.gguf");
    Fixture::tiny().write(&source);
    let spec = VariantSpec {
        source,
        quant: Quantisation::F16,
        prune: PruneRecipe::None,
    };
    let cache = VariantCache::new(folder.path().join("variants"));
    let made = cache.make_huggingface(&spec).expect("made");
    let weights = made.join(WEIGHTS);
    let whole = std::fs::read(&weights).expect("read");
    assert_eq!(cache.make_huggingface(&spec).expect("found"), made);
    let mut damaged = whole.clone();
    damaged[3_000] ^= 1;
    std::fs::write(&weights, damaged).expect("written");
    assert_eq!(cache.make_huggingface(&spec).expect("made"), made);
    assert_eq!(std::fs::read(&weights).expect("read"), whole);
    let elsewhere = VariantCache::new(folder.path().join("elsewhere"));
    let again = elsewhere.make_huggingface(&spec).expect("made");
    assert_eq!(again.file_name(), made.file_name());
    assert_eq!(std::fs::read_dir(&made).expect("a folder").count(), 5);
}

#[test]
fn a_quantised_gguf_has_no_such_form_and_says_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("source.gguf");
    Fixture::tiny().write(&source);
    let spec = VariantSpec {
        source,
        quant: Quantisation::Q8_0,
        prune: PruneRecipe::None,
    };
    let cache = VariantCache::new(folder.path().join("variants"));
    let error = cache
        .make_huggingface(&spec)
        .expect_err("refused")
        .to_string();
    assert!(error.contains("Q8_0") && error.contains("F16"), "{error}");
}

/// `mlx_lm server` on a folder, stopped when dropped.
struct Mlx {
    server: Child,
    url: String,
}

impl Mlx {
    /// `None`, and why, where the tests' real engines are not installed.
    fn start(folder: &Path) -> Option<Self> {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/engines/bin/python");
        if !python.exists() {
            eprintln!("SKIPPED: {} is missing", python.display());
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port()
            .to_string();
        let server = Command::new(python)
            .args([
                "-m",
                "mlx_lm",
                "server",
                "--host",
                "127.0.0.1",
                "--port",
                &port,
            ])
            .arg("--model")
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let url = format!("http://127.0.0.1:{port}");
        Some(Self { server, url })
    }

    async fn ready(&mut self, client: &reqwest::Client) {
        let deadline = Instant::now() + Duration::from_mins(3);
        while client
            .get(format!("{}/health", self.url))
            .send()
            .await
            .is_err()
        {
            let ended = self.server.try_wait().expect("asked");
            assert_eq!(ended, None, "the server ended before it answered");
            assert!(Instant::now() < deadline, "the server does not answer");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Mlx {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn reference_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../reference-models/joulemark-reference-3.5m-f16.gguf")
}

/// MLX computes in F16 and this engine in F32, so two nearly equal logits may change places. Of so many items one may.
const FLIPS: usize = 1;

#[tokio::test]
async fn mlx_gives_the_answers_that_candle_gives() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let spec = VariantSpec {
        source: reference_model(),
        quant: Quantisation::F16,
        prune: PruneRecipe::None,
    };
    let made = VariantCache::new(folder.path())
        .make_huggingface(&spec)
        .expect("made");
    let Some(mut mlx) = Mlx::start(&made) else {
        return;
    };
    let mut candle = CandleEngine::new().expect("a CPU");
    let needs = Needs {
        context_tokens: 64,
        streams: 1,
    };
    candle.load(&spec.source, needs).expect("loads");
    let client = reqwest::Client::new();
    mlx.ready(&client).await;

    let items: Vec<_> = Suite::ReferenceV1
        .plan(30)
        .into_iter()
        .map(|id| suite::item(&Suite::ReferenceV1.public_seed(), id))
        .collect();
    let mut different = Vec::new();
    for item in &items {
        let request = GenerateRequest {
            prompt: Prompt::Text(item.prompt.clone()),
            max_output_tokens: item.answer.len() as u32 + 1,
            ban_eos: false,
            deadline: None,
            sampling: Sampling::Greedy,
            reuse_cache: false,
        };
        let ours = candle.generate(&request, &mut |_| ()).expect("answers");
        let body = json!({
            "prompt": item.prompt,
            "max_tokens": request.max_output_tokens,
            "temperature": 0.0,
        });
        let theirs: Value = client
            .post(format!("{}/v1/completions", mlx.url))
            .json(&body)
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        // One token more than the text has bytes: the begin token.
        let prompt_tokens = &theirs["usage"]["prompt_tokens"];
        assert_eq!(prompt_tokens, item.prompt.len() + 1, "{theirs}");
        let stopped = theirs["choices"][0]["finish_reason"] == "stop";
        let text = theirs["choices"][0]["text"].as_str().expect("a text");
        if (text, stopped) != (ours.text.as_str(), ours.finish == Finish::Stop) {
            different.push((item.prompt.clone(), ours.text, text.to_owned()));
        }
    }
    assert!(different.len() <= FLIPS, "{different:?}");
}
