//! Sealed results: verified before they are read, judged from their raw samples. And what a gate left
//! behind that ended without one.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use domain::envelope::{self, MAX_ENVELOPE_BYTES, Verified};
use domain::gate::record::{GateRecord, PAYLOAD_TYPE, Purpose};
use domain::ids::ContentId;
use runner::gate::keep::recover;
use runner::keys::RunnerKey;

use super::options::usage;

use crate::config::Config;
use crate::exit::{Failure, OrExit as _};

/// A result of this machine that is gone on from.
#[derive(Debug)]
pub(super) struct Continued {
    pub(super) content_id: ContentId,
    pub(super) record: GateRecord,
}

/// A verified result and its bytes.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) verified: Verified<GateRecord>,
    pub(super) envelope: Vec<u8>,
}

/// Reads a result that the key `typed`, or else this machine's key, must have sealed.
pub(super) fn read(file: &Path, typed: Option<&str>, config: &Config) -> Result<Read, Failure> {
    let shown = file.display();
    let mut envelope = Vec::new();
    File::open(file)
        .and_then(|file| {
            file.take(MAX_ENVELOPE_BYTES as u64 + 1)
                .read_to_end(&mut envelope)
        })
        .with_context(|| format!("failed to read the result {shown}"))
        .or_usage()?;
    let opened = envelope::open(&envelope)
        .with_context(|| format!("failed to open the result {shown}: is it what --out wrote?"))
        .or_usage()?;
    let key = if let Some(text) = typed {
        envelope::read_public_key(text)
            .context("failed to use --key")
            .or_usage()?
    } else {
        let own = RunnerKey::load(&config.key())
            .context("failed to find this machine's key: name the one that sealed it by --key HEX")
            .or_usage()?;
        own.public()
    };
    let sealed_by = opened.key_id();
    if sealed_by != envelope::key_id(&key) {
        let error = anyhow::anyhow!(
            "failed to verify {shown}: it was sealed by the key {sealed_by}, not by {}; name the \
             public key that `joulemark key show` printed where it was measured by --key HEX",
            match typed {
                Some(_) => "the one that --key names",
                None => "this machine's",
            }
        );
        return Err(error).or_usage();
    }
    let verified = opened
        .verify(&key, PAYLOAD_TYPE)
        .with_context(|| format!("failed to verify {shown}"))
        .or_usage()?;
    Ok(Read { verified, envelope })
}

/// Reads a result of this machine to go on from.
pub(super) fn continued(file: &Path, config: &Config) -> Result<Continued, Failure> {
    let read = read(file, None, config)?;
    refuse_other_purpose(read.verified.value(), file, GO_ON)?;
    Ok(Continued {
        content_id: read.verified.content_id(),
        record: read.verified.value().clone(),
    })
}

const GO_ON: &str = "go on with";

/// Reads the folder in which a gate kept its blocks, to go on from.
///
/// It is not sealed: only this machine's own folder is trusted, as its key is that lies beside it.
pub(super) fn recovered(folder: &Path, config: &Config) -> Result<GateRecord, Failure> {
    let gates = config.data().join("gates");
    let parent = |path: &Path| Some(path.canonicalize().ok()?.parent()?.to_owned());
    let is_own = gates
        .canonicalize()
        .ok()
        .is_some_and(|gates| parent(folder) == Some(gates));
    if !is_own {
        return Err(usage(format!(
            "failed to go on with {}: it is not one of the folders in which this machine keeps its \
             gates; they are in {}",
            folder.display(),
            gates.display()
        )));
    }
    let record = recover(folder)
        .with_context(|| format!("failed to recover the gate in {}", folder.display()))
        .or_infrastructure()?;
    refuse_other_purpose(&record, folder, GO_ON)?;
    Ok(record)
}

/// A comparison has no verdict, and a gate of one arm against itself none that guards anything.
pub(super) fn refuse_other_purpose(
    record: &GateRecord,
    path: &Path,
    doing: &str,
) -> Result<(), Failure> {
    let verb = match record.purpose {
        Purpose::Gate => return Ok(()),
        Purpose::Compare => "compare",
        Purpose::Aa => "aa",
    };
    Err(usage(format!(
        "failed to {doing} {}: it was measured by `joulemark {verb}`, which is no gate and has no \
         verdict; measure with `joulemark gate`",
        path.display(),
    )))
}
