//! `make bench-schedule`: one instance with a million schedules.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::pgbench;
use crate::server::Server;

const WORKFLOW: &str = "document: {dsl: 1.0.3, namespace: bench, name: schedule, version: 1.0.0}\n\
                        do:\n  - keep:\n      set: {at: '${ .trigger.nominalAt }'}\n";

const NAME: &str = "bench_schedule";

/// Schedules of one deployment.
const EACH: u64 = 100;

/// From the end of the load to when the first of the due ones is due.
const LEAD: Duration = Duration::from_secs(30);

/// How long the process is watched while nothing is due.
const IDLE: Duration = Duration::from_secs(20);

/// How long the due ones may take beyond their minute.
const PATIENCE: Duration = Duration::from_mins(5);

/// What a look for what is due may take in the database, in milliseconds: it
/// reads an index from its one end.
const LOOK_MS: f64 = 5.0;

/// How late 99 of 100 start at most, in milliseconds.
const LAG_MS: f64 = 1000.0;

/// What the process may grow by, in MiB: schedules are not held in memory.
const GROWTH_MIB: u64 = 64;

/// What is judged.
struct Figures {
    due: u64,
    fired: u64,
    /// Occurrences that did not run, or more than once.
    otherwise: u64,
    /// The longer of the two statements of a look.
    look_ms: f64,
    lag_p99_ms: f64,
    growth_mib: u64,
}

impl Figures {
    /// The aims that are missed.
    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        if self.fired != self.due {
            missed.push(format!("{} of {} have fired", self.fired, self.due));
        }
        if self.otherwise > 0 {
            missed.push(format!("{} did not run, or twice", self.otherwise));
        }
        // What is not a number is no good either.
        for (what, is, aim) in [
            ("a look for what is due", self.look_ms, LOOK_MS),
            ("the start lag's p99", self.lag_p99_ms, LAG_MS),
        ] {
            if is.is_nan() || is > aim {
                missed.push(format!("{what} is {is:.1} ms (aim: {aim} ms at most)"));
            }
        }
        if self.growth_mib > GROWTH_MIB {
            missed.push(format!(
                "the process has grown by {} MiB (aim: {GROWTH_MIB} MiB at most)",
                self.growth_mib
            ));
        }
        missed
    }
}

/// Runs everything, prints a table, and judges it.
pub async fn run(binary: &Path, schedules: u64, due: u64) -> io::Result<()> {
    let url = std::env::var("DATABASE_URL")
        .map_err(|_| io::Error::other("DATABASE_URL is not set; run `make bench-schedule`"))?;
    let own = pgbench::fresh_database(&url, NAME).await?;
    let server = Server::start(binary, Some(&own), &[]).await?;
    let body = serde_json::json!({"workflow": WORKFLOW}).to_string();
    let deployed = server.send("POST", "/api/deployments", &body).await?;
    if deployed.status != 201 {
        return Err(io::Error::other(format!("deploy: {}", deployed.status)));
    }
    let bare = server.resident_kib()?;
    let (bare_cpu, empty) = idle(&server).await?;

    let began = Instant::now();
    load(&own, schedules).await?;
    println!(
        "{schedules} schedules, loaded by SQL in {:.0?}",
        began.elapsed()
    );
    let (cpu, looks) = idle(&server).await?;
    let claim = execution_time(&own, CLAIM).await?;
    let next = execution_time(&own, NEXT).await?;
    println!(
        "idle: resident {} MiB before, {} MiB with them; CPU {:.2} ms/s before, {:.2} ms/s with \
         them, over {empty:.0?} and {looks:.0?}",
        bare / 1024,
        server.resident_kib()? / 1024,
        bare_cpu,
        cpu,
    );
    println!(
        "a tick that finds nothing: claim {claim:.3} ms, next due time {next:.3} ms in the database"
    );

    make_due(&own, due).await?;
    let before = server.cpu()?;
    let started = Instant::now();
    let fired = wait(&own, due).await?;
    let used = server.cpu()?.saturating_sub(before);
    let lags = pgbench::psql(&own, LAGS).await?;
    let lags: Vec<f64> = lags
        .split('|')
        .map(|number| number.parse().unwrap_or(f64::NAN))
        .collect();
    let [p50, p99, most] = lags[..] else {
        return Err(io::Error::other("no lags"));
    };
    let resident = server.resident_kib()? / 1024;
    println!(
        "{fired} of {due} fell due within a minute: start lag p50 {p50:.0} ms, p99 {p99:.0} ms, \
         most {most:.0} ms; CPU {:.0} ms/s, resident {} MiB",
        used.as_secs_f64() * 1000.0 / started.elapsed().as_secs_f64(),
        resident,
    );
    let figures = Figures {
        due,
        fired,
        otherwise: pgbench::psql(&own, OTHERWISE).await?.parse().unwrap_or(1),
        look_ms: claim.max(next),
        lag_p99_ms: p99,
        growth_mib: resident.saturating_sub(bare / 1024),
    };
    server.stop().await?;
    pgbench::drop_database(&url, NAME).await?;
    let missed = figures.missed();
    if missed.is_empty() {
        println!(
            "all aims are met: each fired once, p99 within {LAG_MS} ms, a look within {LOOK_MS} \
             ms, {GROWTH_MIB} MiB of growth at most"
        );
        return Ok(());
    }
    Err(io::Error::other(format!(
        "aims are missed: {}",
        missed.join("; ")
    )))
}

/// What a look for due schedules asks.
const CLAIM: &str = "EXPLAIN (ANALYZE, TIMING OFF) SELECT trigger_id FROM schedules \
     WHERE due_at <= statement_timestamp() AND (SELECT running FROM scheduler) \
     ORDER BY due_at, trigger_id LIMIT 100 FOR UPDATE SKIP LOCKED";
const NEXT: &str = "EXPLAIN (ANALYZE, TIMING OFF) SELECT due_at FROM schedules \
     WHERE due_at IS NOT NULL ORDER BY due_at, trigger_id LIMIT 1";

/// From the effective time to the admission, in milliseconds.
const LAGS: &str = "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms), \
         percentile_cont(0.99) WITHIN GROUP (ORDER BY ms), max(ms) \
     FROM (SELECT extract(epoch FROM decided_at - effective_at) * 1000 AS ms FROM fires \
           WHERE outcome = 'fired') lags";

/// Occurrences that did not fire, and executions beyond one for each that did.
const OTHERWISE: &str = "SELECT (SELECT count(*) FROM fires WHERE outcome <> 'fired') \
     + abs((SELECT count(*) FROM executions) + (SELECT count(*) FROM executions_ended) \
         - (SELECT count(*) FROM fires WHERE outcome = 'fired'))";

/// CPU of the process in milliseconds for each second, while nothing is due.
async fn idle(server: &Server) -> io::Result<(f64, Duration)> {
    let (before, began) = (server.cpu()?, Instant::now());
    tokio::time::sleep(IDLE).await;
    let took = began.elapsed();
    let used = server.cpu()?.saturating_sub(before);
    Ok((used.as_secs_f64() * 1000.0 / took.as_secs_f64(), took))
}

/// Deployments with schedules of once a year, as a deploy and a first decision
/// leave them.
async fn load(url: &str, schedules: u64) -> io::Result<()> {
    let deployments = schedules.div_ceil(EACH);
    let id = |prefix: &str, n: &str| format!("'{prefix}_0' || lpad({n}::text, 25, '0')");
    let statements = [
        format!(
            "INSERT INTO workflows (workflow_id, deployment_id, namespace, name, \
                 deployment_status, deployed_at, deployment_config, current_version) \
             SELECT {wfl}, {dep}, 'bench', 'schedule-' || n, 'DEPLOYED', now(), '{{}}', 1 \
             FROM generate_series(1, {deployments}) n",
            wfl = id("wfl", "n"),
            dep = id("dep", "n"),
        ),
        format!(
            "INSERT INTO workflow_versions (workflow_id, version, workflow_version, digest, \
                 definition, source) \
             SELECT {wfl}, 1, v.workflow_version, v.digest, v.definition, v.source \
             FROM generate_series(1, {deployments}) n, \
                 (SELECT * FROM workflow_versions LIMIT 1) v",
            wfl = id("wfl", "n"),
        ),
        format!(
            "INSERT INTO triggers (id, deployment_id, slot, position, kind, enabled, spec) \
             SELECT {trg}, {dep}, 'cron:' || n, n % {EACH}, 'cron', true, \
                 convert_to('{{\"type\":\"cron\",\"cron\":\"0 0 1 1 *\"}}', 'UTF8') \
             FROM generate_series(1, {schedules}) n",
            trg = id("trg", "n"),
            dep = id("dep", &format!("(1 + n % {deployments})")),
        ),
        "INSERT INTO schedules (trigger_id, deployment_id, spec, anchor_at, decided_to, due_at, \
             next_nominal, next_effective, step) \
         SELECT id, deployment_id, spec, now(), now(), next, next, next, 2 \
         FROM triggers, (SELECT date_trunc('year', now()) + interval '1 year' AS next) y"
            .to_owned(),
        "ANALYZE".to_owned(),
    ];
    for statement in statements {
        pgbench::psql(url, &statement).await?;
    }
    Ok(())
}

/// Makes every so-many-th schedule a one-shot of the minute that begins after
/// the lead, evenly spread.
async fn make_due(url: &str, due: u64) -> io::Result<()> {
    let lead = LEAD.as_secs();
    let chosen = format!(
        "WITH due AS MATERIALIZED ( \
             SELECT id, date_trunc('milliseconds', now() + interval '{lead} seconds' \
                 + interval '60 seconds' * row_number() OVER () / {due}) AS at \
             FROM (SELECT id FROM triggers ORDER BY md5(id) LIMIT {due}) t), \
         changed AS ( \
             UPDATE triggers t SET kind = 'once', spec = convert_to( \
                 '{{\"type\":\"once\",\"at\":\"' \
                 || to_char(due.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') \
                 || '\"}}', 'UTF8') \
             FROM due WHERE t.id = due.id RETURNING t.id, t.spec, due.at) \
         UPDATE schedules s SET spec = changed.spec, due_at = changed.at, \
             next_nominal = changed.at, next_effective = changed.at, step = step + 1 \
         FROM changed WHERE s.trigger_id = changed.id"
    );
    pgbench::psql(url, &chosen).await.map(drop)
}

/// Waits until all have fired; answers how many have.
async fn wait(url: &str, due: u64) -> io::Result<u64> {
    let until = Instant::now() + LEAD + Duration::from_mins(1) + PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let fired =
            pgbench::psql(url, "SELECT count(*) FROM fires WHERE outcome = 'fired'").await?;
        let fired = fired.parse().unwrap_or(0);
        if fired >= due || Instant::now() > until {
            return Ok(fired);
        }
    }
}

/// Of a statement in the database, in milliseconds; the best of five.
async fn execution_time(url: &str, explain: &str) -> io::Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let plan = pgbench::psql(url, explain).await?;
        let time = plan
            .lines()
            .find_map(|line| line.trim().strip_prefix("Execution Time: "))
            .and_then(|rest| rest.split(' ').next())
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no execution time in {plan}")))?;
        best = best.min(time);
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_aim_is_judged() {
        let good = || Figures {
            due: 5000,
            fired: 5000,
            otherwise: 0,
            look_ms: 0.1,
            lag_p99_ms: 70.0,
            growth_mib: 5,
        };
        assert_eq!(good().missed(), Vec::<String>::new());
        let missed = [
            Figures {
                fired: 4999,
                ..good()
            },
            Figures {
                fired: 5001,
                ..good()
            },
            Figures {
                otherwise: 1,
                ..good()
            },
            Figures {
                look_ms: 6.0,
                ..good()
            },
            Figures {
                lag_p99_ms: f64::NAN,
                ..good()
            },
            Figures {
                growth_mib: 65,
                ..good()
            },
        ];
        for figures in missed {
            assert_eq!(figures.missed().len(), 1, "{:?}", figures.missed());
        }
    }
}
