//! What must be refused is refused over the wire, with the right status, and stores nothing.

use base64::Engine as _;
use domain::record::{PAYLOAD_TYPE, Record};
use serde_json::Value;

use crate::harness::{Installation, Serving, client};
use crate::quickstart::SHORT_MATRIX;

/// Measures one short cell; its envelope is in the spool, its key is allowed.
pub(crate) fn one_honest_record(installation: &Installation) -> Record {
    let matrix = installation.file("one.toml", SHORT_MATRIX);
    let matrix = matrix.to_str().expect("text");
    installation.run_fine(&[
        "sweep", "--matrix", matrix, "--quant", "Q4_K", "--prune", "none",
    ]);
    installation.allow_own_key();
    let spooled = only_spooled(installation);
    let envelope: Value = serde_json::from_slice(&spooled).expect("an envelope");
    let payload = base64::engine::general_purpose::STANDARD
        .decode(envelope["payload"].as_str().expect("a payload"))
        .expect("base64");
    serde_json::from_slice(&payload).expect("a record")
}

/// Seals copies of `record` that differ in their sweep, with the installation's own key.
pub(crate) fn sealed_variations(installation: &Installation, record: &Record, count: usize) {
    let spool = runner::spool::Spool::open(&installation.data().join("spool")).expect("a spool");
    let key =
        runner::keys::RunnerKey::load(&installation.data().join("keys/runner.pem")).expect("a key");
    for number in 0..count {
        let mut copy = record.clone();
        copy.sweep = domain::ids::Sha256Digest::of(&number.to_le_bytes());
        spool
            .put(&runner::seal::seal(&copy, &key).expect("a record"))
            .expect("room");
    }
}

/// The envelope of any payload, signed with the installation's own key.
fn seal(installation: &Installation, payload: &[u8]) -> Vec<u8> {
    use ed25519_dalek::pkcs8::DecodePrivateKey as _;
    let pem = std::fs::read_to_string(installation.data().join("keys/runner.pem")).expect("a key");
    let key = ed25519_dalek::SigningKey::from_pkcs8_pem(&pem).expect("an ed25519 key");
    let (_, envelope) = domain::envelope::sign(PAYLOAD_TYPE, payload, &key);
    serde_json::to_vec(&envelope).expect("JSON")
}

fn only_spooled(installation: &Installation) -> Vec<u8> {
    let folder = installation.data().join("spool/new");
    let entry = std::fs::read_dir(&folder)
        .expect("a spool")
        .next()
        .expect("one envelope")
        .expect("an entry");
    std::fs::read(entry.path()).expect("readable")
}

#[test]
fn hostile_submissions_store_nothing() {
    let installation = Installation::fresh();
    let record = one_honest_record(&installation);
    let honest = only_spooled(&installation);
    let serving = installation.serve(&["serve", "--listen", "127.0.0.1:0"]);

    let resealed = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::to_value(&record).expect("JSON");
        change(&mut value);
        seal(&installation, &serde_json::to_vec(&value).expect("JSON"))
    };
    let envelope = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&honest).expect("JSON");
        change(&mut value);
        serde_json::to_vec(&value).expect("JSON")
    };
    let other_key = Installation::fresh();
    other_key.run_fine(&["key", "new"]);
    let payload = serde_json::to_vec(&record).expect("JSON");

    let cases: Vec<(&str, u16, Vec<u8>)> = vec![
        (
            "a tampered payload",
            401,
            envelope(&|e| {
                let tampered = e["payload"].as_str().expect("text").replacen('A', "B", 1);
                e["payload"] = tampered.into();
            }),
        ),
        (
            "a flipped signature bit",
            401,
            envelope(&|e| {
                let sig = e["signatures"][0]["sig"].as_str().expect("text");
                let flipped = if sig.starts_with('A') { "B" } else { "A" };
                e["signatures"][0]["sig"] = format!("{flipped}{}", &sig[1..]).into();
            }),
        ),
        ("an unknown key", 401, seal(&other_key, &payload)),
        (
            "an unknown field",
            422,
            resealed(&|r| r["decode_tokens_per_second"] = 1_000_000.into()),
        ),
        (
            "a missing field",
            422,
            resealed(&|r| {
                r.as_object_mut()
                    .expect("an object")
                    .shift_remove("challenge");
            }),
        ),
        (
            "a NUL in a name",
            422,
            resealed(&|r| r["variant"]["model"] = "evil\0name".into()),
        ),
        (
            "a bidi override in a name",
            422,
            resealed(&|r| r["variant"]["model"] = "a\u{202e}b".into()),
        ),
        (
            "another collector's audience",
            403,
            resealed(&|r| r["audience"] = "00".repeat(32).into()),
        ),
        ("not JSON", 400, b"hello".to_vec()),
        ("a body of 12 MB", 413, vec![b' '; 12_000_000]),
    ];
    for (case, status, body) in cases {
        let response = serving.post(body);
        assert_eq!(response.status().as_u16(), status, "{case}");
        let kind = response.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(
            kind.starts_with("application/problem+json"),
            "{case}: {kind}"
        );
        let problem: Value = response.json().expect("a problem");
        assert!(
            problem["code"].is_string() && problem["detail"].is_string(),
            "{case}: {problem}"
        );
        assert_eq!(serving.stored(), 0, "{case} stored something");
    }
    compressed_bodies_are_refused(&serving, &honest);
    a_replay_gets_the_stored_answer(&serving, &honest);
}

fn compressed_bodies_are_refused(serving: &Serving, honest: &[u8]) {
    let response = client()
        .post(format!("{}/api/v1/records", serving.url))
        .header("content-type", "application/vnd.dsse+json")
        .header("content-encoding", "gzip")
        .body(honest.to_vec())
        .send()
        .expect("an answer");
    assert_eq!(response.status(), 415);
    assert_eq!(serving.stored(), 0);
}

fn a_replay_gets_the_stored_answer(serving: &Serving, honest: &[u8]) {
    let first = serving.post(honest.to_vec());
    assert_eq!(first.status(), 201);
    let first: Value = first.json().expect("a receipt");
    let again = serving.post(honest.to_vec());
    assert_eq!(again.status(), 200);
    assert_eq!(again.json::<Value>().expect("a receipt"), first);
    assert_eq!(serving.stored_once(1), 1);
}
