//! The helpers against real servers.

use std::time::Duration;

use millrace_testkit::{PrivateRedis, TestDatabase, eventually_eq};
use sqlx::{Connection, PgConnection};

async fn databases_named(server: &str, name: &str) -> i64 {
    let mut connection = PgConnection::connect(server).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn test_databases_are_empty_and_apart() {
    let (one, other) = tokio::join!(TestDatabase::create(), TestDatabase::create());
    let mut first = PgConnection::connect(&one.url).await.unwrap();
    let mut second = PgConnection::connect(&other.url).await.unwrap();
    sqlx::query("CREATE TABLE t (x int)")
        .execute(&mut first)
        .await
        .unwrap();
    sqlx::query("CREATE TABLE t (x int)")
        .execute(&mut second)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_test_database_is_dropped_with_connections_open() {
    let server = std::env::var("DATABASE_URL").expect("scripts/with-services sets DATABASE_URL");
    let database = TestDatabase::create().await;
    let name = database.name().to_owned();
    let open = PgConnection::connect(&database.url).await.unwrap();
    assert_eq!(databases_named(&server, &name).await, 1);
    drop(database);
    assert_eq!(databases_named(&server, &name).await, 0);
    drop(open);
}

#[tokio::test]
async fn a_private_redis_is_stopped_frozen_restarted_and_flushed() {
    let mut server = PrivateRedis::start().await;
    let mut connection = server.connection().await.unwrap();
    let () = redis::cmd("SET")
        .arg("k")
        .arg(1)
        .query_async(&mut connection)
        .await
        .unwrap();
    server.flush().await;
    let gone: Option<i64> = redis::cmd("GET")
        .arg("k")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(gone, None);

    server.freeze();
    let mut frozen = connection.clone();
    let mut get = redis::cmd("GET");
    let answer = tokio::time::timeout(
        Duration::from_millis(200),
        get.arg("k").query_async::<()>(&mut frozen),
    );
    assert!(answer.await.is_err(), "a frozen server answers nothing");
    server.thaw();

    server.stop();
    assert!(server.connection().await.is_err());
    server.restart().await;
    eventually_eq(Duration::from_secs(5), true, || async {
        server.connection().await.is_ok()
    })
    .await;
}
