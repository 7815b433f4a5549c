//! The raw tables keep what they were given (invariant 5).

use domain::ids::ContentId;
use sqlx::PgPool;

use super::envelope_id::ReadUpTo;
use super::*;
use crate::postgres::TestDatabase;

async fn pool_with_one_row_each() -> PgPool {
    let pool = PgPool::connect_with(TestDatabase::fresh().await.connect_options())
        .await
        .expect("a fresh database");
    sqlx::raw_sql(
        "INSERT INTO collector_identity (random_id) VALUES (sha256('collector'));
         INSERT INTO runner_key (key_id, public_key, label)
             VALUES (sha256(sha256('key')), sha256('key'), 'label');
         INSERT INTO envelope_id (content_id) VALUES (sha256('content'));
         INSERT INTO envelope VALUES
             (sha256('content'), sha256(sha256('key')), 'type', 'payload',
              sha256('a') || sha256('b'));
         INSERT INTO record VALUES (sha256('content'), 'self-reported', '[]', '{}');",
    )
    .execute(&pool)
    .await
    .expect("rows that fit");
    pool
}

#[tokio::test]
async fn raw_tables_refuse_update_delete_and_truncate() {
    let pool = pool_with_one_row_each().await;
    for statement in [
        "UPDATE envelope SET payload = 'other'",
        "DELETE FROM envelope",
        "TRUNCATE envelope CASCADE",
        "UPDATE envelope_id SET received_at = now()",
        "DELETE FROM envelope_id",
        "TRUNCATE envelope_id CASCADE",
        "UPDATE record SET tier = 'farm'",
        "DELETE FROM record",
        "TRUNCATE record",
        "UPDATE collector_identity SET random_id = sha256('other')",
        "DELETE FROM collector_identity",
        "TRUNCATE collector_identity",
        "UPDATE runner_key SET label = 'other'",
        "UPDATE runner_key SET public_key = sha256('other')",
        "DELETE FROM runner_key",
        "TRUNCATE runner_key CASCADE",
    ] {
        let error = sqlx::raw_sql(statement)
            .execute(&pool)
            .await
            .expect_err(statement);
        assert!(
            error.to_string().contains("append-only"),
            "{statement}: {error}"
        );
    }
}

#[tokio::test]
async fn impossible_rows_are_refused_by_the_tables_themselves() {
    let pool = pool_with_one_row_each().await;
    for statement in [
        "INSERT INTO collector_identity (random_id) VALUES (sha256('second'))",
        "INSERT INTO envelope_id (content_id) VALUES ('short')",
        "INSERT INTO envelope_id (content_id) VALUES (sha256('content'))",
        "INSERT INTO runner_key (key_id, public_key, label)
             VALUES (sha256('another'), sha256('new'), '')",
        "INSERT INTO envelope VALUES (sha256('unclaimed'), sha256(sha256('key')), 'type', '', '')",
        "INSERT INTO record VALUES (sha256('unclaimed'), 'self-reported', '[]', '{}')",
    ] {
        assert!(
            sqlx::raw_sql(statement).execute(&pool).await.is_err(),
            "{statement}"
        );
    }
}

#[tokio::test]
async fn gates_alone_may_be_longer_than_a_record() {
    use domain::gate::record::PAYLOAD_TYPE as GATE;
    use domain::record::{MAX_RECORD_BYTES, PAYLOAD_TYPE as RECORD};
    let pool = pool_with_one_row_each().await;
    let mut rows = 0;
    for (kind, bytes, fits) in [
        (RECORD, MAX_RECORD_BYTES, true),
        (RECORD, MAX_RECORD_BYTES + 1, false),
        (GATE, 8 << 20, true),
        (GATE, (8 << 20) + 1, false),
    ] {
        rows += 1;
        let statement = format!(
            "INSERT INTO envelope_id (content_id) VALUES (sha256('{rows}'));
             INSERT INTO envelope VALUES (sha256('{rows}'), sha256(sha256('key')), '{kind}',
                 convert_to(repeat('1', {bytes}), 'UTF8'), sha256('a') || sha256('b'));"
        );
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&pool)
            .await;
        assert_eq!(done.is_ok(), fits, "{kind}: {bytes}");
    }
}

#[tokio::test]
async fn a_revoked_key_stays_revoked() {
    let database = TestDatabase::fresh().await;
    let store = Store::connect(&database.connect_options())
        .await
        .expect("a fresh database");
    let public_key = [7; 32];
    let id = domain::ids::KeyId(domain::ids::Sha256Digest::of(&public_key).0);
    store
        .allow_runner_key(id, &public_key, "mine")
        .await
        .expect("new");
    assert!(store.revoke_runner_key(id).await.expect("known"));
    assert!(!store.revoke_runner_key(id).await.expect("revoked before"));
    store
        .allow_runner_key(id, &public_key, "mine")
        .await
        .expect("known");
    let key = store.runner_key(id).await.expect("answers").expect("known");
    assert!(key.revoked);
}

#[tokio::test]
async fn the_identity_is_made_once() {
    let database = TestDatabase::fresh().await;
    let store = Store::connect(&database.connect_options())
        .await
        .expect("a fresh database");
    let first = store.audience(&[1; 32]).await.expect("made");
    let second = store.audience(&[2; 32]).await.expect("kept");
    assert_eq!(first, second);
}

#[tokio::test]
async fn ids_committed_out_of_order_are_read_all_the_same() {
    let database = TestDatabase::fresh().await;
    let store = Store::connect(&database.connect_options())
        .await
        .expect("a fresh database");
    let mut slow = store.begin().await.expect("a transaction");
    let mut quick = store.begin().await.expect("a transaction");
    let id = |byte| ContentId([byte; 32]);
    envelope_id::claim(&mut slow, id(1))
        .await
        .expect("claimed")
        .expect("new");
    let seen = envelope_id::claim(&mut quick, id(2))
        .await
        .expect("claimed")
        .expect("new");
    quick.commit().await.expect("committed");
    let read = ReadUpTo {
        seq: 2,
        received_ms: seen,
    };
    slow.commit().await.expect("committed");
    let mut ids = store.content_ids_since(read).await.expect("answers");
    ids.sort();
    assert_eq!(ids, [id(1), id(2)]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = PgConnectOptions::new_without_pgpass().socket(folder.path());
    let error = Store::connect(&options).await.expect_err("nobody listens");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}
