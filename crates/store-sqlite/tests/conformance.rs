//! The suite of the store's contract, over SQLite files.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_store::Store;
use millrace_store::conformance::Fixture;
use millrace_store::conformance::concurrency::rules;
use millrace_store_sqlite::{SqliteConfig, SqliteStore};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

/// The folder of one case's database; removed with it.
struct Guard(TempDir);

#[async_trait]
impl Fixture for Guard {
    async fn age_ended(&self, days: u16) {
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(self.0.path().join("millrace.db"))
            .connect()
            .await
            .unwrap();
        for statement in [
            "UPDATE executions_ended SET ended_day = ended_day - ?1,
                 ended_at = ended_at - ?1 * 86400000000",
            "UPDATE execution_events SET day = day - ?1, at = at - ?1 * 86400000000
             WHERE execution_id IN (SELECT id FROM executions_ended)",
        ] {
            sqlx::query(statement)
                .bind(days)
                .execute(&mut connection)
                .await
                .unwrap();
        }
        connection.close().await.unwrap();
    }
}

async fn make_store() -> (Arc<dyn Store>, Guard) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    let store = SqliteStore::open(&path, &SqliteConfig::default())
        .await
        .unwrap()
        .with_slot_rules(rules());
    store.migrate().await.unwrap();
    (Arc::new(store), Guard(folder))
}

millrace_store::conformance_tests!(make_store);
