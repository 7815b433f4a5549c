//! Gates through the one door: raw slots in, verdicts recomputed, changes confirmed by nothing else.

use domain::gate::record::{GateRecord, PAYLOAD_TYPE as GATE};
use domain::gate::{Arm, Verdict};
use domain::history::{ChangeState, GateAnswer, GatesAnswer, RegressionsAnswer, SeriesAnswer};
use domain::ids::Sha256Digest;

use super::*;
use crate::fixtures::{at_commit, gate_of, slowed};

const DAY_MS: u64 = 86_400_000;

/// What makes a gate contradict itself.
type Spoil = fn(&mut GateRecord);

fn envelope_of(gate: &GateRecord) -> Vec<u8> {
    let payload = serde_json::to_vec(gate).expect("a gate is JSON");
    fixtures::sealed(GATE, &payload)
}

impl Door {
    /// Nightly records: twelve of commit `a`, then some of commit `b`, slower by a share.
    async fn measured(&self, after: u64, slower: f64) {
        for night in 0..12 + after {
            let (digit, slower) = if night < 12 {
                ('a', 0.0)
            } else {
                ('b', slower)
            };
            let mut record = slowed(at_commit(fixtures::record(night), digit), slower);
            record.started_ms += night * DAY_MS;
            record.ended_ms += night * DAY_MS;
            let answer = self.submit(fixtures::envelope(&record)).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
            let receipt: Receipt = answer.json();
            assert_eq!(receipt.findings, [""; 0]);
        }
        self.collector.snapshot_of(12 + after as usize).await;
    }

    /// Another collector on the same database, as after a restart.
    async fn reopened(&self) -> Self {
        let options = CollectorOptions {
            default_tier: Tier::SelfReported,
            allowed_keys: None,
        };
        let database = self.pool.connect_options();
        let collector = Collector::open(&database, Catalogue::default(), options)
            .await
            .expect("the same database");
        Self {
            router: router(collector.clone()),
            collector,
            pool: self.pool.clone(),
        }
    }

    async fn regressions(&self, query: &str) -> RegressionsAnswer {
        self.get(&format!("/api/v1/regressions{query}"))
            .await
            .json()
    }
}

#[tokio::test]
async fn a_gate_may_be_longer_than_a_record() {
    let door = Door::open().await;
    let of_length = |kind: &str, mut json: Vec<u8>, bytes: usize| {
        json.resize(bytes, b' ');
        fixtures::sealed(kind, &json)
    };
    let gate = serde_json::to_vec(&gate_of('a', 'b', 0.0)).expect("a gate is JSON");
    let record = serde_json::to_vec(&fixtures::record(1)).expect("a record is JSON");
    let longer = domain::record::MAX_RECORD_BYTES + 1;
    let answer = door.submit(of_length(GATE, gate.clone(), longer)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let longest = domain::gate::record::MAX_GATE_BYTES;
    let answer = door.submit(of_length(GATE, gate.clone(), longest)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    for (kind, json, bytes) in [(GATE, gate, longest + 1), (PAYLOAD_TYPE, record, longer)] {
        let answer = door.submit(of_length(kind, json, bytes)).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{kind}");
    }
}

#[tokio::test]
async fn a_planted_change_is_suspect_and_its_paired_gate_confirms_it() {
    let door = Door::open().await;
    door.measured(4, 0.03).await;
    let answer = door.regressions("").await;
    let [suspect] = answer.changes.as_slice() else {
        panic!("one change: {:?}", answer.changes);
    };
    assert_eq!(suspect.state, ChangeState::Suspect);
    assert!(
        suspect
            .paired_run
            .contains("joulemark gate --base-ref aaaa")
    );
    assert_eq!(
        (answer.engines.as_slice(), answer.series.len()),
        (&["scripted".to_owned()][..], 4)
    );

    let envelope = envelope_of(&gate_of('a', 'b', 0.03));
    let first = door.submit(envelope.clone()).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text());
    let receipt: Receipt = first.json();
    assert_eq!((receipt.tier, receipt.result), (Tier::SelfReported, None));
    let again = door.submit(envelope).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &first.body));
    door.collector.snapshot_of(17).await;

    let after = door.regressions("?engine=scripted").await;
    assert_ne!(after.data_version, answer.data_version);
    assert_eq!(after.changes[0].state, ChangeState::Confirmed);
    assert_eq!(after.changes[0].id, suspect.id);
    let gates = after.changes[0].gates.as_slice();
    assert_eq!(gates, std::slice::from_ref(&receipt.content_id));
    assert_eq!(after.gates[0].content_id, receipt.content_id);

    let path = format!("/api/v1/gates/{}", receipt.content_id);
    let gate: GateAnswer = door.get(&path).await.json();
    assert_eq!(gate.judgement.verdict, Verdict::Regressed);
    let key = fixtures::signing_key().verifying_key();
    assert_eq!(gate.public_key, hex::encode(key.as_bytes()));
    assert_eq!(
        (gate.row.engine.as_str(), gate.row.purpose.as_str()),
        ("scripted", "gate")
    );
    assert_eq!(gate.blocks[0].values.len(), 16);
    let listed: GatesAnswer = door.get("/api/v1/gates?limit=1").await.json();
    assert_eq!((listed.rows, listed.next), (vec![gate.row.clone()], None));

    // What a restart reads from the raw table is the same.
    let everything = door.get("/api/v1/regressions").await;
    let reopened = door.reopened().await;
    let there = reopened.get("/api/v1/regressions").await;
    assert_eq!(there.body, everything.body);
    assert_eq!(reopened.get(&path).await.body, door.get(&path).await.body);
}

#[tokio::test]
async fn a_gate_leads_back_to_its_signed_bytes() {
    let door = Door::open().await;
    let gate = gate_of('a', 'b', 0.0);
    let sent = envelope_of(&gate);
    let receipt: Receipt = door.submit(sent.clone()).await.json();
    let place = format!("/api/v1/records/{}", receipt.content_id);
    let detail: RecordDetail = door.get(&place).await.json();
    assert!(detail.signature_valid);
    assert_eq!(detail.record, serde_json::to_value(&gate).expect("JSON"));
    assert_eq!(detail.summary.outcome, "gate: PASS");
    let kept: Envelope = door.get(&format!("{place}/envelope")).await.json();
    let sent: Envelope = serde_json::from_slice(&sent).expect("an envelope");
    assert_eq!(kept.payload, sent.payload);
    door.collector.snapshot_of(1).await;
    let listed: RecordsAnswer = door.get("/api/v1/records").await.json();
    assert_eq!(listed.rows[0].outcome, "gate: PASS");
    let results: ResultsAnswer = door.get("/api/v1/results").await.json();
    assert_eq!(results.rows.len(), 0, "a gate is no result");
}

#[tokio::test]
async fn a_gate_that_contradicts_itself_is_refused_with_the_place() {
    let door = Door::open().await;
    let spoiled: [(&str, Spoil); 9] = [
        ("coin", |gate| {
            let block = &mut gate.stages[0].blocks[3];
            block.coin = !block.coin;
        }),
        ("arms", |gate| {
            for slot in &mut gate.stages[0].blocks[3].slots {
                slot.arm = match slot.arm {
                    Arm::Base => Arm::Candidate,
                    Arm::Candidate => Arm::Base,
                };
            }
        }),
        ("seed", |gate| gate.seed = Sha256Digest([1; 32])),
        ("a looser policy", |gate| {
            gate.policy.text.push_str("\n[margins]\ndecode = 20.0\n");
        }),
        ("no policy", |gate| {
            gate.policy.text = "decode = \"whatever\"".to_owned();
            gate.policy.sha256 = Sha256Digest::of(gate.policy.text.as_bytes());
        }),
        ("a look never planned", |gate| gate.last_look = 13),
        ("a block left out", |gate| {
            drop(gate.stages[0].blocks.remove(5));
        }),
        ("no host", |gate| gate.hosts.clear()),
        ("a commit that is a path", |gate| {
            gate.base.commit = Some(Name::cleaned("../../etc/passwd"));
        }),
    ];
    for (what, spoil) in spoiled {
        let mut gate = gate_of('a', 'b', 0.03);
        spoil(&mut gate);
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let problem = door
            .refuses(submission(envelope_of(&gate)), status, "schema-violation")
            .await;
        assert!(!problem.errors[0].code.is_empty(), "{what}: {problem:?}");
        let said = serde_json::to_string(&problem).expect("JSON");
        assert!(
            !said.contains("whatever") && !said.contains("passwd"),
            "no echo: {said}"
        );
    }
    let mut elsewhere = gate_of('a', 'b', 0.03);
    elsewhere.audience = domain::record::Audience::Collector(Sha256Digest([2; 32]));
    door.refuses(
        submission(envelope_of(&elsewhere)),
        StatusCode::FORBIDDEN,
        "wrong-audience",
    )
    .await;
}

#[tokio::test]
async fn there_is_no_verdict_to_forge() {
    let door = Door::open().await;
    let honest = serde_json::to_value(gate_of('a', 'b', 0.03)).expect("JSON");
    for (key, value) in [
        ("verdict", json!("PASS")),
        ("judgement", json!({"verdict": "PASS", "exit_code": 0})),
        ("exit_code", json!(0)),
    ] {
        let mut forged = honest.clone();
        forged[key] = value;
        let payload = serde_json::to_vec(&forged).expect("JSON");
        let body = fixtures::sealed(GATE, &payload);
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        door.refuses(submission(body), status, "schema-violation")
            .await;
    }
    // Signed as another type, it is none of either.
    let payload = serde_json::to_vec(&honest).expect("JSON");
    for body in [
        fixtures::sealed(PAYLOAD_TYPE, &payload),
        fixtures::sealed(
            GATE,
            &serde_json::to_vec(&fixtures::record_json(1)).expect("JSON"),
        ),
    ] {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        door.refuses(submission(body), status, "schema-violation")
            .await;
    }
    // Changed after signing: the candidate made faster.
    let mut faster = gate_of('a', 'b', 0.03);
    for slot in faster.stages.iter_mut().flat_map(|stage| &mut stage.blocks) {
        for slot in slot
            .slots
            .iter_mut()
            .filter(|slot| slot.arm == Arm::Candidate)
        {
            slot.samples[0].costs.fill(1);
        }
    }
    let mut envelope: Envelope =
        serde_json::from_slice(&envelope_of(&gate_of('a', 'b', 0.03))).expect("an envelope");
    let other: Envelope = serde_json::from_slice(&envelope_of(&faster)).expect("an envelope");
    envelope.payload = other.payload;
    let body = serde_json::to_vec(&envelope).expect("JSON");
    door.refuses(submission(body), StatusCode::UNAUTHORIZED, "bad-signature")
        .await;
}

#[tokio::test]
async fn gates_series_and_changes_have_tables_under_one_tag_each() {
    let door = Door::open().await;
    door.measured(12, 0.03).await;
    let mut gate = gate_of('a', 'b', 0.03);
    gate.candidate.label = Name::cleaned("=HYPERLINK(\"http://x\")");
    let receipt: Receipt = door.submit(envelope_of(&gate)).await.json();
    door.collector.snapshot_of(25).await;
    let answer = door.regressions("").await;
    let series = &answer.changes[0].series.id;
    let detail: SeriesAnswer = door
        .get(&format!("/api/v1/series/{series}.json"))
        .await
        .json();
    assert_eq!(
        (
            detail.points.len(),
            detail.epochs.len(),
            detail.changes.len()
        ),
        (24, 1, 1)
    );
    assert_eq!(detail.changes, answer.changes);
    for (path, lines) in [
        ("/api/v1/gates".to_owned(), 2),
        (format!("/api/v1/gates/{}", receipt.content_id), 2),
        ("/api/v1/regressions".to_owned(), 2),
        (format!("/api/v1/series/{series}"), 25),
    ] {
        let csv = door.get(&format!("{path}.csv")).await;
        assert_eq!(csv.text().lines().count(), lines, "{path}: {}", csv.text());
        assert!(!csv.text().contains(",=HYPER"), "{}", csv.text());
        let json = door.get(&path).await;
        assert_ne!(csv.header(ETAG), json.header(ETAG));
        let have = Request::get(&path)
            .header(IF_NONE_MATCH, json.header(ETAG))
            .body(Body::empty())
            .expect("a request");
        assert_eq!(door.send(have).await.status, StatusCode::NOT_MODIFIED);
    }
    assert!(
        answer.gates[0].candidate.starts_with("=HYPERLINK"),
        "JSON has it exactly"
    );
    let day = async |query: &str| {
        let answer = door.regressions(query).await;
        let series = answer.series.len();
        (answer.changes.len(), answer.gates.len(), series)
    };
    // The change is of 2 December 2025, the gate of 1 May 2026.
    assert_eq!(day("?from=2025-12-02&to=2025-12-02").await, (1, 0, 4));
    assert_eq!(day("?to=2025-12-01").await, (0, 0, 4));
    assert_eq!(day("?from=2026-05-01&to=2026-05-01").await, (0, 1, 4));
    assert_eq!(day("?engine=other").await, (0, 0, 0));
    for path in ["/api/v1/series/0123456789abcdef", "/api/v1/gates/not-an-id"] {
        assert_eq!(door.get(path).await.status, StatusCode::NOT_FOUND);
    }
}
