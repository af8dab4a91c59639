//! `make bench-history`: what millions of ended executions cost those who ask
//! about them, and those who do not.
//!
//! The rows are loaded by SQL; the questions go through REST, each with
//! cursors from all depths. What the scheduler and an execution take is
//! measured before and after. The yardstick is pgbench reading pages of the
//! same length by primary key.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{self, Connection};
use crate::pgbench;
use crate::server::Server;

/// Deployments that the history is of.
const DEPLOYMENTS: usize = 20;
/// Requests for each kind of question.
const REQUESTS: u64 = 400;
/// Executions that are started and waited for.
const RUNS: usize = 200;
/// How long the scheduler is watched.
const WATCHED: Duration = Duration::from_secs(15);
/// What a filtered page may take.
const AIM: Duration = Duration::from_millis(20);
/// How much longer than before the scheduler's tick may take over the history,
/// and what is always granted, as means of some twenty ticks differ by chance.
const TICK_FACTOR: f64 = 1.5;
const TICK_SLACK: Duration = Duration::from_millis(1);
const DAY_MS: u64 = 86_400_000;

/// What nothing but the size of the history changes.
struct Pace {
    tick: Duration,
    run_p50: Duration,
    run_p99: Duration,
}

struct Deployment {
    id: String,
    workflow: String,
    webhook: String,
    cron: String,
}

pub async fn run(binary: &Path, rows: u64) -> io::Result<()> {
    let url = std::env::var("DATABASE_URL")
        .map_err(|_| io::Error::other("DATABASE_URL is not set; run `make bench-history`"))?;
    let own = pgbench::fresh_database(&url, "bench_history").await?;
    let server = Server::start(binary, Some(&own), &[]).await?;
    let deployments = deploy(&server).await?;
    let before = pace(&server).await?;

    let began = Instant::now();
    let listed: Vec<Value> = deployments
        .iter()
        .map(
            |d| json!({"id": d.id, "workflowId": d.workflow, "webhook": d.webhook, "cron": d.cron}),
        )
        .collect();
    let variables = [
        ("rows", rows.to_string()),
        ("deployments", Value::from(listed).to_string()),
    ];
    pgbench::script(&own, include_str!("history.sql"), &variables).await?;
    println!(
        "loaded {rows} ended executions with events and ledger in {:.0} s",
        began.elapsed().as_secs_f64()
    );

    let yardstick = pgbench::page_latency(&own).await?;
    println!(
        "yardstick: pgbench, 50 rows by primary key: {}",
        ms(yardstick)
    );
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>7}",
        "filter", "p50", "p99", "max", "ratio"
    );
    let mut missed = 0;
    for (label, query, judged) in questions(&deployments) {
        let latencies = ask(&server, &query).await?;
        let (p50, p99) = (percentile(&latencies, 50), percentile(&latencies, 99));
        let last = latencies.last().copied().unwrap_or_default();
        let verdict = if judged && p99 >= AIM {
            "  over 20 ms"
        } else {
            ""
        };
        missed += usize::from(!verdict.is_empty());
        println!(
            "{label:<44} {:>9} {:>9} {:>9} {:>7.1}{verdict}",
            ms(p50),
            ms(p99),
            ms(last),
            p50.as_secs_f64() / yardstick.as_secs_f64(),
        );
    }
    let after = pace(&server).await?;
    println!("{:<44} {:>9} {:>9} {:>7}", "", "before", "after", "ratio");
    for (label, one, other) in [
        ("scheduler's tick, mean", before.tick, after.tick),
        (
            "start and end of an execution, p50",
            before.run_p50,
            after.run_p50,
        ),
        (
            "start and end of an execution, p99",
            before.run_p99,
            after.run_p99,
        ),
    ] {
        println!(
            "{label:<44} {:>9} {:>9} {:>7.2}",
            ms(one),
            ms(other),
            other.as_secs_f64() / one.as_secs_f64(),
        );
    }
    server.stop().await?;
    pgbench::drop_database(&url, "bench_history").await?;
    let mut aims = Vec::new();
    if missed > 0 {
        aims.push(format!(
            "{missed} kinds of pages have a p99 of 20 ms or more"
        ));
    }
    if tick_suffers(before.tick, after.tick) {
        aims.push(format!(
            "the scheduler's tick takes {} with the history and {} without",
            ms(after.tick),
            ms(before.tick)
        ));
    }
    if aims.is_empty() {
        println!("all aims are met: pages under 20 ms, a tick that takes no longer than before");
        return Ok(());
    }
    Err(io::Error::other(format!(
        "aims are missed: {}",
        aims.join("; ")
    )))
}

fn tick_suffers(before: Duration, after: Duration) -> bool {
    after > before.mul_f64(TICK_FACTOR) + TICK_SLACK
}

async fn post(server: &Server, path: &str, body: &Value) -> io::Result<Value> {
    let answer = server.send("POST", path, &body.to_string()).await?;
    if !(200..300).contains(&answer.status) {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(io::Error::other(format!(
            "POST {path} answered {}: {text}",
            answer.status
        )));
    }
    Ok(serde_json::from_slice(&answer.body)?)
}

async fn deploy(server: &Server) -> io::Result<Vec<Deployment>> {
    let mut all = Vec::with_capacity(DEPLOYMENTS);
    for n in 0..DEPLOYMENTS {
        let workflow = format!(
            "document: {{dsl: 1.0.3, namespace: bench, name: history-{n}, version: 1.0.0}}\n\
             do:\n  - keep:\n      set: {{n: {n}}}\n"
        );
        let mut triggers = vec![
            json!({"type": "webhook", "path": format!("history-{n}")}),
            json!({"type": "cron", "cron": "0 0 1 1 *"}),
        ];
        if n == 0 {
            // Keeps the scheduler busy while it is watched.
            triggers.push(json!({"type": "interval", "every": "PT1S", "jitterWindow": "PT0S"}));
        }
        let body = json!({"workflow": workflow, "triggers": triggers});
        let deployment = post(server, "/api/deployments", &body).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let trigger = |kind: &str| {
            let triggers = deployment["triggers"].as_array();
            let found = triggers.and_then(|all| all.iter().find(|t| t["type"] == kind));
            found.map(|t| text(&t["id"])).unwrap_or_default()
        };
        all.push(Deployment {
            id: text(&deployment["id"]),
            workflow: text(&deployment["workflowId"]),
            webhook: trigger("webhook"),
            cron: trigger("cron"),
        });
    }
    Ok(all)
}

/// Kinds of questions: what they are called, their query without a cursor,
/// and whether they are pages that the aim holds for.
fn questions(deployments: &[Deployment]) -> Vec<(&'static str, String, bool)> {
    let list = |query: String| format!("/api/executions?limit=50{query}");
    let (big, small) = (&deployments[0], &deployments[7]);
    let (from, to) = (
        time(now_ms() - 10 * DAY_MS),
        time(now_ms() - 10 * DAY_MS + 3_600_000),
    );
    vec![
        ("none", list(String::new()), true),
        (
            "deployment (half of all)",
            list(format!("&deploymentId={}", big.id)),
            true,
        ),
        (
            "deployment (1 in 38)",
            list(format!("&deploymentId={}", small.id)),
            true,
        ),
        ("status=FAILED (2 %)", list("&status=FAILED".into()), true),
        (
            "status=TIMED_OUT (0.5 %)",
            list("&status=TIMED_OUT".into()),
            true,
        ),
        ("status=SUCCEEDED", list("&status=SUCCEEDED".into()), true),
        (
            "deployment and status=FAILED",
            list(format!("&deploymentId={}&status=FAILED", small.id)),
            true,
        ),
        ("trigger=cron (2 %)", list("&trigger=cron".into()), true),
        ("trigger=manual (5 %)", list("&trigger=manual".into()), true),
        (
            "triggerId of a schedule",
            list(format!("&triggerId={}", small.cron)),
            true,
        ),
        (
            "triggerId of a webhook",
            list(format!("&triggerId={}", small.webhook)),
            true,
        ),
        (
            "one hour, ten days ago",
            list(format!("&from={from}&to={to}")),
            true,
        ),
        (
            "deployment within that hour",
            list(format!("&deploymentId={}&from={from}&to={to}", small.id)),
            true,
        ),
        (
            "deployment and trigger=manual",
            list(format!("&deploymentId={}&trigger=manual", small.id)),
            true,
        ),
        (
            "monitoring: text of the error, not there",
            "/api/monitoring/executions?limit=50&errorText=kettle".into(),
            false,
        ),
        (
            "monitoring: statistics of a deployment",
            format!(
                "/api/monitoring/deployments?deploymentId={}&limit=50",
                big.id
            ),
            false,
        ),
        (
            "monitoring: scheduling",
            "/api/monitoring/scheduling".into(),
            false,
        ),
    ]
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// RFC 3339, through the calendar of proleptic Gregorian days.
fn time(ms: u64) -> String {
    let (days, rest) = (ms / DAY_MS, ms % DAY_MS / 1000);
    // Days since 0000-03-01, as leap days then come last in their year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// An id that was minted then, as a cursor.
fn cursor(ms: u64, n: u64) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let time: String = (0..10)
        .rev()
        .map(|place| char::from(ALPHABET[usize::try_from(ms >> (5 * place) & 31).unwrap_or(0)]))
        .collect();
    format!("exe_{time}{n:016x}")
}

/// Sorted latencies of one kind of question; every other request starts at a
/// cursor somewhere in the month.
async fn ask(server: &Server, query: &str) -> io::Result<Vec<Duration>> {
    let mut connection = Connection::open(&server.address).await?;
    let mut latencies = Vec::new();
    let now = now_ms();
    let pages = query.contains("limit=50") && !query.contains("/deployments");
    for n in 0..REQUESTS {
        let mut path = query.to_owned();
        if pages && n % 2 == 1 {
            // Steps that visit the month in no particular order.
            let back = n * 7919 % 1000 * (29 * DAY_MS / 1000);
            path = format!("{path}&cursor={}", cursor(now - back, n));
        }
        let request = http::request("GET", &path, &server.address, "");
        let sent = Instant::now();
        let answer = connection.send(&request).await?;
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(io::Error::other(format!(
                "{path}: {}: {text}",
                answer.status
            )));
        }
        // The first few fill caches and prepare statements.
        if n >= 10 {
            latencies.push(sent.elapsed());
        }
    }
    latencies.sort_unstable();
    Ok(latencies)
}

async fn pace(server: &Server) -> io::Result<Pace> {
    let (sum, count) = ticks(server).await?;
    tokio::time::sleep(WATCHED).await;
    let (later_sum, later_count) = ticks(server).await?;
    let ticks = (later_count - count).max(1.0);
    let deployments = server
        .send("GET", "/api/deployments?name=history-0", "")
        .await?;
    let deployments: Value = serde_json::from_slice(&deployments.body)?;
    let id = deployments["items"][0]["id"].as_str().unwrap_or_default();
    let path = format!("/api/deployments/{id}/trigger?wait=10s");
    let request = http::request("POST", &path, &server.address, "{}");
    let mut connection = Connection::open(&server.address).await?;
    let mut latencies = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let sent = Instant::now();
        let answer = connection.send(&request).await?;
        if answer.status != 200 {
            return Err(io::Error::other(format!(
                "a run answered {}",
                answer.status
            )));
        }
        latencies.push(sent.elapsed());
    }
    latencies.sort_unstable();
    Ok(Pace {
        tick: Duration::from_secs_f64((later_sum - sum) / ticks),
        run_p50: percentile(&latencies, 50),
        run_p99: percentile(&latencies, 99),
    })
}

/// Seconds that ticks took so far, and how many there were.
async fn ticks(server: &Server) -> io::Result<(f64, f64)> {
    let answer = server.send("GET", "/metrics", "").await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let value = |suffix: &str| {
        let name = format!("millrace_schedule_tick_duration_seconds_{suffix} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&name)?.trim().parse().ok())
            .ok_or_else(|| io::Error::other("no ticks in /metrics"))
    };
    Ok((value("sum")?, value("count")?))
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_suffers_when_chance_does_not_explain_it() {
        let ms = Duration::from_millis;
        assert!(!tick_suffers(ms(4), ms(7)));
        assert!(tick_suffers(ms(4), ms(8)));
        assert!(!tick_suffers(Duration::from_micros(100), ms(1)));
        assert!(!tick_suffers(ms(8), ms(4)));
    }

    #[test]
    fn times_and_cursors_are_those_of_their_millisecond() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_798_761_599_000), "2026-12-31T23:59:59Z");
        assert_eq!(cursor(0, 1), "exe_00000000000000000000000001");
        assert!(cursor(2, 0) > cursor(1, u64::MAX));
    }
}
