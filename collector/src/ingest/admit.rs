//! From a verified record to a stored one: whether it is known already, whom it is for, whether it
//! can be true, which tier.

use domain::api::{ProblemPlace, Receipt, RecordSummary};
use domain::envelope::Verified;
use domain::hardware::Catalogue;
use domain::ids::{ContentId, Sha256Digest};
use domain::plausibility;
use domain::record::{Audience, Host, MeterTrace, Record, SCHEMA, SetupRef};
use domain::suite::Suite;
use domain::tier::Tier;

use super::{Accepted, IngestError};
use crate::collector::{Collector, off_the_loop};
use crate::derive::{self, DerivedRecord, Received};
use crate::store::envelope::{self, NewEnvelope};
use crate::store::{StoreError, envelope_id, record};

/// Machines of one record, as many as a matrix may name.
pub(super) const MAX_HOSTS: usize = 64;

/// Meters of one record: deriving compares those of one host with each other.
const MAX_METERS: usize = 128;

/// Phases of one record; a runner makes about a hundred.
const MAX_PHASES: usize = 1_000;

/// At most so many places of one record are named.
const MAX_PLACES: usize = 20;

/// The last millisecond of the year 9999, the last that RFC 3339 can spell.
const LATEST_MS: u64 = 253_402_300_799_999;

/// Judges a verified record and stores it, in one transaction.
pub(super) async fn admit(
    collector: &Collector,
    verified: Verified<Record>,
) -> Result<Accepted, IngestError> {
    if let Some(known) = known(collector, verified.content_id()).await? {
        return Ok(known);
    }
    let judge = collector.clone();
    let (verified, mut derived) = off_the_loop(move || {
        check_audience(verified.value().audience, judge.audience())?;
        check_ranges(verified.value())?;
        let derived = decide(&judge, &verified);
        Ok::<_, IngestError>((verified, derived))
    })
    .await?;

    store(collector, &verified, move |received_ms| {
        derived.received.received_ms = received_ms;
        receipt(derived.summary())
    })
    .await
}

/// The answer to an envelope that was accepted before: rules may have become stricter since, but
/// what was accepted once keeps its answer.
pub(super) async fn known(
    collector: &Collector,
    id: ContentId,
) -> Result<Option<Accepted>, IngestError> {
    let stored = collector.store().answer(id).await?;
    Ok(stored.map(|receipt| Accepted {
        receipt,
        new: false,
    }))
}

/// Stores what was judged, in one transaction; `receipt` makes the answer, once the database said
/// when it came.
pub(super) async fn store<T>(
    collector: &Collector,
    verified: &Verified<T>,
    receipt: impl FnOnce(i64) -> Receipt,
) -> Result<Accepted, IngestError> {
    let id = verified.content_id();
    let mut transaction = collector.store().begin().await?;
    let Some(received_ms) = envelope_id::claim(&mut transaction, id).await? else {
        // A copy was stored meanwhile.
        drop(transaction);
        let stored = known(collector, id).await?;
        return stored.ok_or_else(|| {
            IngestError::Store(StoreError::Corrupt {
                table: "record",
                row: id.to_string(),
                what: "its content id was claimed, and no answer is stored",
            })
        });
    };
    let new = NewEnvelope {
        content_id: id,
        key_id: verified.key_id(),
        payload_type: verified.payload_type(),
        payload: verified.payload(),
        signature: verified.signature(),
    };
    envelope::insert(&mut transaction, new).await?;
    let receipt = receipt(received_ms);
    record::insert(
        &mut transaction,
        id,
        receipt.tier,
        &receipt.findings,
        &receipt,
    )
    .await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(Accepted { receipt, new: true })
}

/// Plausibility and tier. Deriving here too means that a record whose derivation fails is never
/// stored, so that no stored record can stop a later start.
fn decide(collector: &Collector, verified: &Verified<Record>) -> DerivedRecord {
    let record = verified.value();
    let mut findings = plausibility::check(record, collector.catalogue()).in_words();
    findings.extend(foreign_hardware(
        &record.setup,
        &record.hosts,
        collector.catalogue(),
    ));
    let tier = if findings.is_empty() {
        Tier::SelfReported
    } else {
        Tier::Quarantined
    };
    let received = Received {
        content_id: verified.content_id(),
        key_id: verified.key_id(),
        tier,
        // Set by the database's clock when it is stored; no decision depends on it.
        received_ms: 0,
        findings,
    };
    derive::derive(record, received)
}

/// A record that names a setup of the catalogue is published under its name and price, so its
/// machines must be judged by that setup's hardware: each has to be one of its parts.
pub(super) fn foreign_hardware(
    setup: &SetupRef,
    hosts: &[Host],
    catalogue: &Catalogue,
) -> Option<String> {
    let setup = catalogue.setup(setup.slug.as_ref()?)?;
    let is_part = |host: &&Host| {
        setup
            .parts
            .iter()
            .any(|part| Some(&part.hardware) == host.profile.as_ref())
    };
    let foreign = hosts.iter().find(|host| !is_part(host))?;
    let given = match &foreign.profile {
        Some(profile) => format!("given as {profile}, which is no part"),
        None => "not given as a part".to_owned(),
    };
    Some(format!(
        "setup: host {} is {given} of setup {}",
        foreign.host, setup.slug
    ))
}

pub(super) fn receipt(summary: RecordSummary) -> Receipt {
    Receipt {
        status: "accepted".to_owned(),
        content_id: summary.content_id,
        tier: summary.tier,
        result: summary.result,
        findings: summary.findings,
        received_at: summary.received_at,
    }
}

pub(super) fn check_audience(audience: Audience, here: Sha256Digest) -> Result<(), IngestError> {
    match audience {
        Audience::Any => Ok(()),
        Audience::Collector(id) if id == here => Ok(()),
        Audience::Collector(_) => Err(IngestError::WrongAudience),
    }
}

/// Whether it is a time that RFC 3339 can spell, in Unix milliseconds.
pub(super) fn is_a_time(ms: u64) -> bool {
    ms <= LATEST_MS
}

pub(super) const TOO_MANY: &str = "more than a runner makes";

/// Whether no two hosts have one number.
pub(super) fn are_told_apart(hosts: &[Host]) -> bool {
    let mut numbers: Vec<u32> = hosts.iter().map(|host| host.host).collect();
    numbers.sort_unstable();
    numbers.windows(2).all(|pair| pair[0] != pair[1])
}

/// What bounds the work of deriving: where, whether it holds, and what is wrong if not.
fn counts(record: &Record) -> [(&'static str, bool, &'static str); 4] {
    let apart = are_told_apart(&record.hosts);
    [
        ("/hosts", record.hosts.len() <= MAX_HOSTS, TOO_MANY),
        ("/meters", record.meters.len() <= MAX_METERS, TOO_MANY),
        ("/phases", record.phases.len() <= MAX_PHASES, TOO_MANY),
        ("/hosts", apart, "two hosts of one number"),
    ]
}

/// What the schema's types cannot say. Claimed wall-clock times are labels and may be wrong, so
/// they only have to be times at all.
fn check_ranges(record: &Record) -> Result<(), IngestError> {
    let mut places = Vec::new();
    let mut need = |holds: bool, pointer: String, code: &str| {
        if !holds && places.len() < MAX_PLACES {
            places.push(ProblemPlace {
                pointer,
                code: code.to_owned(),
            });
        }
    };
    need(
        record.schema.as_str() == SCHEMA,
        "/schema".into(),
        "another schema",
    );
    for (at, value) in [
        ("/started_ms", record.started_ms),
        ("/ended_ms", record.ended_ms),
    ] {
        need(is_a_time(value), at.into(), "a time after the year 9999");
    }
    for (at, absent) in [
        ("/challenge", record.challenge.is_none()),
        ("/windows", record.windows.is_none()),
        ("/checkpoint", record.checkpoint.is_none()),
        ("/blob_sha256", record.blob_sha256.is_none()),
    ] {
        need(absent, at.into(), "this collector gave none");
    }
    need(
        !record.hosts.is_empty(),
        "/hosts".into(),
        "at least one is needed",
    );
    for (at, holds, code) in counts(record) {
        need(holds, at.into(), code);
    }
    need(
        record.quality.is_none() || record.suite.is_some(),
        "/suite".into(),
        "answers need one",
    );
    if let Some(asked) = &record.suite {
        let known = Suite::from_name(asked.version.as_str())
            .is_some_and(|suite| asked.digest.0 == suite.digest());
        need(
            known,
            "/suite/digest".into(),
            "this collector cannot score that suite",
        );
    }
    for (index, repetition) in record.repetitions.iter().enumerate() {
        let at = format!("/repetitions/{index}");
        need(
            repetition.start_ns <= repetition.end_ns,
            at.clone(),
            "ends before it starts",
        );
        for (number, request) in repetition.requests.iter().enumerate() {
            let events = request.event_tokens.as_ref();
            let fits = events.is_none_or(|events| events.len() == request.gaps_us.len() + 1);
            let at = format!("{at}/requests/{number}/event_tokens");
            need(fits, at, "one more than gaps is needed");
        }
    }
    for (index, phase) in record.phases.iter().enumerate() {
        let at = format!("/phases/{index}");
        need(phase.start_ns <= phase.end_ns, at, "ends before it starts");
    }
    for (index, trace) in record.meters.iter().enumerate() {
        need(
            is_one_series(trace),
            format!("/meters/{index}"),
            "its arrays are not one series",
        );
    }
    if let domain::record::EnergyClaim::Measured(energy) = &record.energy {
        let known = energy
            .meters
            .iter()
            .all(|meter| (*meter as usize) < record.meters.len());
        need(known, "/energy/measured/meters".into(), "no such meter");
    }
    for (index, item) in record
        .quality
        .iter()
        .flat_map(|quality| &quality.items)
        .enumerate()
    {
        let at = format!("/quality/items/{index}");
        need(item.start_ns <= item.end_ns, at, "ends before it starts");
    }
    for (pointer, code) in record.fidelity.iter().flat_map(derive::contradictions) {
        need(false, pointer, code);
    }
    if places.is_empty() {
        Ok(())
    } else {
        Err(IngestError::Schema(places))
    }
}

/// One value, time and latency per reading, times rising.
fn is_one_series(trace: &MeterTrace) -> bool {
    let readings = trace.t_ns.len();
    trace.v.len() == readings
        && trace.latency_ns.len() == readings
        && trace
            .source_t_ns
            .as_ref()
            .is_none_or(|times| times.len() == readings)
        && trace.t_ns.is_sorted_by(|a, b| a < b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_named_setup_is_made_of_its_own_parts() {
        let hardware = "profile = \"hardware\"\nslug = \"chip\"\nname = \"Chip\"\nvendor = \"Maker\"\nkind = \"soc\"\nsources = [\"a\"]\nconfidence = \"high\"\n";
        let setup = "profile = \"setup\"\nslug = \"mini\"\nname = \"Mini\"\n[[parts]]\nhardware = \"chip\"\ncount = 1\n";
        let catalogue = Catalogue::parse([("h.toml", hardware), ("s.toml", setup)]).expect("valid");
        let found = |setup: &str, profile: Option<&str>| {
            let mut record = fixtures::record(1);
            record.setup.slug = Some(setup.parse().expect("a slug"));
            record.hosts[0].profile = profile.map(|slug| slug.parse().expect("a slug"));
            foreign_hardware(&record.setup, &record.hosts, &catalogue)
        };
        assert_eq!(found("mini", Some("chip")), None);
        assert_eq!(found("not-in-the-catalogue", None), None);
        assert_eq!(
            found("mini", Some("faster")).as_deref(),
            Some("setup: host 0 is given as faster, which is no part of setup mini")
        );
        assert_eq!(
            found("mini", None).as_deref(),
            Some("setup: host 0 is not given as a part of setup mini")
        );
    }
}
