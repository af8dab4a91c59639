//! Several processes of each role on one PostgreSQL and one Redis, one of them
//! killed under load.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use millrace_testkit::{PrivateRedis, TestDatabase, eventually};
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, command};

const POSTS: usize = 2_000;

struct Cluster {
    gateway: Millrace,
    runtimes: Vec<Millrace>,
    redis: PrivateRedis,
    _database: TestDatabase,
}

async fn cluster(count: usize) -> Cluster {
    let database = TestDatabase::create().await;
    let redis = PrivateRedis::start().await;
    let redis_url = redis.url();
    let settings = [
        ("DATABASE_URL", database.url.as_str()),
        ("REDIS_URL", redis_url.as_str()),
        // Short, so that the takeover is part of the test and not its length.
        ("MILLRACE_RUNTIME__LEASE_TTL", "2s"),
        ("MILLRACE_ENGINE__EGRESS__ALLOW", "loopback"),
    ];
    let migrated = command(&["migrate"], &settings).output().await.unwrap();
    assert!(
        migrated.status.success(),
        "{}",
        String::from_utf8_lossy(&migrated.stderr)
    );
    let mut runtimes = Vec::new();
    for _ in 0..count {
        let arguments = ["runtime", "--ready-json", "--listen", "127.0.0.1:0"];
        runtimes.push(Millrace::start(&arguments, &settings).await);
    }
    let addresses: Vec<_> = runtimes
        .iter()
        .map(|r| format!("http://{}", r.address("runtime")))
        .collect();
    let addresses = addresses.join(",");
    let settings = [("MILLRACE_GATEWAY__RUNTIME", addresses.as_str())];
    let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
    let gateway = Millrace::start(&arguments, &settings).await;
    Cluster {
        gateway,
        runtimes,
        redis,
        _database: database,
    }
}

/// All executions, page by page.
async fn all_executions(gateway: &Millrace) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = gateway
            .get(&format!("/api/executions?limit=1000{cursor}"))
            .await;
        assert_eq!(status, 200, "{page:#}");
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_killed_under_load_loses_and_doubles_nothing() {
    let mut cluster = cluster(3).await;
    let echo = support::echo::Echo::start().await;
    let document = format!(
        "document: {{dsl: 1.0.3, namespace: test, name: load, version: 1.0.0}}\n\
         do:\n\
         - keep:\n    set: {{n: '${{ .n }}'}}\n\
         - every20th:\n    if: .n % 20 == 0\n    call: http\n    with: {{method: post, endpoint: \"{}/n\", body: {{n: '${{ .n }}'}}}}\n    output: {{as: .body}}\n",
        echo.url
    );
    cluster.gateway.deploy(&document, "load").await;

    let url = cluster.gateway.url("/webhooks/load");
    let client = support::client();
    let mut accepted: Vec<(String, usize)> = Vec::with_capacity(POSTS);
    let mut posts = tokio::task::JoinSet::new();
    let mut next = 0;
    let mut post = |posts: &mut tokio::task::JoinSet<_>| {
        if next < POSTS {
            let n = next;
            next += 1;
            let request = support::post_json(&client, &url, &json!({"n": n}));
            posts.spawn(async move { (n, support::answer(request).await) });
        }
    };
    for _ in 0..32 {
        post(&mut posts);
    }
    while let Some(done) = posts.join_next().await {
        let (n, (status, body)) = done.unwrap();
        if status == 202 {
            accepted.push((body["executionId"].as_str().unwrap().to_owned(), n));
        } else {
            assert_eq!(status, 503, "{body:#}");
        }
        match accepted.len() {
            700 if cluster.runtimes.len() == 3 => cluster.runtimes.remove(0).kill().await,
            1200 => cluster.redis.flush().await,
            _ => {}
        }
        post(&mut posts);
    }
    assert_eq!(
        cluster.runtimes.len(),
        2,
        "the kill came too late to matter"
    );
    assert!(
        accepted.len() > POSTS * 9 / 10,
        "only {} of {POSTS} accepted",
        accepted.len()
    );

    let executions = eventually(PATIENCE, || async {
        let all = all_executions(&cluster.gateway).await;
        let open = all.iter().filter(|e| e["status"] != "SUCCEEDED").count();
        if open == 0 {
            Ok(all)
        } else {
            Err(format!("{open} of {} not succeeded", all.len()))
        }
    })
    .await;

    // Each 202 is one execution with its own result; none exists twice.
    let ids: HashSet<_> = executions
        .iter()
        .map(|e| e["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), executions.len());
    let acknowledged: HashSet<_> = accepted.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(
        acknowledged.len(),
        accepted.len(),
        "two posts got the same execution"
    );
    for (id, n) in accepted.iter().step_by(37) {
        let (_, execution) = cluster.gateway.get(&format!("/api/executions/{id}")).await;
        assert_eq!(execution["output"], json!({"n": n}), "{execution:#}");
        let history = cluster.gateway.history(id).await;
        let ends = history
            .iter()
            .filter(|item| item["kind"] == "executionSucceeded")
            .count();
        assert_eq!(ends, 1, "{history:#?}");
    }
    for (id, _) in &accepted {
        assert!(
            ids.contains(id.as_str()),
            "{id} was acknowledged and is lost"
        );
    }
}

#[tokio::test]
async fn without_redis_the_service_is_degraded_and_works() {
    let mut cluster = cluster(1).await;
    let document = "document: {dsl: 1.0.3, namespace: test, name: plain, version: 1.0.0}\n\
                    do:\n- keep:\n    set: {n: '${ .n }'}\n";
    cluster.gateway.deploy(document, "plain").await;
    cluster.redis.stop();
    eventually(Duration::from_secs(20), || async {
        let (status, health) = cluster.gateway.get("/health").await;
        match (status, health["status"].as_str()) {
            (200, Some("degraded")) if health["dependencies"]["redis"]["status"] == "unhealthy" => {
                Ok(())
            }
            _ => Err(health),
        }
    })
    .await;
    let id = cluster.gateway.fire("plain", &json!({"n": 7})).await;
    let execution = cluster.gateway.until(&id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(execution["output"], json!({"n": 7}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_reaches_whichever_runtime_owns_the_execution() {
    let cluster = cluster(3).await;
    let silent = axum::Router::new().fallback(std::future::pending::<()>);
    let silent = support::Service::start(silent).await;
    let document = format!(
        "document: {{dsl: 1.0.3, namespace: test, name: never, version: 1.0.0}}\n\
         do:\n- call: {{call: http, with: {{method: get, endpoint: \"{}/never\"}}}}\n",
        silent.url
    );
    cluster.gateway.deploy(&document, "never").await;
    // The gateway asks one runtime after the other, so that most requests
    // reach one that does not own the execution.
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(cluster.gateway.fire("never", &json!({})).await);
    }
    for id in &ids {
        cluster.gateway.until(id, &["RUNNING"]).await;
        let path = format!("/api/executions/{id}/cancel");
        let (status, answer) = cluster
            .gateway
            .post(&path, &json!({"reason": "enough"}))
            .await;
        assert!(matches!(status, 200 | 202), "{status}: {answer:#}");
        let execution = cluster.gateway.until(id, &["CANCELLED"]).await;
        assert_eq!(execution["error"]["detail"], "enough");
    }
}

/// A call that nobody answers, counted for as long as it is open.
struct Open(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_cuts_off_the_call_of_another_instance() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let cluster = cluster(2).await;
    let mut gateways = Vec::new();
    for runtime in &cluster.runtimes {
        let at = format!("http://{}", runtime.address("runtime"));
        let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
        let settings = [("MILLRACE_GATEWAY__RUNTIME", at.as_str())];
        gateways.push(Millrace::start(&arguments, &settings).await);
    }
    let open = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&open);
    let silent = axum::Router::new().fallback(move || {
        counting.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&counting));
        async move {
            let _open = open;
            std::future::pending::<()>().await;
        }
    });
    let silent = support::Service::start(silent).await;
    let document = format!(
        "document: {{dsl: 1.0.3, namespace: test, name: never, version: 1.0.0}}\n\
         do:\n- call: {{call: http, with: {{method: get, endpoint: \"{}/never\"}}}}\n",
        silent.url
    );
    gateways[0].deploy(&document, "never").await;
    let is = async |calls: usize| {
        eventually(PATIENCE, || async {
            let now = open.load(Ordering::SeqCst);
            if now == calls { Ok(()) } else { Err(now) }
        })
        .await;
    };
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        // Admitted by the first, which has room and so owns it.
        let id = gateways[0].fire("never", &json!({})).await;
        is(1).await;
        let asked = std::time::Instant::now();
        let path = format!("/api/executions/{id}/cancel");
        let (status, answer) = gateways[1].post(&path, &json!({"reason": "enough"})).await;
        assert!(matches!(status, 200 | 202), "{status}: {answer:#}");
        is(0).await;
        slowest = slowest.max(asked.elapsed());
        let execution = gateways[1].until(&id, &["CANCELLED"]).await;
        assert_eq!(execution["error"]["detail"], "enough");
    }
    println!("the slowest call was cut off after {slowest:?}");
}
