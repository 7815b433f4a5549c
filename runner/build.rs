//! Tells the crate how it was built: the engine's version and the flags that change its code travel in every record.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo hands a build script its facts in the environment"
)]

use std::path::Path;
use std::{env, fs};

/// Compiler flags that change speed; others may hold paths of the building machine and stay out of records.
const TELLING_FLAGS: [&str; 6] = [
    "target-cpu=",
    "target-feature=",
    "opt-level=",
    "lto",
    "codegen-units=",
    "panic=",
];

fn main() {
    let lock = Path::new("..").join("Cargo.lock");
    println!("cargo:rerun-if-changed={}", lock.display());
    println!(
        "cargo:rustc-env=JOULEMARK_CANDLE_VERSION={}",
        locked_version(&lock, "candle-core")
    );
    println!("cargo:rustc-env=JOULEMARK_TARGET={}", variable("TARGET"));

    let encoded = variable("CARGO_ENCODED_RUSTFLAGS");
    let telling = encoded
        .split('\u{1f}')
        .map(|flag| flag.strip_prefix("-C").unwrap_or(flag))
        .filter(|flag| TELLING_FLAGS.iter().any(|known| flag.starts_with(known)));
    let flags: Vec<String> = [
        format!("profile={}", variable("PROFILE")),
        format!("opt-level={}", variable("OPT_LEVEL")),
    ]
    .into_iter()
    .chain(telling.map(str::to_owned))
    .collect();
    println!("cargo:rustc-env=JOULEMARK_BUILD_FLAGS={}", flags.join(" "));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// The version of `package` in a lock file, whose entries are a `name` line and then a `version` line.
fn locked_version(lock: &Path, package: &str) -> String {
    let text = fs::read_to_string(lock).expect("Cargo.lock lies beside the workspace");
    let mut lines = text
        .lines()
        .skip_while(|line| *line != format!("name = \"{package}\""));
    lines
        .find_map(|line| line.strip_prefix("version = \""))
        .and_then(|rest| rest.strip_suffix('"'))
        .expect("Cargo.lock names every dependency's version")
        .to_owned()
}
