//! The store's contract, on a real PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use millrace_store::Store;
use millrace_store::conformance::Fixture;
use millrace_store::conformance::concurrency::rules;
use millrace_store_postgres::{PostgresConfig, PostgresStore};
use millrace_testkit::TestDatabase;
use sqlx::{Connection, Executor, PgConnection};

struct Guard {
    database: TestDatabase,
}

#[async_trait]
impl Fixture for Guard {
    async fn age_ended(&self, days: u16) {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        // Partitions for the days that the rows move to.
        let statement = format!(
            "SELECT millrace_make_partitions(today - {days}, today, NULL) \
                 FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) t; \
             UPDATE execution_events SET day = day - {days} \
                 WHERE execution_id IN (SELECT id FROM executions_ended); \
             UPDATE executions_ended SET ended_day = ended_day - {days}, \
                 ended_at = ended_at - {days} * interval '1 day'"
        );
        connection
            .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement)))
            .await
            .unwrap();
    }
}

async fn make_store() -> (Arc<dyn Store>, Guard) {
    let database = TestDatabase::create().await;
    let config = PostgresConfig {
        // Enough for two events to be gathered at once.
        max_connections: 9,
        ..PostgresConfig::new(&database.url)
    };
    let store = PostgresStore::connect(&config)
        .await
        .unwrap()
        .with_slot_rules(rules());
    store.migrate().await.unwrap();
    (Arc::new(store), Guard { database })
}

millrace_store::conformance_tests!(make_store);
