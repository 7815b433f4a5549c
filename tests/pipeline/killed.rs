//! Power cuts: what was acknowledged is there, what was not arrives, nothing is doubled.

use std::process::Stdio;
use std::time::Duration;

use crate::harness::{Installation, Serving};
use crate::hostile::sealed_variations;

const ENVELOPES: usize = 60;

fn serve(installation: &Installation) -> Serving {
    installation.serve(&["serve", "--listen", "127.0.0.1:0"])
}

fn count(installation: &Installation, folder: &str) -> usize {
    std::fs::read_dir(installation.data().join("spool").join(folder)).map_or(0, Iterator::count)
}

#[test]
fn killing_the_collector_during_submission_loses_nothing_and_doubles_nothing() {
    let installation = Installation::fresh();
    let template = crate::hostile::one_honest_record(&installation);
    sealed_variations(&installation, &template, ENVELOPES);
    let spooled = count(&installation, "new");
    assert_eq!(spooled, ENVELOPES + 1);

    // Each round is killed a little later than the one before.
    for round in 1..=6 {
        let serving = serve(&installation);
        let mut submit = installation
            .joulemark(&["submit", "--collector", &serving.url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(Duration::from_millis(120 * round));
        serving.kill();
        submit.kill().expect("it was started");
        submit.wait().expect("it was started");
        assert_eq!(
            count(&installation, "bad"),
            0,
            "a killed collector spoils no envelope"
        );
    }

    let mut serving = serve(&installation);
    installation.run_fine(&["submit", "--collector", &serving.url]);
    assert_eq!(count(&installation, "new"), 0);
    assert_eq!(count(&installation, "sent"), spooled);
    assert_eq!(serving.stored_once(spooled as u64), spooled as u64);
    assert!(serving.stop().success());
}

#[test]
fn killing_the_database_keeps_what_was_acknowledged() {
    let installation = Installation::fresh();
    crate::hostile::one_honest_record(&installation);
    let mut serving = serve(&installation);
    installation.run_fine(&["submit", "--collector", &serving.url]);
    assert_eq!(serving.stored_once(1), 1);

    let pid_file = installation.data().join("postgres/cluster/postmaster.pid");
    let pid = std::fs::read_to_string(&pid_file).expect("a running server");
    let pid = pid.lines().next().expect("its process id");
    let killed = std::process::Command::new("kill")
        .args(["-KILL", pid])
        .status()
        .expect("kill runs");
    assert!(killed.success());
    let _ = serving.stop();

    let mut serving = serve(&installation);
    assert_eq!(serving.stored_once(1), 1);
    assert!(serving.stop().success());
}
