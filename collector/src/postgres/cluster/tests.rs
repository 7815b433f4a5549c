//! The cluster as it is lived with: started, killed, taken over, stopped.

use sqlx::{Connection as _, PgConnection};

use super::*;

const OPTIONS: ClusterOptions = ClusterOptions {
    download: false,
    notice: |_| {},
};

/// A data folder that the server's account can reach.
fn data_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("passable");
    folder
}

/// Skips, saying so, where PostgreSQL is not installed: these tests do not download it.
macro_rules! need_postgres {
    () => {
        if find::installed().is_empty() {
            println!("SKIPPED: PostgreSQL is not installed here");
            return;
        }
    };
}

async fn start(folder: &tempfile::TempDir) -> PrivateCluster {
    PrivateCluster::start(folder.path(), OPTIONS)
        .await
        .unwrap_or_else(|error| panic!("failed to {error}"))
}

async fn connection(cluster: &PrivateCluster) -> PgConnection {
    // After a kill the server needs a moment: the supervisor is starting it again.
    for _ in 0..600 {
        if let Ok(connection) = PgConnection::connect_with(&cluster.connect_options()).await {
            return connection;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the server did not come back");
}

async fn run(connection: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql)
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn count(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM kept")
        .fetch_one(connection)
        .await
        .expect("the table is there")
}

fn pid(cluster: &PrivateCluster) -> Pid {
    cluster.shared.lock().pid.expect("the server runs")
}

#[tokio::test]
async fn a_cluster_is_durable_local_and_gone_after_a_stop() {
    need_postgres!();
    let folder = data_folder();
    let cluster = start(&folder).await;
    let server = pid(&cluster);
    let mut sql = connection(&cluster).await;
    for (setting, expected) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
    ] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut sql)
            .await
            .expect("a setting");
        assert_eq!(value, expected, "{setting}");
    }
    drop(sql);
    cluster.stop().await;
    assert!(test_kill_process(server).is_err(), "no server is left");
}

#[tokio::test]
async fn dropping_a_cluster_stops_its_server() {
    need_postgres!();
    let folder = data_folder();
    let cluster = start(&folder).await;
    let server = pid(&cluster);
    drop(cluster);
    assert!(test_kill_process(server).is_err(), "no server is left");
}

#[tokio::test]
async fn a_second_program_on_the_same_folder_is_refused_by_name() {
    need_postgres!();
    let folder = data_folder();
    let _first = start(&folder).await;
    let error = PrivateCluster::start(folder.path(), OPTIONS)
        .await
        .expect_err("the folder is in use");
    let text = error.to_string();
    assert!(text.contains(&std::process::id().to_string()), "{text}");
}

#[tokio::test]
async fn a_killed_server_comes_back_with_every_committed_row() {
    need_postgres!();
    let folder = data_folder();
    let cluster = start(&folder).await;
    let mut sql = connection(&cluster).await;
    run(&mut sql, "CREATE TABLE kept (n integer)").await;
    run(&mut sql, "INSERT INTO kept SELECT generate_series(1, 1000)").await;
    let killed = pid(&cluster);
    kill_process(killed, Signal::KILL).expect("the server is there");
    drop(sql);
    let begun = Instant::now();
    while cluster.shared.lock().pid == Some(killed) && begun.elapsed() < READY_WITHIN {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut sql = connection(&cluster).await;
    assert_eq!(count(&mut sql).await, 1000);
    assert_ne!(pid(&cluster), killed);
}

#[tokio::test]
async fn a_server_that_outlived_its_program_is_taken_over() {
    need_postgres!();
    let folder = data_folder();
    let cluster = start(&folder).await;
    let mut sql = connection(&cluster).await;
    run(&mut sql, "CREATE TABLE kept (n integer)").await;
    run(&mut sql, "INSERT INTO kept VALUES (1)").await;
    drop(sql);
    let server = Arc::clone(&cluster.server);
    cluster.stop().await;
    // A server that nobody supervises is what a killed program leaves behind.
    let mut orphan = server.spawn().expect("the binaries are there");
    let orphan_pid = Pid::from_child(&orphan);
    let reaper = std::thread::spawn(move || orphan.wait());
    while !database::answers(&server.connect_options("postgres")).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let cluster = start(&folder).await;
    assert_eq!(pid(&cluster), orphan_pid);
    assert_eq!(count(&mut connection(&cluster).await).await, 1);
    cluster.stop().await;
    reaper.join().expect("waits").expect("ended");
    assert!(test_kill_process(orphan_pid).is_err(), "no server is left");
}

#[tokio::test]
async fn a_stale_pid_file_does_not_stop_a_start() {
    need_postgres!();
    let folder = data_folder();
    let cluster = start(&folder).await;
    let server = Arc::clone(&cluster.server);
    cluster.stop().await;
    // A process id that is not ours to signal, and never a server of this cluster: init's.
    let file = folder.path().join("cluster/postmaster.pid");
    fs::write(&file, "1\n/elsewhere\n1\n5432\n\n\n").expect("written");
    assert_eq!(server.orphan(), None);
    fs::write(&file, "999999999\n/elsewhere\n1\n5432\n\n\n").expect("written");
    let cluster = start(&folder).await;
    cluster.stop().await;
}
