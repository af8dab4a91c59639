//! Fresh PostgreSQL databases on the server of `DATABASE_URL`.

use sqlx::{Connection, Executor, PgConnection};
use url::Url;

use crate::required_variable;

/// A PostgreSQL database with nothing in it. It is dropped with this value,
/// open connections notwithstanding.
#[derive(Debug)]
pub struct TestDatabase {
    /// How to connect to it.
    pub url: String,
    name: String,
    server: String,
}

impl TestDatabase {
    /// Creates one, with a name that no other test has.
    ///
    /// # Panics
    /// When `DATABASE_URL` is unset, or the server refuses.
    pub async fn create() -> Self {
        let server = required_variable("DATABASE_URL");
        let name = format!("millrace_test_{}", uuid::Uuid::now_v7().simple());
        let mut url = Url::parse(&server)
            .unwrap_or_else(|error| panic!("DATABASE_URL is not a URL: {error}"));
        url.set_path(&name);
        // template0, since template1 cannot be copied while anyone is connected to it.
        run(
            &server,
            &format!(r#"CREATE DATABASE "{name}" TEMPLATE template0"#),
        )
        .await
        .unwrap_or_else(|error| panic!("the server of DATABASE_URL refused: {error}"));
        Self {
            url: url.into(),
            name,
            server,
        }
    }

    /// Runs a statement in it: for what no program would do by itself.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn execute(&self, statement: &str) {
        run(&self.url, statement)
            .await
            .unwrap_or_else(|error| panic!("`{statement}` was refused: {error}"));
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }
}

async fn run(server: &str, statement: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(server).await?;
    connection
        .execute(sqlx::AssertSqlSafe(statement.to_owned()))
        .await?;
    connection.close().await
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!(r#"DROP DATABASE IF EXISTS "{}" WITH (FORCE)"#, self.name);
        let server = self.server.clone();
        // A thread with a runtime of its own, because the test's runtime may be
        // single-threaded, and waits here.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime needs only file descriptors")
                .block_on(run(&server, &statement))
        })
        .join();
        match dropped {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("test database {} is left behind: {error}", self.name),
            Err(_) => eprintln!("test database {} is left behind", self.name),
        }
    }
}
