//! Another tool's file, through the whole program: read, redacted, signed, submitted, shown apart.

use serde_json::Value;

use crate::harness::Installation;

/// As `llama-bench -o jsonl` writes it, with a command line that nobody should keep.
const LLAMA_BENCH: &str = r#"{"build_commit": "b6865", "build_number": 6865, "cpu_info": "CPU", "gpu_info": "Sample GPU", "backends": "ROCm", "model_filename": "/home/somebody/models/sample-8b-q4_k_m.gguf", "model_type": "llama 8B Q4_K - Medium", "model_size": 4920000000, "model_n_params": 8030000000, "n_batch": 2048, "n_ubatch": 512, "n_threads": 8, "type_k": "f16", "type_v": "f16", "n_gpu_layers": 99, "flash_attn": true, "n_prompt": 0, "n_gen": 128, "n_depth": 0, "test_time": "2025-10-29T10:00:00Z", "avg_ns": 2000000000, "stddev_ns": 0, "avg_ts": 64.0, "stddev_ts": 0.0, "samples_ns": [2000000000], "samples_ts": [64.0], "cmd": "llama-bench -m x --api-key sk-verysecretverysecretverysecret"}
"#;

#[test]
fn a_foreign_file_is_shown_apart_with_its_signed_bytes_and_without_its_secrets() {
    let installation = Installation::fresh();
    let file = installation.file("bench.jsonl", LLAMA_BENCH);
    let unread = installation.file("notes.json", "{\"hello\": 1}");
    let (file, unread) = (file.to_str().expect("text"), unread.to_str().expect("text"));
    installation.allow_own_key();
    let serving = installation.serve(&["serve", "--listen", "127.0.0.1:0"]);

    let ended = installation.run(&[
        "import",
        "--format",
        "json",
        "--collector",
        &serving.url,
        "--source",
        "https://example.org/post",
        file,
        unread,
    ]);
    let (said, printed) = (text(&ended.stderr), text(&ended.stdout));
    assert_eq!(
        ended.status.code(),
        Some(2),
        "one file was not read: {said}"
    );
    assert!(said.contains("notes.json"), "{said}");
    assert!(!printed.contains("sk-very") && !printed.contains("somebody"));
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    let row = &printed["files"][0]["rows"][0];
    assert_eq!(row["decode_tokens_per_second"], 64.0);

    assert_eq!(serving.stored_once(1), 1);
    let imports = serving.json("/api/v1/imports");
    let row = &imports["rows"][0];
    assert_eq!(row["decode_tokens_per_second"], 64.0);
    assert_eq!(row["source"], "https://example.org/post");
    assert!(row["redactions"].as_u64().expect("counted") > 0);
    let id = row["import"].as_str().expect("an id");

    let kept = serving.page(&format!("/imports/{id}/file"));
    assert!(kept.contains("\"avg_ts\": 64.0"), "{kept}");
    assert!(
        !kept.contains("sk-very") && !kept.contains("somebody"),
        "{kept}"
    );
    let record = serving.json(&format!("/api/v1/records/{id}"));
    assert_eq!(record["signature_valid"], true);
    assert_eq!(record["summary"]["tier"], "imported");

    let frontier = serving.json("/api/v1/frontier");
    assert_eq!(frontier["measured"], 0);
    assert!(frontier.get("imported").is_none(), "nobody asked for it");
    let asked = serving.json("/api/v1/frontier?imported=1");
    assert_eq!(asked["imported"][0]["import"]["test"], row["test"]);
    assert!(asked["rows"].as_array().expect("rows").is_empty());
    assert!(serving.page("/imports").contains("Sample GPU"));

    // The same file again is another envelope, and no other result.
    let again = [
        "import",
        "--collector",
        &serving.url,
        "--source",
        "https://example.org/post",
        file,
    ];
    installation.run_fine(&again);
    assert_eq!(serving.stored_once(2), 2);
    let rows = &serving.json("/api/v1/imports")["rows"];
    assert_eq!(rows.as_array().expect("rows").len(), 1);

    let told = [
        "import",
        "--dry-run",
        "--source",
        "https://bob:word@example.org/x",
        file,
    ];
    let refused = installation.run(&told);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
