//! Real repositories in folders of their own.

use super::*;

/// A repository with two commits on `main`, and a branch `change` with one more that leaves it at
/// the first; `None` (and it says so) where there is no git.
fn repository() -> Option<(tempfile::TempDir, Repository)> {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    if Command::new("git").arg("--version").output().is_err() {
        println!("SKIPPED: there is no git");
        return None;
    }
    let run = |arguments: &[&str]| {
        let output = git(here, arguments).expect("git");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    };
    let commit = |file: &str, content: &str| {
        std::fs::create_dir_all(here.join(".joulemark")).unwrap();
        std::fs::write(here.join(file), content).unwrap();
        run(&["add", "--all"]);
        run(&[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "commit",
            "-qm",
            file,
        ]);
    };
    run(&["init", "-q", "-b", "main"]);
    commit(".joulemark/gate.toml", "alpha_percent = 5.0\n");
    run(&["branch", "change"]);
    commit("later", "on main");
    run(&["checkout", "-q", "change"]);
    commit(".joulemark/gate.toml", "alpha_percent = 40.0\n");
    let repository = Repository::around(here).expect("a repository");
    Some((folder, repository))
}

#[test]
fn the_base_is_where_the_change_left_the_branch_and_the_policy_is_the_branchs() {
    let Some((_folder, repository)) = repository() else {
        return;
    };
    assert_eq!(repository.base_ref().unwrap(), "main");
    let base = repository.merge_base("main").unwrap();
    assert_eq!(base, repository.resolve("main~1").unwrap());
    let main = repository.resolve("main").unwrap();
    let policy = repository.file_at(&main, ".joulemark/gate.toml").unwrap();
    assert_eq!(policy.as_deref(), Some("alpha_percent = 5.0\n"));
    assert_eq!(repository.file_at(&main, "not/there").unwrap(), None);
}

#[test]
fn a_checkout_is_moved_and_keeps_what_git_ignores() {
    let Some((_folder, repository)) = repository() else {
        return;
    };
    let data = tempfile::tempdir().expect("a folder");
    let (first, second) = (
        repository.resolve("main~1").unwrap(),
        repository.resolve("main").unwrap(),
    );
    let checkout = repository.check_out(&first, data.path()).unwrap();
    let folder = checkout.folder().to_owned();
    assert!(!folder.join("later").exists());
    assert!(
        matches!(
            repository.check_out(&second, data.path()),
            Err(CheckoutError::InUse(_))
        ),
        "one gate at a time moves it"
    );
    drop(checkout);
    std::fs::write(folder.join("stray"), "of a build").unwrap();
    let exclude = repository.root().join(".git/info/exclude");
    std::fs::write(exclude, "target\n").unwrap();
    std::fs::write(folder.join("target"), "built").unwrap();
    let checkout = repository.check_out(&second, data.path()).unwrap();
    assert_eq!(checkout.folder(), folder);
    assert!(folder.join("later").exists());
    assert!(folder.join("target").exists());
    assert!(!folder.join("stray").exists());
}

#[test]
fn a_checkout_that_was_deleted_by_hand_is_made_again() {
    let Some((_folder, repository)) = repository() else {
        return;
    };
    let data = tempfile::tempdir().expect("a folder");
    let head = repository.resolve("HEAD").unwrap();
    let folder = {
        let checkout = repository.check_out(&head, data.path()).unwrap();
        checkout.folder().to_owned()
    };
    std::fs::remove_dir_all(&folder).unwrap();
    repository.check_out(&head, data.path()).unwrap();
    assert!(folder.join("later").exists() || folder.join(".joulemark").exists());
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    let Some((folder, repository)) = repository() else {
        return;
    };
    let unknown = repository.merge_base("origin/none").unwrap_err();
    assert!(unknown.is_usage());
    assert!(unknown.to_string().contains("git fetch"), "{unknown}");

    let nowhere = tempfile::tempdir().expect("a folder");
    let none = Repository::around(nowhere.path()).unwrap_err();
    assert!(none.to_string().contains("--candidate"), "{none}");

    let shallow = nowhere.path().join("shallow");
    let url = format!("file://{}", folder.path().display());
    let output = git(
        nowhere.path(),
        &["clone", "-q", "--depth", "1", &url, "shallow"],
    );
    assert!(output.unwrap().status.success());
    let shallow = Repository::around(&shallow).unwrap();
    let unknown = shallow.merge_base("origin/main").unwrap_err();
    assert!(unknown.to_string().contains("shallow"), "{unknown}");
}

#[test]
fn a_repository_that_cannot_be_read_is_not_one_that_is_not_there() {
    let Some((folder, repository)) = repository() else {
        return;
    };
    let config = folder.path().join(".git/config");
    let kept = std::fs::read(&config).expect("a configuration");
    std::fs::write(&config, "[core\n").expect("writable");
    let around = Repository::around(folder.path()).expect_err("a bad configuration");
    assert!(
        matches!(&around, CheckoutError::Git { said, .. } if said.contains("bad config")),
        "{around}"
    );
    assert!(!around.is_usage());
    let unread = repository.base_ref().expect_err("a bad configuration");
    assert!(matches!(unread, CheckoutError::Git { .. }), "{unread}");
    std::fs::write(&config, kept).expect("writable");

    // A working tree whose repository is gone.
    let lost = tempfile::tempdir().expect("a folder");
    std::fs::write(lost.path().join(".git"), "gitdir: /nowhere/at/all\n").expect("writable");
    let around = Repository::around(lost.path()).expect_err("no repository");
    assert!(matches!(around, CheckoutError::Git { .. }), "{around}");
    assert!(has_git_above(&lost.path().join("below")));

    let nowhere = tempfile::tempdir().expect("a folder");
    let around = Repository::around(nowhere.path()).expect_err("no repository");
    assert!(matches!(around, CheckoutError::NoRepository(_)), "{around}");
    assert!(!has_git_above(nowhere.path()));
}

#[test]
fn what_git_says_is_told_with_what_to_do() {
    let said = |stderr: &str| {
        let output = Output {
            status: std::process::ExitStatus::default(),
            stdout: Vec::new(),
            stderr: stderr.as_bytes().to_owned(),
        };
        refused("open it".to_owned(), &output).to_string()
    };
    let dubious = "warning: something\nfatal: detected dubious ownership in repository at '/r'\n\
        To add an exception for this directory, call:\n\n\tgit config --global --add safe.directory /r\n";
    let told = said(dubious);
    assert!(
        told.starts_with("open it: git says: fatal: detected dubious ownership")
            && told.ends_with("git config --global --add safe.directory /r"),
        "{told}"
    );
    assert_eq!(said("one\ntwo\n"), "open it: git says: two");
    assert_eq!(said(""), "open it: git says: nothing");
}

#[test]
fn a_ref_that_looks_like_a_flag_is_no_flag() {
    let Some((_folder, repository)) = repository() else {
        return;
    };
    assert!(repository.resolve("--all").is_err());
}

#[test]
fn only_a_clean_tree_is_a_commit() {
    let Some((folder, repository)) = repository() else {
        return;
    };
    let head = repository.resolve("HEAD").unwrap();
    assert_eq!(repository.head_if_clean().unwrap(), Some(head));
    std::fs::write(folder.path().join(".joulemark/gate.toml"), "changed").unwrap();
    assert_eq!(repository.head_if_clean().unwrap(), None);
}

#[test]
fn a_build_runs_where_it_should_and_tells_its_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut told = Vec::new();
    let commands = [
        "sh -c 'echo one; echo two >&2'".to_owned(),
        "touch made".to_owned(),
    ];
    let go = AtomicBool::new(false);
    build(&commands, folder.path(), &go, &mut |line| {
        told.push(line.to_owned());
    })
    .unwrap();
    told.sort();
    assert_eq!(told, ["one", "two"]);
    assert!(folder.path().join("made").exists());
}

#[test]
fn a_failed_build_shows_its_last_lines_and_none_after_it_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let commands = [
        "sh -c 'seq 1 100; echo the reason >&2; exit 7'".to_owned(),
        "touch made".to_owned(),
    ];
    let go = AtomicBool::new(false);
    let error = build(&commands, folder.path(), &go, &mut |_| {}).unwrap_err();
    let said = error.to_string();
    assert!(!error.is_usage());
    assert!(said.contains("the reason") && said.contains('7'), "{said}");
    assert!(said.lines().count() <= TAIL_LINES + 1, "{said}");
    assert!(!folder.path().join("made").exists());
}

#[test]
fn a_stopped_build_is_killed_with_what_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let stop = AtomicBool::new(false);
    let commands = ["sh -c 'echo up; sleep 600 & wait'".to_owned()];
    let result = build(&commands, folder.path(), &stop, &mut |_| {
        stop.store(true, Ordering::Relaxed);
    });
    assert!(matches!(result, Err(CheckoutError::Interrupted)));
}

#[test]
fn a_command_that_is_none_is_the_policys_fault() {
    let go = AtomicBool::new(false);
    for command in ["", "cargo 'build"] {
        let error = build(&[command.to_owned()], Path::new("."), &go, &mut |_| {}).unwrap_err();
        assert!(error.is_usage(), "{error}");
    }
}
