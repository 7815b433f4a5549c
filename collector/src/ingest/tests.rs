//! What was acknowledged is there, once, whatever was killed meanwhile (promise R1).

use std::collections::BTreeSet;
use std::time::Duration;

use domain::hardware::Catalogue;
use domain::text::Name;
use domain::tier::Tier;
use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::collector::CollectorOptions;
use crate::fixtures;
use crate::postgres::{ClusterOptions, PostgresError, PrivateCluster};
use crate::store::envelope_id::ReadUpTo;

/// Records submitted; the server is killed at every sixth.
const RECORDS: u64 = 18;

/// Submits until it is acknowledged, as a runner does; at most for a minute.
async fn submit(collector: &Collector, envelope: &[u8]) -> Accepted {
    for _ in 0..300 {
        match collector.ingest(envelope.to_vec()).await {
            Ok(accepted) => return accepted,
            Err(IngestError::Store(StoreError::Unavailable(_) | StoreError::Overloaded(_))) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => panic!("failed to {error}"),
        }
    }
    panic!("the server did not come back");
}

#[tokio::test]
async fn acknowledged_records_survive_a_killed_server_and_are_stored_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let passable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), passable).expect("the mode is set");
    let options = ClusterOptions {
        download: false,
        notice: |_| {},
    };
    let cluster = match PrivateCluster::start(folder.path(), options).await {
        Ok(cluster) => cluster,
        Err(PostgresError::NoBinaries { .. }) => {
            println!("SKIPPED: PostgreSQL is not installed here");
            return;
        }
        Err(error) => panic!("failed to {error}"),
    };
    let open = || async {
        let options = CollectorOptions {
            default_tier: Tier::SelfReported,
            allowed_keys: None,
        };
        Collector::open(&cluster.connect_options(), Catalogue::default(), options)
            .await
            .expect("the server runs")
    };
    let collector = open().await;
    let key = fixtures::signing_key().verifying_key();
    collector
        .allow_key(&key, &Name::default())
        .await
        .expect("allowed");

    let mut acknowledged = BTreeSet::new();
    for number in 0..RECORDS {
        let envelope = fixtures::envelope(&fixtures::record(number));
        if number % 6 == 3 {
            let pid = cluster.server_process().expect("the server runs");
            let pid = Pid::from_raw(pid.cast_signed()).expect("not 0");
            kill_process(pid, Signal::KILL).expect("it is there");
        }
        let first = submit(&collector, &envelope).await;
        acknowledged.insert(first.receipt.content_id.clone());
        let again = submit(&collector, &envelope).await;
        assert_eq!(
            (again.new, &again.receipt),
            (false, &first.receipt),
            "a resend changes nothing"
        );
    }
    let ids = collector
        .store()
        .content_ids_since(ReadUpTo::default())
        .await
        .expect("answers");
    let stored: Vec<_> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(stored.len(), acknowledged.len(), "none is doubled");
    assert_eq!(BTreeSet::from_iter(stored), acknowledged, "none is lost");
    assert_eq!(collector.snapshot_of(18).await.records().len(), 18);
    collector.close().await;
    drop(collector);
    assert_eq!(open().await.snapshot().records().len(), 18);
}
