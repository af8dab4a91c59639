//! The yardstick: pgbench with prepared single-row inserts of the same size
//! into an indexed table, on the server that Millrace uses.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Transactions per second.
pub async fn run(url: &str, clients: usize, lasting: Duration, body: &str) -> io::Result<f64> {
    let directory = tempfile::tempdir()?;
    psql(
        url,
        "DROP TABLE IF EXISTS bench_yardstick; CREATE TABLE bench_yardstick (\
         id text COLLATE \"C\" PRIMARY KEY, deployment text NOT NULL, \
         created_at timestamptz NOT NULL DEFAULT now(), body bytea NOT NULL); \
         CREATE INDEX ON bench_yardstick (deployment, id)",
    )
    .await?;
    let script = directory.path().join("insert.sql");
    // gen_random_uuid() has the length of an execution id within a few bytes.
    std::fs::write(
        &script,
        format!(
            "INSERT INTO bench_yardstick (id, deployment, body) VALUES \
             (gen_random_uuid()::text, 'dep_01kahj3v5n7e2r9c4x6w8y0z1q', '{body}');\n"
        ),
    )?;
    let output = Command::new("pgbench")
        .args([
            "-n",
            "-M",
            "prepared",
            "-c",
            &clients.to_string(),
            "-j",
            "2",
        ])
        .args(["-T", &lasting.as_secs().to_string(), "-f"])
        .arg(&script)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|e| io::Error::other(format!("pgbench cannot be run: {e}")))?;
    psql(url, "DROP TABLE bench_yardstick").await?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("tps = "))
        .and_then(|rest| rest.split(' ').next())
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| {
            io::Error::other(format!(
                "pgbench: {}",
                String::from_utf8_lossy(&output.stderr)
            ))
        })
}

/// A setting of the server, to show that the comparison is fair.
pub async fn setting(url: &str, name: &str) -> io::Result<String> {
    psql(url, &format!("SHOW {name}")).await
}

/// A fresh database beside the one of `url`; its URL.
pub async fn fresh_database(url: &str, name: &str) -> io::Result<String> {
    psql(url, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
    psql(url, &format!("CREATE DATABASE {name}")).await?;
    let (base, query) = url
        .split_once('?')
        .map_or((url, None), |(b, q)| (b, Some(q)));
    let slash = base
        .rfind('/')
        .ok_or_else(|| io::Error::other("no database in DATABASE_URL"))?;
    let query = query.map(|q| format!("?{q}")).unwrap_or_default();
    Ok(format!("{}/{name}{query}", &base[..slash]))
}

/// Drops what [`fresh_database`] made.
pub async fn drop_database(url: &str, name: &str) -> io::Result<()> {
    psql(url, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        .await
        .map(drop)
}

/// What statements answer, which must not have semicolons in texts.
pub async fn psql(url: &str, statements: &str) -> io::Result<String> {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
    // One -c for each: DROP DATABASE refuses to share a transaction.
    for statement in statements.split(';').filter(|s| !s.trim().is_empty()) {
        command.args(["-c", statement]);
    }
    let output = command.arg(url).stdin(Stdio::null()).output().await?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(io::Error::other(format!(
            "psql: {}",
            String::from_utf8_lossy(&output.stderr)
        )))
    }
}
