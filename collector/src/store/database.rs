//! Whole databases: whether a server answers, and making one.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::StoreError;

/// A server that has not answered by then is not ready.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Whether the server answers `SELECT 1`.
pub(crate) async fn answers(options: &PgConnectOptions) -> bool {
    let ask = async {
        let mut connection = PgConnection::connect_with(options).await?;
        sqlx::query_scalar!(r#"SELECT 1 AS "one!""#)
            .fetch_one(&mut connection)
            .await?;
        connection.close().await
    };
    matches!(tokio::time::timeout(ANSWER_WITHIN, ask).await, Ok(Ok(())))
}

/// Makes the database `name` (an identifier of this program's own) unless it is there.
pub(crate) async fn create(admin: &PgConnectOptions, name: &str) -> Result<(), StoreError> {
    let mut connection = PgConnection::connect_with(admin).await?;
    let there = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1) AS "there!""#,
        name
    )
    .fetch_one(&mut connection)
    .await?;
    if !there {
        // A database's name takes no parameter.
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE \"{name}\"")))
            .execute(&mut connection)
            .await?;
    }
    connection.close().await?;
    Ok(())
}

/// Makes the database `name` as a copy of `template`, which nobody may be connected to.
pub(crate) async fn copy(
    admin: &PgConnectOptions,
    name: &str,
    template: &str,
) -> Result<(), StoreError> {
    let mut connection = PgConnection::connect_with(admin).await?;
    sqlx::query(AssertSqlSafe(format!(
        "CREATE DATABASE \"{name}\" TEMPLATE \"{template}\""
    )))
    .execute(&mut connection)
    .await?;
    connection.close().await?;
    Ok(())
}
