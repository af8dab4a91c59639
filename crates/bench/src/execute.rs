//! `make bench-execute`: durable executions per second, from the request to
//! the answer with their result.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::http;
use crate::load::{self, Load};
use crate::noop::Noop;
use crate::pgbench;
use crate::server::Server;

/// About the size of a real order; also what pgbench inserts.
const BODY: &str = r#"{"orderId":"A-10042","customer":"Ada","amount":129.5,"items":[{"sku":"pen","quantity":3,"unitPrice":2.5}]}"#;

/// One step: nothing but what it takes to be durable.
const ONE_STEP: &str = "document: {dsl: 1.0.3, namespace: bench, name: one, version: 1.0.0}\n\
                        do:\n  - keep:\n      set: {orderId: '${ .orderId }'}\n";

/// Three steps that wait for a service each: a checkpoint before every call.
fn three_steps(service: &str) -> String {
    use std::fmt::Write as _;
    let mut document =
        "document: {dsl: 1.0.3, namespace: bench, name: three, version: 1.0.0}\ndo:\n".to_owned();
    for step in ["first", "second", "third"] {
        // Writing to a string cannot fail.
        let _ = writeln!(
            document,
            "  - {step}:\n      call: http\n      with: {{method: post, endpoint: \"{service}/{step}\", body: {{step: {step}}}}}"
        );
    }
    document
}

/// Runs everything and prints a table.
pub async fn run(binary: &Path, lasting: Duration, clients: usize) -> io::Result<()> {
    let url = std::env::var("DATABASE_URL")
        .map_err(|_| io::Error::other("DATABASE_URL is not set; run `make bench-execute`"))?;
    println!(
        "{clients} clients, {} s each, each waiting for the end; fsync={} synchronous_commit={}",
        lasting.as_secs(),
        pgbench::setting(&url, "fsync").await?,
        pgbench::setting(&url, "synchronous_commit").await?,
    );
    let tps = pgbench::run(&url, clients, lasting, BODY).await?;
    println!("yardstick: pgbench -M prepared, single-row inserts: {tps:.0}/s");
    let service = Noop::start().await?;
    for database in ["postgres", "sqlite"] {
        for (label, document) in [
            ("one step", ONE_STEP.to_owned()),
            ("three calls", three_steps(&service.url)),
        ] {
            let name = "bench_execute";
            let own = match database {
                "postgres" => Some(pgbench::fresh_database(&url, name).await?),
                _ => None,
            };
            let server = Server::start(binary, own.as_deref(), &[]).await?;
            let load = measure(&server, &document, clients, lasting).await?;
            report(database, label, &load, tps);
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
    document: &str,
    clients: usize,
    lasting: Duration,
) -> io::Result<Load> {
    let deployment = serde_json::json!({"workflow": document}).to_string();
    let answer = server.send("POST", "/api/deployments", &deployment).await?;
    let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let Some(id) = body["id"].as_str().filter(|_| answer.status == 201) else {
        let said = format!("deploy answered {}: {body}", answer.status);
        return Err(io::Error::other(said));
    };
    // 200 comes with the ended execution, 202 when it has not ended in time:
    // the latter counts as failed.
    let path = format!("/api/deployments/{id}/trigger?wait=60s");
    let request = http::request("POST", &path, &server.address, BODY);
    let load = load::run(&server.address, &request, 200, clients, lasting).await?;
    none_failed(server).await?;
    Ok(load)
}

/// An execution that failed ends sooner than one that does its work.
async fn none_failed(server: &Server) -> io::Result<()> {
    let path = "/api/executions?limit=1&status=FAILED";
    let answer = server.send("GET", path, "").await?;
    let page: serde_json::Value = serde_json::from_slice(&answer.body)?;
    match page["items"].as_array().map(Vec::as_slice) {
        Some([]) => Ok(()),
        _ => Err(io::Error::other(format!("executions failed: {page}"))),
    }
}

fn report(database: &str, label: &str, load: &Load, tps: f64) {
    println!(
        "{database:8} {label:11}: {:.0} executions/s, p50 {:.1} ms, p99 {:.1} ms, failed {}, ratio {:.2}",
        load.per_second(),
        load.percentile(0.5).as_secs_f64() * 1000.0,
        load.percentile(0.99).as_secs_f64() * 1000.0,
        load.failed,
        load.per_second() / tps,
    );
}
