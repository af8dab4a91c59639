//! How SQLite would carry out a statement, for tests: one that reads a whole
//! table is fast on the first day and slow after a year.

use sqlx::{AssertSqlSafe, Row};
use tempfile::TempDir;

use crate::{SqliteConfig, SqliteStore};

/// The steps of the plan, against the present schema.
pub async fn plan(statement: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("millrace.db");
    let store = SqliteStore::open(&path, &SqliteConfig::default())
        .await
        .unwrap();
    store.migrate().await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")))
        .fetch_all(&store.writer)
        .await
        .unwrap();
    store.close().await;
    rows.iter().map(|row| row.get("detail")).collect()
}

/// Asserts that these statements find all rows of tables through an index;
/// only the rows that they are given are gone through one by one.
pub async fn assert_searches(statements: &[&str]) {
    for statement in statements {
        let plan = plan(statement).await;
        let scanned = plan.iter().any(|step| {
            step.starts_with("SCAN")
                && !step.contains("VIRTUAL TABLE")
                && *step != "SCAN CONSTANT ROW"
        });
        assert!(!scanned, "{statement}\n{plan:#?}");
    }
}
