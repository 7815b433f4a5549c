//! A folder of made variants, each named by its own SHA-256.
//!
//! `<sha256>.gguf` is a file, `<sha256>` a Hugging Face folder (named by the digest of its files' names and digests);
//! `index/<key>` holds the digest of what one source, spec, form and maker version gave. All are written beside their
//! place and renamed into it, so a reader sees all of a variant or none, and two programs that make the same variant
//! write the same bytes. The cache holds at most one variant per source, spec, form and version asked for, so the
//! matrix bounds it; the whole folder may be deleted at any time.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use domain::ids::Sha256Digest;
use domain::matrix::AS_IS;
use tempfile::NamedTempFile;

use super::huggingface::{self, Files};
use super::quantise::{self, MAKER, Made};
use super::{PruneRecipe, VariantError, VariantSpec, digest_of_file};
use crate::gguf::{self, Gguf};

/// Makes variants, or finds them made before.
#[derive(Debug, Clone)]
pub struct VariantCache {
    folder: PathBuf,
}

impl VariantCache {
    /// A cache in `folder`, which is made on first use.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The variant's file, made if need be.
    ///
    /// A spec that removes nothing from a source that has the wanted type already, or that wants it as it is, is
    /// answered with the source itself.
    pub fn make(&self, spec: &VariantSpec) -> Result<PathBuf, VariantError> {
        let Some(wanted) = spec.quant.made() else {
            if spec.prune != PruneRecipe::None {
                return Err(VariantError::Prune {
                    path: spec.source.clone(),
                    recipe: spec.prune.clone(),
                    problem: format!("{AS_IS} leaves the file unchanged"),
                });
            }
            return Ok(spec.source.clone());
        };
        let mut source = Gguf::open(&spec.source)?;
        if quantise::is_the_source(spec, wanted, &source)? {
            return Ok(spec.source.clone());
        }
        let source_digest = digest_of_file(&spec.source)?;
        let entry = self.index().join(key(spec, &source_digest).to_string());
        if let Some(path) = self.find(&entry) {
            return Ok(path);
        }
        let made = quantise::make(spec, wanted, &mut source, &source_digest)?;
        self.keep(&made, &entry)
    }

    /// The variant as a folder that Hugging Face's transformers, MLX and vLLM load, made if need be; only F16 and F32
    /// have this form. A source that is such a folder, and wanted as it is, is the answer.
    pub fn make_huggingface(&self, spec: &VariantSpec) -> Result<PathBuf, VariantError> {
        let weights = self.make(spec)?;
        if weights.is_dir() {
            return Ok(weights);
        }
        let mut gguf = Gguf::open(&weights)?;
        let digest = digest_of_file(&weights)?;
        let entry = self
            .index()
            .join(named(&[MAKER, "hugging face", &digest.to_string()]).to_string());
        if let Some(folder) = self.find_folder(&entry) {
            return Ok(folder);
        }
        let files = huggingface::files(&mut gguf, &digest)?;
        self.keep_folder(&files, &entry)
    }

    fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    fn path_of(&self, digest: &Sha256Digest) -> PathBuf {
        self.folder.join(format!("{digest}.gguf"))
    }

    /// A file made before, if its bytes are still the ones it is named by. It is hashed on every use: a record names
    /// the weights by digest, and a size or a date would not notice a flipped bit.
    fn find(&self, entry: &Path) -> Option<PathBuf> {
        let digest: Sha256Digest = fs::read_to_string(entry).ok()?.parse().ok()?;
        let path = self.path_of(&digest);
        if !path.exists() {
            return None;
        }
        if digest_of_file(&path).is_ok_and(|found| found == digest) {
            return Some(path);
        }
        tracing::warn!(variant.sha256 = %digest, "a cached variant no longer matches its digest; it is made again");
        None
    }

    fn keep(&self, made: &Made, entry: &Path) -> Result<PathBuf, VariantError> {
        let index = self.index();
        fs::create_dir_all(&index).map_err(fault("make the folder", &index))?;

        let weights = self.temporary(&self.folder)?;
        let mut writer = BufWriter::new(weights.as_file());
        gguf::write(&mut writer, &made.metadata, &made.tensors).map_err(|error| {
            VariantError::Convert {
                path: weights.path().to_owned(),
                tensor: "the made file".to_owned(),
                source: Box::new(error),
            }
        })?;
        writer.flush().map_err(fault("write", weights.path()))?;
        drop(writer);
        let digest = digest_of_file(weights.path())?;
        let path = self.path_of(&digest);
        settle(weights, &path)?;
        self.note(&digest, entry)?;
        Ok(path)
    }

    /// A folder made before, if its files are still those that it is named by.
    fn find_folder(&self, entry: &Path) -> Option<PathBuf> {
        let digest: Sha256Digest = fs::read_to_string(entry).ok()?.parse().ok()?;
        let folder = self.folder.join(digest.to_string());
        if !folder.exists() {
            return None;
        }
        if digest_of_folder(&folder).is_ok_and(|found| found == digest) {
            return Some(folder);
        }
        tracing::warn!(variant.sha256 = %digest, "a cached folder no longer matches its digest; it is made again");
        None
    }

    fn keep_folder(&self, files: &Files, entry: &Path) -> Result<PathBuf, VariantError> {
        let index = self.index();
        fs::create_dir_all(&index).map_err(fault("make the folder", &index))?;
        let made =
            tempfile::tempdir_in(&self.folder).map_err(fault("make a folder in", &self.folder))?;
        for (name, content) in files {
            let path = made.path().join(name);
            File::create_new(&path)
                .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
                .map_err(fault("write", &path))?;
        }
        sync_folder(made.path())?;
        let digest = digest_of_folder(made.path())?;
        let folder = self.folder.join(digest.to_string());
        // A folder cannot be replaced in one step: a damaged one goes first, and the same one made meanwhile stays.
        if folder.exists() && digest_of_folder(&folder).ok() != Some(digest) {
            fs::remove_dir_all(&folder).map_err(fault("remove", &folder))?;
        }
        match fs::rename(made.path(), &folder) {
            Err(error) if !folder.exists() => return Err(fault("name", &folder)(error)),
            _ => sync_folder(&self.folder)?,
        }
        self.note(&digest, entry)?;
        Ok(folder)
    }

    fn note(&self, digest: &Sha256Digest, entry: &Path) -> Result<(), VariantError> {
        let note = self.temporary(&self.index())?;
        note.as_file()
            .write_all(digest.to_string().as_bytes())
            .map_err(fault("write", note.path()))?;
        settle(note, entry)
    }

    fn temporary(&self, folder: &Path) -> Result<NamedTempFile, VariantError> {
        NamedTempFile::new_in(folder).map_err(fault("make a file in", &self.folder))
    }
}

/// Names one source, spec and maker version.
fn key(spec: &VariantSpec, source: &Sha256Digest) -> Sha256Digest {
    named(&[
        MAKER,
        spec.quant.label(),
        &spec.prune.to_string(),
        &source.to_string(),
    ])
}

/// Digest of a list of texts; each is preceded by its length, so no two lists can be confused.
fn named(parts: &[&str]) -> Sha256Digest {
    let text: Vec<u8> = parts
        .iter()
        .flat_map(|part| {
            [
                (part.len() as u64).to_le_bytes().as_slice(),
                part.as_bytes(),
            ]
            .concat()
        })
        .collect();
    Sha256Digest::of(&text)
}

/// Makes a written file durable and gives it its name in one step.
fn settle(file: NamedTempFile, path: &Path) -> Result<(), VariantError> {
    file.as_file().sync_all().map_err(fault("write", path))?;
    file.persist(path)
        .map_err(|error| fault("name", path)(error.error))?;
    sync_folder(path.parent().expect("a file in the cache lies in a folder"))
}

/// Digest of a folder's files, by their names and digests; anything but files in it is an error.
fn digest_of_folder(folder: &Path) -> Result<Sha256Digest, VariantError> {
    let read = || fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>();
    let mut files = read().map_err(fault("read", folder))?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut parts = Vec::new();
    for file in files {
        parts.push(file.file_name().to_string_lossy().into_owned());
        parts.push(digest_of_file(&file.path())?.to_string());
    }
    Ok(named(&parts.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn sync_folder(folder: &Path) -> Result<(), VariantError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(fault("write", folder))
}

fn fault(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> VariantError {
    let path = path.to_owned();
    move |source| VariantError::Io {
        doing,
        path: path.clone(),
        source,
    }
}
