//! `make bench-accept`: durable webhook accepts per second.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::http;
use crate::load::{self, Load};
use crate::pgbench;
use crate::server::Server;

/// About the size of a real order; also what pgbench inserts.
const BODY: &str = r#"{"orderId":"A-10042","customer":"Ada","amount":129.5,"items":[{"sku":"pen","quantity":3,"unitPrice":2.5}]}"#;

const WORKFLOW: &str = "document: {dsl: 1.0.3, namespace: bench, name: accept, version: 1.0.0}\n\
                        do:\n  - keep:\n      set: {orderId: '${ .orderId }'}\n";

/// How long the backlog may take to drain.
const DRAIN: Duration = Duration::from_mins(10);

/// Runs everything and prints a table.
pub async fn run(binary: &Path, lasting: Duration, clients: usize) -> io::Result<()> {
    let url = std::env::var("DATABASE_URL")
        .map_err(|_| io::Error::other("DATABASE_URL is not set; run `make bench-accept`"))?;
    println!(
        "{clients} clients, {} s each, body of {} bytes; fsync={} synchronous_commit={}",
        lasting.as_secs(),
        BODY.len(),
        pgbench::setting(&url, "fsync").await?,
        pgbench::setting(&url, "synchronous_commit").await?,
    );
    let tps = pgbench::run(&url, clients, lasting, BODY).await?;
    println!("yardstick: pgbench -M prepared, single-row inserts: {tps:.0}/s");
    for database in ["postgres", "sqlite"] {
        for (label, dispatch) in [
            ("(a) dispatch held back", "false"),
            ("(b) executions running", "true"),
        ] {
            let name = "bench_accept";
            let own = match database {
                "postgres" => Some(pgbench::fresh_database(&url, name).await?),
                _ => None,
            };
            let settings = [("MILLRACE_RUNTIME__DISPATCH", dispatch)];
            let server = Server::start(binary, own.as_deref(), &settings).await?;
            let (load, drained) = measure(&server, clients, lasting, dispatch == "true").await?;
            report(database, label, &load, tps, drained);
            server.stop().await?;
            if own.is_some() {
                pgbench::drop_database(&url, name).await?;
            }
        }
    }
    Ok(())
}

async fn measure(
    server: &Server,
    clients: usize,
    lasting: Duration,
    drain: bool,
) -> io::Result<(Load, Option<Duration>)> {
    let deployment = serde_json::json!({
        "workflow": WORKFLOW,
        "triggers": [{"type": "webhook", "path": "bench"}],
    });
    let answer = server
        .send("POST", "/api/deployments", &deployment.to_string())
        .await?;
    if answer.status != 201 {
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(io::Error::other(format!(
            "deploy answered {}: {body}",
            answer.status
        )));
    }
    let request = http::request("POST", "/webhooks/bench", &server.address, BODY);
    let load = load::run(&server.address, &request, 202, clients, lasting).await?;
    let drained = if drain {
        Some(until_drained(server).await?)
    } else {
        None
    };
    Ok((load, drained))
}

/// Waits until no execution is left that has not ended.
async fn until_drained(server: &Server) -> io::Result<Duration> {
    let began = Instant::now();
    loop {
        let mut left = false;
        for status in ["PENDING", "RUNNING"] {
            let path = format!("/api/executions?limit=1&status={status}");
            let answer = server.send("GET", &path, "").await?;
            let page: serde_json::Value = serde_json::from_slice(&answer.body)?;
            left |= page["items"]
                .as_array()
                .is_none_or(|items| !items.is_empty());
        }
        if !left {
            return Ok(began.elapsed());
        }
        if began.elapsed() > DRAIN {
            return Err(io::Error::other("the backlog did not drain"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn report(database: &str, label: &str, load: &Load, tps: f64, drained: Option<Duration>) {
    let drained = drained
        .map(|d| format!(", rest drained in {:.1} s", d.as_secs_f64()))
        .unwrap_or_default();
    println!(
        "{database:8} {label}: {:.0} accepts/s, p50 {:.1} ms, p99 {:.1} ms, failed {}, ratio {:.2}{drained}",
        load.per_second(),
        load.percentile(0.5).as_secs_f64() * 1000.0,
        load.percentile(0.99).as_secs_f64() * 1000.0,
        load.failed,
        load.per_second() / tps,
    );
}
