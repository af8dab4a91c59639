//! The real binary, started, talked to, stopped and killed.

// Each test file compiles this module for itself and uses a part of it.
#![allow(dead_code)]

pub mod echo;

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use millrace_testkit::{eventually, guard};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Longest that anything here may take; only reached by a failure.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A running `millrace`, killed when dropped.
pub struct Millrace {
    child: Child,
    client: reqwest::Client,
    /// The addresses of its ready line.
    pub ready: Value,
}

impl Millrace {
    /// `millrace dev` on embedded defaults in `data`, on ports of its own.
    pub async fn dev(data: &Path) -> Self {
        Self::dev_with(data, &[]).await
    }

    pub async fn dev_with(data: &Path, settings: &[(&str, &str)]) -> Self {
        let data = data
            .to_str()
            .expect("temporary directories have plain names");
        let arguments = [
            "dev",
            "--ready-json",
            "--data-dir",
            data,
            "--listen",
            "127.0.0.1:0",
            "--runtime-listen",
            "127.0.0.1:0",
            "--orchestrator-listen",
            "127.0.0.1:0",
        ];
        Self::start(&arguments, settings).await
    }

    /// Any role that prints a ready line.
    pub async fn start(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::spawn(arguments, command(arguments, settings)).await
    }

    /// With its log in a file.
    pub async fn start_logging(arguments: &[&str], settings: &[(&str, &str)], log: &Path) -> Self {
        let mut command = command(arguments, settings);
        command.stderr(std::fs::File::create(log).expect("a file for the log"));
        Self::spawn(arguments, command).await
    }

    async fn spawn(arguments: &[&str], mut command: Command) -> Self {
        // It may run services, which outlive it when it is killed.
        let mut words = arguments.iter().skip_while(|word| **word != "--data-dir");
        if let Some(data) = words.nth(1) {
            guard(Path::new(data));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("starts");
        let stdout = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("ready in time")
            .expect("readable")
            .unwrap_or_else(|| panic!("`millrace {arguments:?}` ended before it was ready"));
        let ready = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        Self {
            child,
            client: client(),
            ready,
        }
    }

    /// `127.0.0.1:PORT` of one of the listeners: "http", "runtime", …
    pub fn address(&self, of: &str) -> String {
        self.ready[of]
            .as_str()
            .unwrap_or_else(|| panic!("no {of} in {}", self.ready))
            .to_owned()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("http"))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.client.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_text(path, "application/json", body.to_string())
            .await
    }

    pub async fn post_text(&self, path: &str, kind: &str, body: String) -> (u16, Value) {
        answer(
            self.client
                .post(self.url(path))
                .header("content-type", kind)
                .body(body),
        )
        .await
    }

    /// Deploys a document with one webhook; the deployment.
    pub async fn deploy(&self, document: &str, webhook: &str) -> Value {
        let body = serde_json::json!({
            "workflow": document,
            "triggers": [{"type": "webhook", "path": webhook}],
        });
        let (status, deployment) = self.post("/api/deployments", &body).await;
        assert!(matches!(status, 200 | 201), "{status}: {deployment:#}");
        deployment
    }

    /// Posts to a webhook; the id of the execution that it started.
    pub async fn fire(&self, webhook: &str, body: &Value) -> String {
        let (status, accepted) = self.post(&format!("/webhooks/{webhook}"), body).await;
        assert_eq!(status, 202, "{accepted:#}");
        accepted["executionId"].as_str().expect("an id").to_owned()
    }

    /// The execution, once it has one of the statuses.
    pub async fn until(&self, id: &str, statuses: &[&str]) -> Value {
        eventually(PATIENCE, || async {
            let (_, execution) = self.get(&format!("/api/executions/{id}")).await;
            match execution["status"].as_str() {
                Some(status) if statuses.contains(&status) => Ok(execution),
                _ => Err(execution),
            }
        })
        .await
    }

    pub async fn history(&self, id: &str) -> Vec<Value> {
        let (status, page) = self
            .get(&format!("/api/executions/{id}/history?limit=1000"))
            .await;
        assert_eq!(status, 200, "{page:#}");
        page["items"].as_array().expect("items").clone()
    }

    fn pid(&self) -> Pid {
        let id = self.child.id().expect("it runs");
        Pid::from_raw(i32::try_from(id).expect("a pid")).expect("not zero")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the signal goes out");
    }

    /// `kill -9`, and its end.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// SIGTERM, and its end.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("ends in time")
            .expect("waited for")
    }
}

/// A `millrace` command with nothing of this process' configuration.
pub fn command(arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command
        .args(arguments)
        .env_remove("DATABASE_URL")
        .env_remove("REDIS_URL")
        .env("MILLRACE_LOG", "warn")
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub fn client() -> reqwest::Client {
    // Two tests of one process may both be the first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .expect("a client")
}

/// A POST of JSON.
pub fn post_json(client: &reqwest::Client, url: &str, body: &Value) -> reqwest::RequestBuilder {
    client
        .post(url)
        .header("content-type", "application/json")
        .body(body.to_string())
}

/// Status and body; a body that is not JSON comes as a string.
pub async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, body)
}

/// An HTTP service of this test; ends when dropped.
pub struct Service {
    pub url: String,
    _server: tokio::task::JoinSet<()>,
}

impl Service {
    pub async fn start(app: axum::Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move {
            axum::serve(listener, app).await.expect("serves");
        });
        Self {
            url,
            _server: server,
        }
    }
}
