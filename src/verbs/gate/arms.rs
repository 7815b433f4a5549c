//! The two arms: typed, or built from two commits so that neither becomes the other.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use domain::gate::policy::{ArmsPolicy, PATH};
use domain::gate::record::{ArmKind, Purpose};
use domain::ids::Sha256Digest;
use runner::gate::arm::ArmSpec;
use runner::gate::checkout::{self, Checkout, CheckoutError};
use runner::gate::run::LayoutBuild;
use runner::gate::slot::binary_sha256;

use super::options::{Origin, Wanted, arm, failed, usage};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::progress::gate::GateProgress;

/// Makes the two arms.
pub(super) struct Arms<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) policy: Option<&'a ArmsPolicy>,
    pub(super) origin: Option<&'a Origin>,
    pub(super) data: &'a Path,
    pub(super) checkout: Option<Checkout>,
    pub(super) stop: &'a AtomicBool,
}

impl Arms<'_> {
    /// HEAD against itself is no comparison, unless that is what was asked.
    pub(super) fn refuse_the_same(&self) -> Result<(), Failure> {
        let pair = &self.wanted.pair;
        let is_built = pair.base.is_none() && pair.candidate.is_none();
        let is_weights = pair.base_model.is_some();
        let Some(origin) = self.origin.filter(|_| is_built && !is_weights) else {
            return Ok(());
        };
        if self.wanted.purpose == Purpose::Aa {
            return Ok(());
        }
        let head = origin.repository.head_if_clean().map_err(failed)?;
        if head == Some(self.base_commit(origin)?) {
            return Err(failed(CheckoutError::Unchanged {
                reference: origin.reference.clone(),
            }));
        }
        Ok(())
    }

    /// The merge base; of a result that is continued the commit that it was measured with.
    fn base_commit(&self, origin: &Origin) -> Result<String, Failure> {
        let continued = self.wanted.continues.as_ref();
        match continued.and_then(|it| it.record.base.commit.as_ref()) {
            Some(commit) => origin.repository.resolve(commit.as_str()).map_err(failed),
            None => origin
                .repository
                .merge_base(&origin.reference)
                .map_err(failed),
        }
    }

    pub(super) fn base(&mut self, progress: &mut GateProgress) -> Result<ArmSpec, Failure> {
        if let Some(text) = &self.wanted.pair.base {
            return arm(text);
        }
        let (policy, origin) = self.built("--base")?;
        let commit = self.base_commit(origin)?;
        let checkout = origin
            .repository
            .check_out(&commit, self.data)
            .map_err(failed)?;
        let label = format!("{}@{}", origin.reference, &commit[..commit.len().min(7)]);
        let folder = checkout.folder().to_owned();
        let arm = self.build(policy, &folder, label, Some(commit), progress)?;
        self.checkout = Some(checkout);
        Ok(arm)
    }

    /// The candidate, beside a base that its build must leave as it is.
    pub(super) fn candidate(
        &self,
        base: &ArmSpec,
        progress: &mut GateProgress,
    ) -> Result<ArmSpec, Failure> {
        if let Some(text) = &self.wanted.pair.candidate {
            return arm(text);
        }
        let (policy, origin) = self.built("--candidate")?;
        let commit = origin.repository.head_if_clean().map_err(failed)?;
        let label = match &commit {
            Some(commit) => format!("HEAD@{}", &commit[..commit.len().min(7)]),
            None => "working tree".to_owned(),
        };
        let folder = origin.repository.root().to_owned();
        let before = digest(base)?;
        let candidate = self.build(policy, &folder, label, commit, progress)?;
        if digest(base)? != before {
            return Err(mixed(format!(
                "building the candidate changed the base's program {}: both are built into one place; \
                 let each checkout keep what it builds (no shared CARGO_TARGET_DIR, no absolute paths in \
                 build and run)",
                base.label
            )));
        }
        // Where weights are what changed, one program may well run both.
        let pair = &self.wanted.pair;
        let is_built = pair.base.is_none() && pair.base_model.is_none();
        if is_built && are_one(base, &candidate)? {
            return Err(mixed(format!(
                "both arms would run the same {}, which lies in neither checkout, or which both builds \
                 took from one place (such as cargo's build folder, where that is shared): let each \
                 checkout keep what it builds, and name a program or a script of it in `run`, such as \
                 ./bench.sh",
                base.label
            )));
        }
        Ok(candidate)
    }

    fn built(&self, flag: &str) -> Result<(&ArmsPolicy, &Origin), Failure> {
        match (self.policy, self.origin) {
            (Some(policy), Some(origin)) => Ok((policy, origin)),
            _ => Err(usage(format!(
                "failed to find out how arms are built: the policy has no [arms]; name an arm with \
                 {flag} SPEC, or commit a {PATH} with [arms] to the base ref"
            ))),
        }
    }

    fn build(
        &self,
        policy: &ArmsPolicy,
        folder: &Path,
        label: String,
        commit: Option<String>,
        progress: &mut GateProgress,
    ) -> Result<ArmSpec, Failure> {
        for command in &policy.build {
            progress.note(&format!("building {label}: {command}"));
            checkout::build(
                std::slice::from_ref(command),
                folder,
                self.stop,
                &mut |line| progress.building(line),
            )
            .map_err(failed)?;
        }
        let driver = match policy.kind {
            ArmKind::Candle => "candle:",
            ArmKind::Server => "server:",
            ArmKind::Command => "",
        };
        Ok(ArmSpec {
            label,
            folder: Some(folder.to_owned()),
            commit,
            ..arm(&format!("{driver}{}", policy.run))?
        })
    }

    pub(super) fn layout(&self) -> Option<LayoutBuild> {
        let policy = self
            .policy
            .filter(|policy| !policy.layout_build.is_empty())?;
        let checkout = self.checkout.as_ref()?;
        let arm = ArmSpec::parse(&policy.run).ok()?;
        Some(LayoutBuild {
            commands: policy.layout_build.clone(),
            folder: checkout.folder().to_owned(),
            program: arm.words.into_iter().next()?,
        })
    }
}

/// Which program an arm runs.
fn digest(arm: &ArmSpec) -> Result<Sha256Digest, Failure> {
    binary_sha256(arm)
        .map_err(|error| anyhow::anyhow!("failed to {error}"))
        .with_context(|| format!("failed to find the program of {}", arm.label))
        .or_infrastructure()
}

/// Whether two built arms run one and the same: every file is, or the program that lies in a checkout. A hard
/// link is the same: cargo puts one to what it built elsewhere.
fn are_one(base: &ArmSpec, candidate: &ArmSpec) -> Result<bool, Failure> {
    let (ours, theirs) = (files(base)?, files(candidate)?);
    let folder = base
        .folder
        .as_ref()
        .and_then(|path| path.canonicalize().ok());
    let is_in_checkout = folder.is_some_and(|folder| ours[0].0.starts_with(folder));
    let ids = |files: &[(PathBuf, FileId)]| -> BTreeSet<FileId> {
        files.iter().map(|(_, id)| *id).collect()
    };
    Ok(ids(&ours) == ids(&theirs) || is_in_checkout && ours[0].1 == theirs[0].1)
}

/// Device and number of a file, whatever it is called.
type FileId = (u64, u64);

/// The files that an arm's command line names: its program first, then what of its words is a file in
/// its folder, such as a script.
fn files(arm: &ArmSpec) -> Result<Vec<(PathBuf, FileId)>, Failure> {
    let program = arm
        .program()
        .map_err(|error| anyhow::anyhow!("failed to {error}"))
        .or_infrastructure()?;
    let folder = arm.folder.as_deref().unwrap_or(Path::new("."));
    let named = arm.words.iter().skip(1).map(|word| folder.join(word));
    let named = named.filter(|path| path.is_file());
    let found = |path: PathBuf| {
        let path = path.canonicalize()?;
        let facts = path.metadata()?;
        Ok::<_, std::io::Error>((path, (facts.dev(), facts.ino())))
    };
    std::iter::once(program)
        .chain(named)
        .map(|path| {
            let what = format!("failed to find {}", path.display());
            found(path).context(what).or_infrastructure()
        })
        .collect()
}

/// Arms that are not two.
fn mixed(what: String) -> Failure {
    Failure {
        exit: Exit::Infrastructure,
        error: anyhow::Error::msg(what).context("failed to keep the arms apart"),
    }
}
