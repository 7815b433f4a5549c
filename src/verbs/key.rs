//! `joulemark key`: the key that signs this machine's records.

use std::path::Path;

use anyhow::Context as _;
use runner::keys::RunnerKey;

use crate::cli::Key;
use crate::config::Config;
use crate::exit::{Exit, OrExit as _, Outcome};
use crate::output;

/// Makes the key if asked, and shows its public half.
pub(crate) fn run(args: &Key, config: &Config) -> Outcome {
    let path = config.key();
    let key = match args {
        Key::New => {
            // Made here, so that it is not only the key's owner who may pass through it: as root
            // PostgreSQL's account has to.
            config.make_data_folder()?;
            RunnerKey::load_or_make(&path)
                .context("failed to make the key")
                .or_infrastructure()?
        }
        Key::Show => RunnerKey::load(&path)
            .context("failed to show the key: `joulemark key new` makes one")
            .or_usage()?,
    };
    show(&key, &path)
}

fn show(key: &RunnerKey, path: &Path) -> Outcome {
    let public = hex::encode(key.public().as_bytes());
    output::line(&format!("key id     {}", key.key_id()))
        .and_then(|()| output::line(&format!("public key {public}")))
        .and_then(|()| output::line(&format!("file       {}", path.display())))
        .or_infrastructure()?;
    Ok(Exit::Fine)
}
