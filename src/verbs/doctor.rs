//! `joulemark doctor`: what this machine can measure, what would spoil it, and the fix.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use collector::postgres::{OLDEST_MAJOR, installed_majors};
use runner::clock::{Clock, RealClock};
use runner::doctor::engines::look_for;
use runner::doctor::measured::measure;
use runner::doctor::{
    Check, Diagnosis, EngineFinding, ModelFile, Status, Surroundings, examine, render,
};
use runner::host::{recognise, survey};
use runner::meter;

use crate::cli::{Doctor, origins};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::verbs::measuring::read_matrix;
use crate::{output, threads};

/// What is looked for where no matrix is named.
const DEFAULT_MATRIX: &str = "model-matrix.toml";

/// Looks, times, judges and prints.
pub(crate) async fn run(args: Doctor, config: Config) -> Outcome {
    let root = Path::new("/");
    let catalogue = config.catalogue()?;
    let named = args
        .matrix
        .or_else(|| Some(PathBuf::from(DEFAULT_MATRIX)).filter(|file| file.is_file()));
    let engines = match &named {
        Some(file) => Some(engines_of(file).await?),
        None => None,
    };
    let wanted = threads::wanted(args.threads.map(usize::from));
    let around = Surroundings {
        data: config.data().to_owned(),
        disk_free_bytes: runner::host::free_disk_bytes(config.data()),
        models: config.models().to_owned(),
        model_files: model_files(config.models()),
        threads: wanted as u32,
        engines,
        meters: config.meters()?,
        further: vec![postgres(), settings(&config, named.as_deref(), wanted)],
    };
    if !args.json {
        output::say("timing clock, memory and arithmetic: some five seconds");
    }
    let mut survey = survey(root);
    recognise(&mut survey, &catalogue);
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let meters = meter::discover(root, &survey.host, &config.meters()?).meters;
    let measured = measure(root, &survey.host, &clock, meters);
    let diagnosis = examine(root, survey, &catalogue, around, &measured);
    let text = if args.json {
        serde_json::to_string_pretty(&diagnosis).or_infrastructure()?
    } else {
        render(&diagnosis, output::may_colour(args.no_color.as_deref()))
    };
    output::line(text.trim_end()).or_infrastructure()?;
    Ok(exit(&diagnosis))
}

fn exit(diagnosis: &Diagnosis) -> Exit {
    match (diagnosis.fit, diagnosis.incomplete) {
        (false, _) => Exit::No,
        (true, true) => Exit::Infrastructure,
        (true, false) => Exit::Fine,
    }
}

async fn engines_of(file: &Path) -> Result<Vec<EngineFinding>, Failure> {
    let matrix = read_matrix(file)?;
    let mut found = Vec::new();
    for engine in matrix.engines() {
        found.push(look_for(engine).await);
    }
    Ok(found)
}

/// Every GGUF in the folder; none if it cannot be read, which the check says.
fn model_files(folder: &Path) -> Vec<ModelFile> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "gguf"))
        .filter_map(|entry| {
            Some(ModelFile {
                name: entry.file_name().to_string_lossy().into_owned(),
                bytes: fs::metadata(entry.path()).ok()?.len(),
            })
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn postgres() -> Check {
    let majors: Vec<String> = installed_majors().iter().map(u32::to_string).collect();
    if majors.is_empty() {
        let evidence = format!("no PostgreSQL {OLDEST_MAJOR} or newer is installed");
        return Check::new("postgres", Status::Warn, evidence)
            .fix("quickstart and serve download it; or install it, or pass --database-url");
    }
    Check::new(
        "postgres",
        Status::Pass,
        format!("PostgreSQL {}", majors.join(", ")),
    )
}

fn settings(config: &Config, matrix: Option<&Path>, threads: usize) -> Check {
    let value = |flag: &str| match flag {
        "--data" => config.data().display().to_string(),
        "--models" => config.models().display().to_string(),
        "--profiles" => config.profiles().display().to_string(),
        "--matrix" => matrix.map_or_else(|| "none".to_owned(), |file| file.display().to_string()),
        "--meters" => config
            .meters_file()
            .map_or_else(|| "none".to_owned(), |file| file.display().to_string()),
        _ => threads.to_string(),
    };
    let settings: Vec<String> = origins()
        .into_iter()
        .map(|(flag, origin)| {
            let name = flag.trim_start_matches('-');
            format!("{name} {} ({origin})", value(&flag))
        })
        .collect();
    Check::new("settings", Status::Pass, settings.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_weights_files_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [("b.gguf", "four"), ("a.gguf", "12"), ("notes.md", "no")] {
            fs::write(folder.path().join(name), text).expect("writable");
        }
        let found: Vec<_> = model_files(folder.path())
            .into_iter()
            .map(|file| (file.name, file.bytes))
            .collect();
        assert_eq!(found, [("a.gguf".to_owned(), 2), ("b.gguf".to_owned(), 4)]);
        assert!(model_files(&folder.path().join("absent")).is_empty());
    }
}
