//! Boots what users run: the built program, its private PostgreSQL, free ports, folders of its
//! own. Everything stops and is removed on drop.

pub(crate) mod installed;
pub(crate) mod known_joules;
pub(crate) mod servers;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use serde_json::Value;
use tempfile::TempDir;

/// A data folder of its own, which a `postgres` user may traverse (as root the private
/// PostgreSQL runs as that user).
#[derive(Debug)]
pub(crate) struct Installation {
    folder: TempDir,
}

impl Installation {
    /// An empty one.
    pub(crate) fn fresh() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::Builder::new()
            .prefix("jm-")
            .tempdir_in("/tmp")
            .expect("a folder");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))
            .expect("its owner");
        Self { folder }
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file beside the data folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a writable folder");
        path
    }

    /// The program with this data folder, without anything from the environment.
    pub(crate) fn joulemark(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_joulemark"));
        command
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .env_remove("DATABASE_URL")
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.joulemark(arguments)
            .output()
            .expect("the program starts")
    }

    /// Runs the program and expects exit 0; returns its standard output.
    pub(crate) fn run_fine(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "joulemark {arguments:?} ended with {}:\n{stderr}",
            output.status
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Makes this installation's key, and allows it at its own collector.
    pub(crate) fn allow_own_key(&self) {
        self.run_fine(&["key", "new"]);
        let key = self.run_fine(&["key", "show"]);
        let public = key
            .lines()
            .find_map(|line| line.strip_prefix("public key "))
            .expect("a public key");
        let allowed = format!("{} test\n", public.trim());
        std::fs::write(self.data().join("allowed-keys"), allowed).expect("writable");
    }

    /// Starts the program and waits until it names its address on standard error.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Serving {
        let mut child = self
            .joulemark(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        let url = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("the program ended before it served:\n{said}");
            };
            said.push_str(&line);
            said.push('\n');
            let found = line
                .split_whitespace()
                .find(|word| word.starts_with("http://127.0.0.1:"));
            if let Some(url) = found {
                break url.trim_end_matches(['/', '.', ',']).to_owned();
            }
        };
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Serving { child, url }
    }
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
    /// Its address, without a slash at the end.
    pub(crate) url: String,
}

impl Serving {
    /// GET, whatever the status.
    pub(crate) fn get(&self, path: &str) -> Response {
        client()
            .get(format!("{}{path}", self.url))
            .send()
            .expect("an answer")
    }

    /// GET of JSON that must be there.
    pub(crate) fn json(&self, path: &str) -> Value {
        let response = self.get(path);
        assert!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        response.json().expect("JSON")
    }

    /// GET of a page that must be there.
    pub(crate) fn page(&self, path: &str) -> String {
        let response = self.get(path);
        assert!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        response.text().expect("text")
    }

    /// POST of an envelope's bytes.
    pub(crate) fn post(&self, bytes: Vec<u8>) -> Response {
        client()
            .post(format!("{}/api/v1/records", self.url))
            .header("content-type", "application/vnd.dsse+json")
            .body(bytes)
            .send()
            .expect("an answer")
    }

    /// Records in the collector's answers once they are `expected`, or after half a minute.
    pub(crate) fn stored_once(&self, expected: u64) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.stored() != expected && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.stored()
    }

    /// Records in the collector's answers.
    pub(crate) fn stored(&self) -> u64 {
        self.json("/api/v1/health")["records"]
            .as_u64()
            .expect("a count")
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it was running");
    }

    /// Asks it to stop and waits.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill runs");
        assert!(asked.success());
        let deadline = Instant::now() + Duration::from_mins(1);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the program did not stop within a minute of SIGTERM");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.stop();
        }
    }
}

/// A client that follows no redirect, so that tests see them.
pub(crate) fn client() -> Client {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_mins(1))
        .build()
        .expect("a client")
}
