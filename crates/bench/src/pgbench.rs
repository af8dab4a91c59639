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

/// Runs a script of psql's, with variables.
pub async fn script(url: &str, script: &str, variables: &[(&str, String)]) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("script.sql");
    std::fs::write(&file, script)?;
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
    for (name, value) in variables {
        command.arg("-v").arg(format!("{name}={value}"));
    }
    let output = command
        .arg("-f")
        .arg(&file)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .await?;
    if output.status.success() {
        Ok(())
    } else {
        let error = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("psql: {error}")))
    }
}

/// The yardstick for pages: 50 rows of a million by primary key, one client.
pub async fn page_latency(url: &str) -> io::Result<Duration> {
    const SETUP: &str = "
        DROP TABLE IF EXISTS bench_page;
        CREATE TABLE bench_page AS
            SELECT g AS id, md5(g::text) AS deployment, now() AS created_at
            FROM generate_series(1, 1000000) g;
        ALTER TABLE bench_page ADD PRIMARY KEY (id);
        ANALYZE bench_page;";
    script(url, SETUP, &[]).await?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("page.sql");
    std::fs::write(
        &file,
        "\\set below random(100, 1000000)\n\
         SELECT id, deployment, created_at FROM bench_page WHERE id < :below \
         ORDER BY id DESC LIMIT 50;\n",
    )?;
    let output = Command::new("pgbench")
        .args(["-n", "-M", "prepared", "-c", "1", "-T", "5", "-f"])
        .arg(&file)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|e| io::Error::other(format!("pgbench cannot be run: {e}")))?;
    script(url, "DROP TABLE bench_page;", &[]).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("latency average = "))
        .and_then(|rest| rest.split(' ').next())
        .and_then(|number| number.parse::<f64>().ok())
        .map(|millis| Duration::from_secs_f64(millis / 1000.0))
        .ok_or_else(|| {
            let error = String::from_utf8_lossy(&output.stderr);
            io::Error::other(format!("pgbench: {error}"))
        })
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
