//! From a verified gate to a stored one: whom it is for, whether it can be judged at all.
//!
//! No verdict travels in a gate's payload, so none can be forged: it is recomputed from the raw
//! slots, here once to see that it can be, and again whenever the stored bytes are read.

use std::sync::Arc;

use domain::api::ProblemPlace;
use domain::envelope::Verified;
use domain::gate::record::{GateRecord, MAX_POLICY_BYTES, SCHEMA};
use domain::gate::verdict::JudgeError;
use domain::hardware::Catalogue;
use domain::text::Name;
use domain::tier::Tier;

use super::admit::{
    MAX_HOSTS, TOO_MANY, are_told_apart, check_audience, foreign_hardware, is_a_time, receipt,
    store,
};
use super::{Accepted, IngestError};
use crate::collector::{Collector, off_the_loop};
use crate::derive::Received;
use crate::gates::JudgedGate;

/// Models of one gate, as many as hosts: a policy of more would never end.
const MAX_MODELS: usize = 64;

/// Judges a verified gate and stores it, in one transaction.
pub(super) async fn admit(
    collector: &Collector,
    verified: Verified<GateRecord>,
) -> Result<Accepted, IngestError> {
    if let Some(known) = super::admit::known(collector, verified.content_id()).await? {
        return Ok(known);
    }
    let here = collector.clone();
    // Judging many cells takes a core for a moment, as reading another tool's file does.
    let room = Arc::clone(collector.in_reading()).acquire_owned().await;
    let room = room.map_err(|_| IngestError::TooLarge)?;
    let (verified, mut gate) = off_the_loop(move || {
        let record = verified.value();
        check_audience(record.audience, here.audience())?;
        check_ranges(record)?;
        let received = received(&verified, here.catalogue());
        let gate = JudgedGate::judge(record, received, verified.public_key())
            .map_err(|error| unjudged(&error))?;
        drop(room);
        Ok::<_, IngestError>((verified, gate))
    })
    .await?;
    store(collector, &verified, move |received_ms| {
        gate.received_at(received_ms);
        receipt(gate.summary())
    })
    .await
}

fn received(verified: &Verified<GateRecord>, catalogue: &Catalogue) -> Received {
    let record = verified.value();
    let findings: Vec<String> = foreign_hardware(&record.setup, &record.hosts, catalogue)
        .into_iter()
        .collect();
    let tier = if findings.is_empty() {
        Tier::SelfReported
    } else {
        Tier::Quarantined
    };
    Received {
        content_id: verified.content_id(),
        key_id: verified.key_id(),
        tier,
        // Set by the database's clock when it is stored.
        received_ms: 0,
        findings,
    }
}

/// What the schema's types cannot say, and judging does not: bounds of what is kept and shown.
fn check_ranges(record: &GateRecord) -> Result<(), IngestError> {
    let arms = [
        ("/base/commit", &record.base.commit),
        ("/candidate/commit", &record.candidate.commit),
        ("/policy/commit", &record.policy.commit),
    ];
    let mut checks = vec![
        (
            "/schema",
            record.schema.as_str() == SCHEMA,
            "another schema",
        ),
        (
            "/started_ms",
            is_a_time(record.started_ms),
            "a time after the year 9999",
        ),
        (
            "/ended_ms",
            is_a_time(record.ended_ms),
            "a time after the year 9999",
        ),
        ("/hosts", !record.hosts.is_empty(), "at least one is needed"),
        ("/hosts", record.hosts.len() <= MAX_HOSTS, TOO_MANY),
        (
            "/hosts",
            are_told_apart(&record.hosts),
            "two hosts of one number",
        ),
        ("/models", record.models.len() <= MAX_MODELS, TOO_MANY),
        (
            "/policy/text",
            record.policy.text.len() <= MAX_POLICY_BYTES,
            "longer than a policy may be",
        ),
    ];
    checks.extend(arms.map(|(at, commit)| {
        let holds = commit.as_ref().is_none_or(is_commit);
        (at, holds, "40 hexadecimal digits are needed")
    }));
    let places: Vec<ProblemPlace> = checks
        .into_iter()
        .filter(|(_, holds, _)| !holds)
        .map(|(pointer, _, code)| place(pointer, code.to_owned()))
        .collect();
    if places.is_empty() {
        Ok(())
    } else {
        Err(IngestError::Schema(places))
    }
}

fn is_commit(name: &Name) -> bool {
    let text = name.as_str();
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where a gate contradicts itself; its policy's own words are not repeated.
fn unjudged(error: &JudgeError) -> IngestError {
    IngestError::Schema(vec![match error {
        JudgeError::Policy(error) => place(
            "/policy/text",
            format!("line {} is not of a policy", error.line),
        ),
        JudgeError::Contradiction(what) => place("", what.clone()),
    }])
}

fn place(pointer: &str, code: String) -> ProblemPlace {
    ProblemPlace {
        pointer: pointer.to_owned(),
        code,
    }
}
