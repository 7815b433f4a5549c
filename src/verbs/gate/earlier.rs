//! How often this pair was gated here before: who gates until it passes is told that it shows.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;

use domain::gate::record::{ArmFacts, GateRecord, Purpose};
use serde::Deserialize;

/// What tells a gate from another, of the head that every gate keeps in the data folder.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Head {
    purpose: Purpose,
    seed: String,
    base: Arm,
    candidate: Arm,
}

/// What tells an arm from another.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Arm {
    commit: Option<String>,
    binary_sha256: Option<String>,
    command_sha256: String,
}

impl Arm {
    fn of(facts: &ArmFacts) -> Self {
        Self {
            commit: facts.commit.as_ref().map(ToString::to_string),
            binary_sha256: facts.binary_sha256.map(|digest| digest.to_string()),
            command_sha256: facts.command_sha256.to_string(),
        }
    }
}

/// A sentence where the pair was gated before, by other coins; what `--continue` went on from is the
/// same gate. That it cannot be counted is said too, and costs no verdict.
pub(super) fn note(data: &Path, record: &GateRecord) -> Option<String> {
    if record.purpose != Purpose::Gate {
        return None;
    }
    match times(&data.join("gates"), record) {
        Ok(0) => None,
        Ok(times) => Some(format!(
            "this pair was gated on this machine before, by other coins: {times} times; a verdict that \
             is drawn until it suits is none; go on with a result by --continue"
        )),
        // Notes are published, so that no path is in them.
        Err(error) => Some(format!(
            "how often this pair was gated before is not known: the gates folder of the data folder \
             cannot be read: {error}"
        )),
    }
}

fn times(gates: &Path, record: &GateRecord) -> io::Result<usize> {
    let own = Head {
        purpose: record.purpose,
        seed: record.seed.to_string(),
        base: Arm::of(&record.base),
        candidate: Arm::of(&record.candidate),
    };
    let folders = match fs::read_dir(gates) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        folders => folders?,
    };
    let mut seeds = BTreeSet::new();
    for folder in folders {
        let file = match File::open(folder?.path().join("record.json")) {
            // Nothing was written before it ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        // What does not read as a head is of another version, and no gate of this pair.
        let Ok(head) = serde_json::from_reader::<_, Head>(BufReader::new(file)) else {
            continue;
        };
        let is_pair =
            (head.purpose, &head.base, &head.candidate) == (own.purpose, &own.base, &own.candidate);
        if is_pair && head.seed != own.seed {
            seeds.insert(head.seed);
        }
    }
    Ok(seeds.len())
}

#[cfg(test)]
mod tests {
    use domain::gate::Metric;
    use domain::gate::fixtures::Example;
    use domain::ids::Sha256Digest;

    use super::*;

    #[test]
    fn gates_of_the_same_pair_by_other_coins_are_counted_and_nothing_else() {
        let data = tempfile::tempdir().expect("a folder");
        let gate = Example::of("mini", "pp1-tg1", &[(Metric::Decode, 0.0)]).record();
        assert!(note(data.path(), &gate).is_none());
        let keep = |name: &str, change: fn(&mut GateRecord)| {
            let mut head = gate.clone();
            head.stages.clear();
            change(&mut head);
            let folder = data.path().join("gates").join(name);
            fs::create_dir_all(&folder).expect("writable");
            let text = serde_json::to_vec(&head).expect("JSON");
            fs::write(folder.join("record.json"), text).expect("writable");
        };
        keep("itself", |_| ());
        keep("aa", |head| head.purpose = Purpose::Aa);
        keep("other", |head| {
            head.seed = Sha256Digest::of(b"once");
            head.candidate.binary_sha256 = Some(Sha256Digest([9; 32]));
        });
        assert!(note(data.path(), &gate).is_none());
        keep("again", |head| {
            head.seed = Sha256Digest::of(b"once");
        });
        keep("again-continued", |head| {
            head.seed = Sha256Digest::of(b"once");
        });
        keep("once-more", |head| {
            head.seed = Sha256Digest::of(b"twice");
        });
        let said = note(data.path(), &gate).expect("two");
        assert!(said.contains("2 times"), "{said}");
    }
}
