//! Three processes of each role on PostgreSQL and Redis, and the orchestrator
//! of their machine, restarted one after the other under load, as a rolling
//! update does: nobody notices. Some of the load waits for results.

mod support;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use millrace_testkit::{PrivateRedis, TestDatabase, eventually, free_port, guard, port_pool};
use serde_json::{Value, json};
use support::echo::Echo;
use support::{Millrace, PATIENCE, command};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const INSTANCES: usize = 3;
/// Posts are sent in bursts of this many, so often: 300 in a second.
const BURST: usize = 6;
const EVERY: Duration = Duration::from_millis(20);
/// Posts under way at once: a machine that cannot keep up slows the load down.
const AT_ONCE: usize = 256;
/// Every so many posts, the workflow makes a call.
const CALLS_EVERY: usize = 20;
/// How often one comes that waits for its result, and one to a service.
const OTHERS_EVERY: Duration = Duration::from_millis(100);
/// How long what is waited for takes: longer than a gateway that stops goes on
/// serving, so that it stops with some who wait.
const TAKES: &str = "PT8S";

/// What stands in front of the gateways: it sends requests to those that say
/// that they are ready, as endpoints of a Kubernetes service do.
struct Balancer {
    urls: Vec<String>,
    ready: Vec<AtomicBool>,
    turn: AtomicUsize,
    client: reqwest::Client,
}

impl Balancer {
    fn new(urls: Vec<String>) -> Arc<Self> {
        let ready = urls.iter().map(|_| AtomicBool::new(false)).collect();
        Arc::new(Self {
            urls,
            ready,
            turn: AtomicUsize::new(0),
            client: support::client(),
        })
    }

    /// Looks who is ready, again and again.
    async fn watch(self: Arc<Self>) {
        loop {
            for (url, ready) in self.urls.iter().zip(&self.ready) {
                let asked = self.client.get(format!("{url}/readyz"));
                let answer = asked.timeout(Duration::from_secs(2)).send().await;
                let is = answer.is_ok_and(|answer| answer.status().is_success());
                ready.store(is, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn is_ready(&self, index: usize) -> bool {
        self.ready[index].load(Ordering::Relaxed)
    }

    /// On a machine with much else to do, none may say in time that it is.
    async fn pick(&self) -> &str {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let index = eventually(PATIENCE, || async {
            (0..self.urls.len())
                .map(|step| (first + step) % self.urls.len())
                .find(|index| self.is_ready(*index))
                .ok_or("no gateway is ready")
        })
        .await;
        &self.urls[index]
    }

    /// Posts JSON; the answer, or what went wrong.
    async fn ask(&self, path: &str, n: usize) -> Result<(u16, Value), String> {
        let url = format!("{}{path}", self.pick().await);
        let request = support::post_json(&self.client, &url, &json!({"n": n}));
        let answer = request
            .send()
            .await
            .map_err(|e| format!("{path} {n}: {e:?}"))?;
        let status = answer.status().as_u16();
        let text = answer
            .text()
            .await
            .map_err(|e| format!("{path} {n}: {e:?}"))?;
        let body = serde_json::from_str(&text).map_err(|e| format!("{text}: {e}"))?;
        Ok((status, body))
    }

    /// Posts one order; the id of its execution, or what went wrong.
    async fn post(&self, n: usize) -> Result<String, String> {
        match self.ask("/webhooks/load", n).await? {
            (202, body) => Ok(id(&body["executionId"])),
            other => Err(format!("{n}: {other:?}")),
        }
    }

    /// Posts one that waits for its result; whether it came with the answer.
    async fn wait(&self, n: usize) -> Result<(String, bool), String> {
        match self.ask("/webhooks/slow", n).await? {
            (200, body) if body["status"] == "SUCCEEDED" && body["output"]["n"] == n => {
                Ok((id(&body["id"]), true))
            }
            (202, body) => Ok((id(&body["executionId"]), false)),
            other => Err(format!("waiting {n}: {other:?}")),
        }
    }

    /// Calls a service.
    async fn serve(&self, n: usize) -> Result<(), String> {
        match self.ask("/services/ROLL/echo/", n).await? {
            (200, body) if body["n"] == n => Ok(()),
            other => Err(format!("service {n}: {other:?}")),
        }
    }
}

fn id(of: &Value) -> String {
    of.as_str().expect("an id").to_owned()
}

/// Makes a call every [`OTHERS_EVERY`] until it is told to stop; each outcome.
async fn steadily<T, F>(stop: Arc<AtomicBool>, call: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut calls = JoinSet::new();
    let mut clock = tokio::time::interval(OTHERS_EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        clock.tick().await;
        calls.spawn(call(next));
        next += 1;
    }
    calls.join_all().await
}

/// Answers with what is posted.
const SERVICE: &str = r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// A project with one service, started through `gateway`.
async fn start_service(gateway: &Millrace, project: &Path) {
    let folder = project.join("src/services/echo");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("serve.py"), SERVICE).unwrap();
    let spec = json!({"type": "process", "command": ["python3", "serve.py"]});
    std::fs::write(folder.join("service.json"), spec.to_string()).unwrap();
    let made = json!({"name": "Roll", "key": "ROLL", "localPath": project});
    let (status, made) = gateway.post("/api/projects", &made).await;
    assert_eq!(status, 201, "{made:#}");
    let path = format!("/api/projects/{}/start?wait=60s", id(&made["id"]));
    let (status, started) = gateway.post(&path, &json!({})).await;
    assert_eq!(status, 200, "{started:#}");
}

/// Posts at a steady rate until it is told to stop; each answer in turn.
async fn load(balancer: Arc<Balancer>, stop: Arc<AtomicBool>) -> Vec<Result<String, String>> {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut posts = JoinSet::new();
    let mut answers = Vec::new();
    // What was late is made up for, as far as there are slots.
    let mut clock = tokio::time::interval(EVERY);
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        clock.tick().await;
        for _ in 0..BURST {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("open");
            let (balancer, n) = (Arc::clone(&balancer), next);
            next += 1;
            posts.spawn(async move {
                let answer = balancer.post(n).await;
                drop(slot);
                answer
            });
        }
        while let Some(done) = posts.try_join_next() {
            answers.push(done.unwrap());
        }
    }
    answers.extend(posts.join_all().await);
    answers
}

/// One process of a role, which can be started again in the same place.
struct Place {
    role: &'static str,
    address: String,
    settings: Vec<(&'static str, String)>,
    process: Option<Millrace>,
}

impl Place {
    async fn start(role: &'static str, settings: &[(&'static str, String)]) -> Self {
        let mut place = Self {
            role,
            address: format!("127.0.0.1:{}", free_port()),
            settings: settings.to_vec(),
            process: None,
        };
        place.launch().await;
        place
    }

    async fn launch(&mut self) {
        let arguments = [self.role, "--ready-json", "--listen", &self.address];
        let settings: Vec<(&str, &str)> = self
            .settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.process = Some(Millrace::start(&arguments, &settings).await);
    }

    async fn restart(&mut self) {
        let process = self.process.take().expect("it runs");
        let ended = process.terminate().await;
        assert!(
            ended.success(),
            "{} at {}: {ended}",
            self.role,
            self.address
        );
        self.launch().await;
    }
}

async fn several(role: &'static str, settings: &[(&'static str, String)]) -> Vec<Place> {
    let mut places = Vec::new();
    for _ in 0..INSTANCES {
        places.push(Place::start(role, settings).await);
    }
    places
}

fn addresses(places: &[Place]) -> String {
    let all: Vec<_> = places.iter().map(|place| place.address.as_str()).collect();
    all.join(",")
}

/// All executions, page by page.
async fn all_executions(gateway: &Millrace) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/executions?limit=1000{cursor}");
        let (status, page) = gateway.get(&path).await;
        assert_eq!(status, 200, "{page:#}");
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// The orchestrator of this machine, with a data directory of its own.
async fn orchestrator(stores: &[(&'static str, String)], folder: &Path) -> Place {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).unwrap();
    guard(&data);
    let path = |path: &Path| path.to_str().expect("a plain name").to_owned();
    let mut settings = stores.to_vec();
    settings.push(("MILLRACE_ORCHESTRATOR__DATA_DIR", path(&data)));
    settings.push(("MILLRACE_ORCHESTRATOR__ROOTS", path(folder)));
    settings.push(("MILLRACE_ORCHESTRATOR__PORTS", port_pool(10)));
    settings.push(("MILLRACE_DATABASE__MAX_CONNECTIONS", "4".to_owned()));
    Place::start("orchestrator", &settings).await
}

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_every_role_under_load_is_noticed_by_nobody() {
    let database = TestDatabase::create().await;
    let redis = PrivateRedis::start().await;
    let stores = [
        ("DATABASE_URL", database.url.clone()),
        ("REDIS_URL", redis.url()),
    ];
    let migrated = command(&["migrate"], &[(stores[0].0, stores[0].1.as_str())])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&migrated.stderr);
    assert!(migrated.status.success(), "{said}");
    let egress = ("MILLRACE_ENGINE__EGRESS__ALLOW", "loopback".to_owned());
    let drain = ("MILLRACE_ENGINE__DRAIN", "5s".to_owned());
    let mut engines = several("engine", &[egress, drain]).await;
    let mut settings = stores.to_vec();
    settings.push(("MILLRACE_RUNTIME__ENGINE", addresses(&engines)));
    settings.push(("MILLRACE_RUNTIME__DRAIN", "5s".to_owned()));
    // Three processes share one server with the tests that run beside this.
    settings.push(("MILLRACE_DATABASE__MAX_CONNECTIONS", "8".to_owned()));
    let mut runtimes = several("runtime", &settings).await;
    let folder = tempfile::tempdir().unwrap();
    let mut orchestrator = orchestrator(&stores, folder.path()).await;
    let settings = [
        ("MILLRACE_GATEWAY__RUNTIME", addresses(&runtimes)),
        (
            "MILLRACE_GATEWAY__ORCHESTRATOR",
            orchestrator.address.clone(),
        ),
    ];
    let mut gateways = several("gateway", &settings).await;

    let echo = Echo::start().await;
    let document = format!(
        "document: {{dsl: 1.0.3, namespace: test, name: load, version: 1.0.0}}\n\
         do:\n\
         - keep:\n    set: {{n: '${{ .n }}'}}\n\
         - some:\n    if: .n % {CALLS_EVERY} == 0\n    call: http\n    with: {{method: post, endpoint: \"{}/n\", body: {{n: '${{ .n }}'}}}}\n    output: {{as: .body}}\n",
        echo.url
    );
    let gateway = gateways[0].process.as_ref().unwrap();
    gateway.deploy(&document, "load").await;
    let slow = format!(
        "document: {{dsl: 1.0.3, namespace: test, name: slow, version: 1.0.0}}\n\
         do:\n\
         - rest:\n    wait: {TAKES}\n\
         - keep:\n    set: {{n: '${{ $workflow.input.n }}'}}\n"
    );
    let webhook = json!({"type": "webhook", "path": "slow", "respond": "result"});
    let body = json!({"workflow": slow, "triggers": [webhook]});
    let (status, deployment) = gateway.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    start_service(gateway, &folder.path().join("project")).await;

    let urls = gateways
        .iter()
        .map(|gateway| format!("http://{}", gateway.address))
        .collect();
    let balancer = Balancer::new(urls);
    let mut watching = JoinSet::new();
    watching.spawn(Arc::clone(&balancer).watch());
    let until_ready = async |index: usize| {
        eventually(PATIENCE, || async {
            if balancer.is_ready(index) {
                Ok(())
            } else {
                Err(format!("gateway {index} is not ready"))
            }
        })
        .await;
    };
    for index in 0..INSTANCES {
        until_ready(index).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut loading = JoinSet::new();
    loading.spawn(load(Arc::clone(&balancer), Arc::clone(&stop)));
    let begun = Instant::now();
    let mut waiting = JoinSet::new();
    let waits = Arc::clone(&balancer);
    waiting.spawn(steadily(Arc::clone(&stop), move |n| {
        let balancer = Arc::clone(&waits);
        async move { balancer.wait(n).await }
    }));
    let mut serving = JoinSet::new();
    let serves = Arc::clone(&balancer);
    serving.spawn(steadily(Arc::clone(&stop), move |n| {
        let balancer = Arc::clone(&serves);
        async move { balancer.serve(n).await }
    }));

    for engine in &mut engines {
        engine.restart().await;
    }
    for runtime in &mut runtimes {
        runtime.restart().await;
    }
    for (index, gateway) in gateways.iter_mut().enumerate() {
        gateway.restart().await;
        until_ready(index).await;
    }
    orchestrator.restart().await;
    let took = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let answers = loading.join_next().await.unwrap().unwrap();

    let failed: Vec<_> = answers.iter().filter_map(|a| a.as_ref().err()).collect();
    let count = answers.len();
    assert!(
        failed.is_empty(),
        "{} of {count} failed: {:#?}",
        failed.len(),
        failed.iter().take(5).collect::<Vec<_>>()
    );
    let waited = waiting.join_next().await.unwrap().unwrap();
    let failed: Vec<_> = waited.iter().filter_map(|a| a.as_ref().err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let early = waited.iter().flatten().filter(|(_, ended)| !ended).count();
    assert!(early > 0, "each gateway stopped with nobody waiting");
    let served = serving.join_next().await.unwrap().unwrap();
    let failed: Vec<_> = served.iter().filter_map(|a| a.as_ref().err()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let mut acknowledged: HashSet<&str> = answers.iter().flatten().map(String::as_str).collect();
    acknowledged.extend(waited.iter().flatten().map(|(id, _)| id.as_str()));
    assert_eq!(
        acknowledged.len(),
        count + waited.len(),
        "two posts got the same execution"
    );

    let gateway = gateways[0].process.as_ref().unwrap();
    let executions = eventually(PATIENCE, || async {
        let all = all_executions(gateway).await;
        let open = all.iter().filter(|e| e["status"] != "SUCCEEDED").count();
        if open == 0 {
            Ok(all)
        } else {
            Err(format!("{open} of {} not succeeded", all.len()))
        }
    })
    .await;
    // Exactly what was acknowledged: nothing lost, and nothing twice.
    let existing: HashSet<&str> = executions
        .iter()
        .map(|e| e["id"].as_str().unwrap())
        .collect();
    assert_eq!(existing.len(), executions.len());
    assert_eq!(existing, acknowledged);
    // Repeated calls, if any, have the key of the first.
    let (mut numbers, mut keys) = (HashSet::new(), HashSet::new());
    for call in echo.calls() {
        numbers.insert(call.body["n"].as_u64().unwrap());
        keys.insert(call.headers["idempotency-key"].to_str().unwrap().to_owned());
    }
    assert_eq!(numbers.len(), count.div_ceil(CALLS_EVERY));
    assert_eq!(keys.len(), numbers.len());
    let rate = |count: usize| count as u128 * 1000 / took.as_millis();
    println!(
        "{count} posts in {took:.1?} ({}/s), {} calls; {} more waited for their result, \
         {early} of them were told to look later; {} requests to a service ({}/s); \
         {} instances restarted, none failed",
        rate(count),
        numbers.len(),
        waited.len(),
        served.len(),
        rate(served.len()),
        3 * INSTANCES + 1
    );
}
