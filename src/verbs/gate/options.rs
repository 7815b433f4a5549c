//! From what was typed to what is gated: policy, arms, weights, workloads.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use domain::gate::policy::{BUILT_IN, PATH, Policy, typed};
use domain::gate::record::{ArmKind, GateRecord, PolicyOrigin, PolicyUsed, Purpose, SeedOrigin};
use domain::hardware::Catalogue;
use domain::ids::{Sha256Digest, Slug};
use domain::matrix::{WorkloadSpec, fits};
use domain::record::{Audience, SetupRef};
use domain::text::Name;
use runner::gate::aa::known_block_sds;
use runner::gate::arm::ArmSpec;
use runner::gate::checkout::{Checkout, CheckoutError, Repository};
use runner::gate::run::{GateOptions, ModelPair};
use runner::host::recognise;
use runner::sweep::{Machine, model_files};

use super::arms::Arms;
use super::sealed::Continued;
use crate::cli::gate::{Asked, Mode, Pair, Shape};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::progress::gate::GateProgress;
use crate::threads;

/// What a verb wants gated.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) purpose: Purpose,
    pub(super) pair: Pair,
    pub(super) asked: Asked,
    pub(super) policy: Option<PathBuf>,
    pub(super) mode: Mode,
    pub(super) continues: Option<Continued>,
    pub(super) audience: Audience,
}

/// The machine that is measured on, and the setup it is.
#[derive(Debug)]
pub(super) struct Here {
    pub(super) machine: Machine,
    pub(super) setup: SetupRef,
}

impl Here {
    /// This machine, recognised, or the setup that was named.
    pub(super) fn look(config: &Config, named: Option<&str>) -> Result<Self, Failure> {
        // Outside of a checkout of this project there are no profiles, and a gate needs none.
        let catalogue = if named.is_none() && !config.profiles().is_dir() {
            Catalogue::default()
        } else {
            config.catalogue()?
        };
        let mut machine = Machine::here(&config.meters()?);
        let mut setup = recognise(&mut machine.survey, &catalogue);
        if let Some(text) = named {
            let slug: Slug = text
                .parse()
                .with_context(|| format!("failed to read --setup {text:?}"))
                .or_usage()?;
            if catalogue.setup(&slug).is_none() {
                return Err(usage(format!(
                    "failed to find --setup {slug} in hardware-profiles/: add its profile, or leave \
                     the flag out"
                )));
            }
            setup.slug = Some(slug);
        }
        Ok(Self { machine, setup })
    }
}

/// Options, and the checkout that must stay as it is while they are used.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) options: GateOptions,
    _checkout: Option<Checkout>,
}

/// The repository around the current folder, and the ref that the base and the policy come from.
pub(super) struct Origin {
    pub(super) repository: Repository,
    pub(super) reference: String,
}

impl Wanted {
    /// Builds what must be built. Blocking.
    pub(super) fn prepare(
        self,
        config: &Config,
        here: &Here,
        stop: &Arc<AtomicBool>,
        progress: &mut GateProgress,
    ) -> Result<Prepared, Failure> {
        self.refuse_what_loosens()?;
        let arms_typed = [&self.pair.base, &self.pair.candidate]
            .into_iter()
            .flatten()
            .map(|text| arm(text.as_str()))
            .collect::<Result<Vec<_>, _>>()?;
        let is_typed = self.pair.base.is_some() && self.pair.candidate.is_some();
        let origin = self.origin(is_typed)?;
        let (policy, policy_used) = self.policy(origin.as_ref(), &arms_typed, progress)?;
        self.refuse_models_of_commands(&policy, &arms_typed)?;
        let mut arms = Arms {
            wanted: &self,
            policy: policy.arms.as_ref(),
            origin: origin.as_ref(),
            data: config.data(),
            checkout: None,
            stop,
        };
        arms.refuse_the_same()?;
        let base = arms.base(progress)?;
        let candidate = match self.purpose {
            Purpose::Aa => base.clone(),
            Purpose::Gate | Purpose::Compare => arms.candidate(&base, progress)?,
        };
        if base.kind != candidate.kind {
            return Err(usage(format!(
                "failed to compare {:?} with {:?}: both arms are driven the same way, both \
                 `candle:`, both `server:`, or both commands",
                base.text, candidate.text
            )));
        }
        let layout = arms.layout();
        let checkout = arms.checkout;
        let models = if base.kind == ArmKind::Command {
            if !self.asked.model.is_empty() || self.pair.base_model.is_some() {
                return Err(usage(
                    "failed to use the weights: a command finds its own; leave --model out"
                        .to_owned(),
                ));
            }
            Vec::new()
        } else {
            self.models(&policy, config)?
        };
        let (policy, policy_used) = self.with_typed(policy, policy_used, &models, base.kind)?;
        Ok(Prepared {
            options: GateOptions {
                purpose: self.purpose,
                policy,
                policy_used,
                base,
                candidate,
                models,
                seed: seed(self.pair.seed.as_deref())?,
                budget: self.asked.budget,
                continues: self.continues.map(|it| (it.content_id, it.record)),
                layout,
                known_block_sds: known_block_sds(
                    config.data(),
                    here.setup.slug.as_ref(),
                    here.machine.survey.host.fingerprint,
                )
                .context("failed to read what is known of this machine's spread")
                .or_infrastructure()?,
                setup: here.setup.clone(),
                audience: self.audience,
                data: config.data().to_owned(),
                threads: threads_of(&self.asked),
                stop: Arc::clone(stop),
            },
            _checkout: checkout,
        })
    }

    /// A required gate goes by the base ref's policy alone, and by coins nobody chose.
    fn refuse_what_loosens(&self) -> Result<(), Failure> {
        if self.mode != Mode::Required {
            return Ok(());
        }
        let loosening = [
            (
                self.pair.seed.is_some(),
                "--seed",
                "its coins are tossed anew",
            ),
            (
                self.policy.is_some(),
                "--policy",
                "it goes by the base ref's policy",
            ),
            (
                !self.asked.model.is_empty(),
                "--model",
                "the base ref's policy says what is gated",
            ),
            (
                !self.asked.workload.is_empty(),
                "--workload",
                "the base ref's policy says what is gated",
            ),
            (
                self.pair.base_model.is_some(),
                "--base-model",
                "the base ref's policy says what is gated",
            ),
            (
                self.pair.candidate_model.is_some(),
                "--candidate-model",
                "the base ref's policy says what is gated",
            ),
        ];
        match loosening.into_iter().find(|(is_there, ..)| *is_there) {
            Some((_, flag, why)) => Err(usage(format!(
                "failed to run a required gate with {flag}: {why}; leave the flag out, or use \
                 --mode advisory"
            ))),
            None => Ok(()),
        }
    }

    /// Where base and policy come from; none where both arms were typed outside of a repository, or
    /// in one without a branch to compare with. A required gate has one, or there is none.
    fn origin(&self, is_typed: bool) -> Result<Option<Origin>, Failure> {
        let is_named = self.pair.base_ref.is_some();
        if is_typed && self.purpose != Purpose::Gate && !is_named {
            return Ok(None);
        }
        let may_lack = is_typed && !is_named && self.mode != Mode::Required;
        let repository = match Repository::around(Path::new(".")) {
            Ok(repository) => repository,
            // Nothing but this: what cannot be read may hold a policy.
            Err(CheckoutError::NoRepository(_)) if may_lack => return Ok(None),
            Err(error) => return Err(self.unread(error)),
        };
        let reference = match &self.pair.base_ref {
            Some(typed) => typed.clone(),
            None => match repository.base_ref() {
                Ok(found) => found.to_owned(),
                Err(CheckoutError::NoRef { .. }) if may_lack => return Ok(None),
                Err(error) => return Err(self.unread(error)),
            },
        };
        Ok(Some(Origin {
            repository,
            reference,
        }))
    }

    /// A base ref that cannot be read: what a required gate goes by is then not known.
    fn unread(&self, error: CheckoutError) -> Failure {
        if self.mode != Mode::Required {
            return failed(error);
        }
        Failure {
            exit: Exit::Usage,
            error: anyhow::Error::new(error).context(
                "failed to read the policy of the base ref, which a required gate goes by (run it in a \
                 checkout that git can read, with the base branch fetched, or use --mode advisory)",
            ),
        }
    }

    fn policy(
        &self,
        origin: Option<&Origin>,
        typed: &[ArmSpec],
        progress: &mut GateProgress,
    ) -> Result<(Policy, PolicyUsed), Failure> {
        if let Some(continued) = &self.continues {
            if self.mode == Mode::Required {
                refuse_what_loosened(&continued.record)?;
            }
            let used = continued.record.policy.clone();
            let policy = policy("the result's policy", &used.text)?;
            return Ok((policy, used));
        }
        if let Some(file) = &self.policy {
            let text = fs::read_to_string(file)
                .with_context(|| format!("failed to read the policy {}", file.display()))
                .or_usage()?;
            return parsed(&file.display().to_string(), text, PolicyOrigin::File, None);
        }
        let mut built_in = PolicyOrigin::BuiltIn;
        let mut looked_at = None;
        if let Some(origin) = origin {
            let read = |origin: &Origin| -> Result<_, CheckoutError> {
                let commit = origin.repository.resolve(&origin.reference)?;
                let text = origin.repository.file_at(&commit, PATH)?;
                Ok((commit, text))
            };
            let (commit, text) = read(origin).map_err(|error| self.unread(error))?;
            if let Some(text) = text {
                let file = format!("{}:{PATH}", origin.reference);
                let (policy, used) =
                    parsed(&file, text, PolicyOrigin::BaseRef, Some(commit.as_str()))?;
                let Some((arm, why)) = typed.iter().find_map(|arm| {
                    let why = why_not_by(&policy, arm)?;
                    Some((arm, why))
                }) else {
                    return Ok((policy, used));
                };
                // It says how other arms are gated: with its cells nothing of these would be.
                let is_typed = self.pair.base.is_some() && self.pair.candidate.is_some();
                if self.mode == Mode::Required || !is_typed {
                    return Err(usage(format!(
                        "failed to gate {:?} by {file}: {why}; {}",
                        arm.text,
                        if is_typed {
                            "leave the arms to the policy, or use --mode advisory"
                        } else {
                            "name both arms with --base and --candidate, or neither"
                        }
                    )));
                }
                progress.note(&format!(
                    "the built-in policy is used: {file} is for other arms ({why}); --policy FILE \
                     names another"
                ));
                built_in = PolicyOrigin::Typed;
            }
            looked_at = Some(commit);
        }
        parsed(
            "the built-in policy",
            BUILT_IN.to_owned(),
            built_in,
            looked_at.as_deref(),
        )
    }

    /// What a policy lists and commands have none of is never measured: the gate could only end
    /// INVALID.
    fn refuse_models_of_commands(&self, policy: &Policy, typed: &[ArmSpec]) -> Result<(), Failure> {
        if self.purpose == Purpose::Compare {
            return Ok(());
        }
        let is_command = |arm: &ArmSpec| arm.kind == ArmKind::Command;
        if !gates_models(policy) || !typed.iter().any(is_command) {
            return Ok(());
        }
        Err(usage(format!(
            "failed to gate commands by {}: {OF_MODELS}; name a policy without models and workloads",
            match &self.policy {
                Some(file) => file.display().to_string(),
                None => "the policy".to_owned(),
            }
        )))
    }

    fn models(&self, policy: &Policy, config: &Config) -> Result<Vec<ModelPair>, Failure> {
        if let (Some(base), Some(candidate)) = (&self.pair.base_model, &self.pair.candidate_model) {
            let name = stem(base);
            let pair = ModelPair {
                name,
                base: existing(base)?,
                candidate: existing(candidate)?,
            };
            return Ok(vec![pair]);
        }
        let asked = if self.asked.model.is_empty() {
            &policy.models
        } else {
            &self.asked.model
        };
        if asked.is_empty() {
            return Err(usage(
                "failed to find weights: name them with --model FILE, or as `models` in the policy"
                    .to_owned(),
            ));
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for text in asked {
            for file in weights(text, config.models())? {
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        let pair = |file: PathBuf| ModelPair {
            name: stem(&file),
            base: file.clone(),
            candidate: file,
        };
        Ok(files.into_iter().map(pair).collect())
    }

    /// The policy with the models and workloads that were typed, as the record has to show it: who
    /// judges it must see what was asked.
    fn with_typed(
        &self,
        mut policy: Policy,
        mut used: PolicyUsed,
        models: &[ModelPair],
        kind: ArmKind,
    ) -> Result<(Policy, PolicyUsed), Failure> {
        if kind == ArmKind::Command {
            if self.asked.workload.is_empty() {
                return Ok((policy, used));
            }
            return Err(usage(
                "failed to use --workload: a command has its own; leave the flag out".to_owned(),
            ));
        }
        let has_models = !self.asked.model.is_empty() || self.pair.base_model.is_some();
        let mut patterns: Vec<String> = Vec::new();
        // By the name that the record has for it, whatever the file is called.
        for name in models.iter().map(|pair| format!("{}.gguf", pair.name)) {
            if has_models && !patterns.contains(&name) {
                patterns.push(name);
            }
        }
        let workloads = self.asked.workload.iter().copied().map(workload);
        let workloads: Vec<WorkloadSpec> = workloads.collect();
        let text = typed("the policy", &used.text, &patterns, &workloads).map_err(fragment)?;
        if text != used.text {
            if self.continues.is_some() {
                return Err(usage(
                    "failed to go on with other models or workloads than the result's: type what was \
                     typed then, or leave --model and --workload out"
                        .to_owned(),
                ));
            }
            policy = self::policy("the policy with what was typed", &text)?;
            used = PolicyUsed {
                sha256: Sha256Digest::of(text.as_bytes()),
                text,
                origin: PolicyOrigin::Typed,
                commit: used.commit,
            };
        }
        if policy.workloads.is_empty() {
            return Err(usage(
                "failed to find a workload: name one with --workload 64/64, or as [[workloads]] in \
                 the policy"
                    .to_owned(),
            ));
        }
        Ok((policy, used))
    }
}

/// Why a policy has nothing to say about an arm that was typed; `None` where it has.
fn why_not_by(policy: &Policy, arm: &ArmSpec) -> Option<&'static str> {
    match policy.arms.as_ref().map(|arms| arms.kind) {
        Some(kind) if kind == arm.kind => None,
        Some(_) => Some("its [arms] are of another kind"),
        None if arm.kind == ArmKind::Command && gates_models(policy) => Some(OF_MODELS),
        None => None,
    }
}

const OF_MODELS: &str = "it gates models, and commands have none";

fn gates_models(policy: &Policy) -> bool {
    !policy.models.is_empty() || !policy.workloads.is_empty()
}

/// A result that chose its own policy or coins decides nothing that is required.
pub(super) fn refuse_what_loosened(record: &GateRecord) -> Result<(), Failure> {
    let what = if record.policy.origin == PolicyOrigin::File {
        "it was measured by a policy file that was named, not by the base ref's"
    } else if record.policy.origin == PolicyOrigin::Typed {
        "what it gates was typed, not left to the base ref's policy"
    } else if record.policy.origin == PolicyOrigin::BuiltIn && record.policy.commit.is_none() {
        "no base ref was there to read a policy from"
    } else if record.seed_origin == SeedOrigin::Given {
        "its seed was typed"
    } else {
        return Ok(());
    };
    Err(usage(format!(
        "failed to take the result in mode required: {what}; measure it again without that, or use \
         --mode advisory"
    )))
}

/// Threads that engines get.
pub(super) fn threads_of(asked: &Asked) -> u32 {
    let wanted = threads::wanted(asked.threads.map(usize::from));
    u32::try_from(wanted).unwrap_or(u32::MAX)
}

/// An error that the person can mend by typing something else.
pub(super) fn usage(what: String) -> Failure {
    Failure {
        exit: Exit::Usage,
        error: anyhow::Error::msg(what),
    }
}

pub(super) fn failed(error: CheckoutError) -> Failure {
    let exit = if matches!(error, CheckoutError::Interrupted) {
        Exit::Interrupted
    } else if error.is_usage() {
        Exit::Usage
    } else {
        Exit::Infrastructure
    };
    Failure {
        exit,
        error: anyhow::Error::new(error).context("failed to get the arms"),
    }
}

/// What a person typed or wrote and the library below could not read, as a sentence.
fn fragment(error: impl std::fmt::Display) -> Failure {
    usage(format!("failed to {error}"))
}

/// An arm as typed.
pub(super) fn arm(text: &str) -> Result<ArmSpec, Failure> {
    ArmSpec::parse(text).map_err(fragment)
}

fn policy(file: &str, text: &str) -> Result<Policy, Failure> {
    Policy::parse(file, text).map_err(fragment)
}

fn parsed(
    file: &str,
    text: String,
    origin: PolicyOrigin,
    commit: Option<&str>,
) -> Result<(Policy, PolicyUsed), Failure> {
    let policy = policy(file, &text)?;
    let used = PolicyUsed {
        sha256: Sha256Digest::of(text.as_bytes()),
        text,
        origin,
        commit: commit.map(Name::cleaned),
    };
    Ok((policy, used))
}

fn seed(typed: Option<&str>) -> Result<Option<(Sha256Digest, SeedOrigin)>, Failure> {
    typed
        .map(|text| Ok((text.parse()?, SeedOrigin::Given)))
        .transpose()
        .map_err(|error: domain::ids::IdError| error)
        .context("failed to read --seed: 64 hexadecimal digits are needed")
        .or_usage()
}

/// A file as it was named, or every file in the models folder that fits.
fn weights(text: &str, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if Path::new(text).is_file() {
        return Ok(vec![existing(Path::new(text))?]);
    }
    let found: Vec<PathBuf> = model_files(folder)
        .context("failed to list the models")
        .or_usage()?
        .into_iter()
        .filter(|name| fits(text, name) && is_gguf(name))
        .map(|name| folder.join(name))
        .collect();
    if found.is_empty() {
        return Err(usage(format!(
            "failed to find the weights {text:?}: neither a file, nor does a GGUF in {} fit; name \
             the folder with --models",
            folder.display()
        )));
    }
    found.iter().map(|file| existing(file)).collect()
}

fn is_gguf(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// Arms run in folders of their own, so that a file is named from the root.
fn existing(file: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(file)
        .with_context(|| format!("failed to find the weights {}", file.display()))
        .or_usage()
}

fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or(file.as_os_str());
    Name::cleaned(&stem.to_string_lossy()).to_string()
}

fn workload(shape: Shape) -> WorkloadSpec {
    let id = format!("pp{}-tg{}", shape.prompt_tokens, shape.output_tokens);
    let id = Slug::from_text(&id).expect("letters, digits and a hyphen");
    WorkloadSpec::simple(id, shape.prompt_tokens, shape.output_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_a_file_as_named_or_what_fits_in_the_models_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["mini-a.gguf", "mini-b.gguf", "mini.txt", "other.gguf"] {
            fs::write(folder.path().join(name), "").expect("writable");
        }
        let names = |text: &str| -> Vec<String> {
            let found = weights(text, folder.path()).expect("found");
            found.iter().map(|file| stem(file)).collect()
        };
        assert_eq!(names("mini-*.gguf"), ["mini-a", "mini-b"]);
        assert_eq!(names("*"), ["mini-a", "mini-b", "other"]);
        let named = folder.path().join("mini.txt");
        assert_eq!(names(named.to_str().expect("text")), ["mini"]);
        let none = weights("absent-*.gguf", folder.path()).expect_err("nothing fits");
        assert_eq!(none.exit, Exit::Usage);
    }

    #[test]
    fn a_typed_workload_is_named_as_its_shape() {
        let named = workload(Shape {
            prompt_tokens: 256,
            output_tokens: 64,
        });
        assert_eq!(named.id.as_str(), "pp256-tg64");
    }

    /// What was typed after `gate`.
    fn wanted(arguments: &[&str]) -> Wanted {
        use clap::Parser as _;

        let line = ["joulemark", "gate"].iter().chain(arguments);
        let cli = crate::cli::Cli::try_parse_from(line).expect("a command line");
        let crate::cli::Verb::Gate(gate) = cli.verb else {
            panic!("another verb");
        };
        let gate = *gate;
        Wanted {
            purpose: Purpose::Gate,
            pair: gate.pair,
            asked: gate.asked,
            policy: gate.policy.policy,
            mode: gate.mode,
            continues: None,
            audience: Audience::Any,
        }
    }

    const RULES: &str = "required = [\"speed\", \"memory\"]\nmodels = [\"mini-*.gguf\"]\n\
        [[workloads]]\nid = \"own\"\nprompt_tokens = 32\noutput_tokens = 8\n\
        metrics = [\"decode\", \"peak-bytes\"]\n";

    fn by_rules(arguments: &[&str]) -> Result<(Policy, PolicyUsed), Failure> {
        let (policy, used) = parsed("rules", RULES.to_owned(), PolicyOrigin::BaseRef, None)?;
        let models = [ModelPair {
            name: "mini-a".to_owned(),
            base: PathBuf::from("/models/mini-a.gguf"),
            candidate: PathBuf::from("/models/mini-a.gguf"),
        }];
        wanted(arguments).with_typed(policy, used, &models, ArmKind::Candle)
    }

    #[test]
    fn a_record_shows_which_models_and_workloads_were_typed_in_place_of_the_policys() {
        let (policy, used) = by_rules(&[]).expect("as it is");
        assert_eq!(
            (used.text.as_str(), used.origin),
            (RULES, PolicyOrigin::BaseRef)
        );
        assert_eq!(policy.models, ["mini-*.gguf"]);
        let asked = ["--workload", "16/17", "--model", "mini-a.gguf"];
        let (policy, used) = by_rules(&asked).expect("typed");
        assert_eq!(used.origin, PolicyOrigin::Typed);
        assert_eq!(used.sha256, Sha256Digest::of(used.text.as_bytes()));
        let again = Policy::parse("the record's", &used.text).expect("a policy");
        assert_eq!(again, policy, "the record says all of it");
        assert_eq!(policy.models, ["mini-a.gguf"]);
        let [gated] = policy.workloads.as_slice() else {
            panic!("one workload: {:?}", policy.workloads);
        };
        assert_eq!(gated.workload.id.as_str(), "pp16-tg17");
    }

    #[test]
    fn a_required_gate_refuses_every_flag_that_says_what_is_gated() {
        let pair = ["--base-model", "a", "--candidate-model", "b"];
        for typed in [&pair[..], &["--model", "a"], &["--workload", "1/1"]] {
            let required = [&["--mode", "required"], typed].concat();
            let refused = wanted(&required).refuse_what_loosens();
            let refused = refused.expect_err("it leaves models out");
            assert!(format!("{:#}", refused.error).contains(typed[0]));
            assert!(wanted(typed).refuse_what_loosens().is_ok());
        }
    }

    #[test]
    fn a_seed_is_a_digest_or_an_error_with_what_to_type() {
        assert!(seed(None).expect("none").is_none());
        let (_, origin) = seed(Some(&"5e".repeat(32)))
            .expect("a seed")
            .expect("typed");
        assert_eq!(origin, SeedOrigin::Given);
        let short = seed(Some("5e")).expect_err("too short");
        assert!(format!("{:#}", short.error).contains("64 hexadecimal digits"));
    }
}
