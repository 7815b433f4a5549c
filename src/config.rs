//! What was typed, made into paths and options. Nothing below this reads flags or environment.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use domain::hardware::Catalogue;
use etcetera::BaseStrategy as _;
use runner::meter::wall::MetersFile;

use crate::cli::Folders;
use crate::exit::{Failure, OrExit as _};

/// Folders and files of one installation.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    data: PathBuf,
    models: PathBuf,
    profiles: PathBuf,
    /// As typed; else `meters.toml` in the data folder, if it is there.
    meters: Option<PathBuf>,
}

impl Config {
    /// Resolves the folders: flag, then `JOULEMARK_*` (both by clap), then the default.
    pub(crate) fn resolve(folders: Folders) -> Result<Self, Failure> {
        let data = match folders.data {
            Some(folder) => std::path::absolute(folder).or_usage()?,
            None => default_data_folder()?,
        };
        let meters = folders
            .meters
            .or_else(|| Some(data.join("meters.toml")).filter(|file| file.is_file()));
        Ok(Self {
            data,
            meters,
            models: folders
                .models
                .unwrap_or_else(|| beside_the_workspace("reference-models")),
            profiles: folders
                .profiles
                .unwrap_or_else(|| beside_the_workspace("hardware-profiles")),
        })
    }

    /// The private PostgreSQL.
    pub(crate) fn postgres(&self) -> PathBuf {
        self.data.join("postgres")
    }

    /// The key that signs.
    pub(crate) fn key(&self) -> PathBuf {
        self.data.join("keys").join("runner.pem")
    }

    /// The durable outbox.
    pub(crate) fn spool(&self) -> PathBuf {
        self.data.join("spool")
    }

    /// Made variants, by digest.
    pub(crate) fn variants(&self) -> PathBuf {
        self.data.join("variants")
    }

    /// The file in which `serve` allows keys.
    pub(crate) fn allowed_keys(&self) -> PathBuf {
        self.data.join("allowed-keys")
    }

    /// The data folder.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// The folder of source models.
    pub(crate) fn models(&self) -> &Path {
        &self.models
    }

    /// Makes the data folder. Its mode lets the `postgres` user through to its own folder; what
    /// is private below it (the key) has a mode of its own.
    pub(crate) fn make_data_folder(&self) -> Result<(), Failure> {
        fs::create_dir_all(&self.data)
            .with_context(|| format!("failed to make the data folder {}", self.data.display()))
            .or_infrastructure()
    }

    /// The folder of hardware profiles.
    pub(crate) fn profiles(&self) -> &Path {
        &self.profiles
    }

    /// The file of meters, if there is one.
    pub(crate) fn meters_file(&self) -> Option<&Path> {
        self.meters.as_deref()
    }

    /// Reads the meters that the user named, if any.
    pub(crate) fn meters(&self) -> Result<MetersFile, Failure> {
        let Some(file) = &self.meters else {
            return Ok(MetersFile::default());
        };
        let text = fs::read_to_string(file)
            .with_context(|| format!("failed to read the meters in {}", file.display()))
            .or_usage()?;
        MetersFile::parse(&file.display().to_string(), &text).or_usage()
    }

    /// Reads every hardware profile.
    pub(crate) fn catalogue(&self) -> Result<Catalogue, Failure> {
        read_catalogue(&self.profiles).or_usage()
    }
}

fn read_catalogue(folder: &Path) -> anyhow::Result<Catalogue> {
    let entries = fs::read_dir(folder).with_context(|| {
        format!(
            "failed to read the hardware profiles in {}: pass --profiles DIR, \
             or run from the workspace",
            folder.display()
        )
    })?;
    let mut texts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            texts.push((path.display().to_string(), text));
        }
    }
    texts.sort();
    let files = texts
        .iter()
        .map(|(file, text)| (file.as_str(), text.as_str()));
    Ok(Catalogue::parse(files)?)
}

fn default_data_folder() -> Result<PathBuf, Failure> {
    if let Some(folder) = collector::postgres::data_folder_of_root() {
        return Ok(folder);
    }
    let base = etcetera::choose_base_strategy()
        .context("failed to find a home folder: pass --data DIR")
        .or_usage()?;
    Ok(base.data_dir().join("joulemark"))
}

/// A folder that ships with the workspace: in the current folder when it is there, else where
/// this program was built.
fn beside_the_workspace(name: &str) -> PathBuf {
    let here = PathBuf::from(name);
    if here.is_dir() {
        here
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }
}
