//! A `millrace dev` of our own, in a directory of its own.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use millrace_shim::tree;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::http::{self, Answer, Connection};

/// How long a server may take to be ready, or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    /// `127.0.0.1:PORT` of the gateway.
    pub address: String,
    /// From the start of the process to its ready line.
    pub ready_after: Duration,
    child: Child,
    data: TempDir,
}

impl Server {
    /// Starts one on embedded defaults, or on `database_url`.
    pub async fn start(
        binary: &Path,
        database_url: Option<&str>,
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        Self::start_with(tempfile::tempdir()?, binary, database_url, settings).await
    }

    /// The same with its data in a folder within this one, which stays there.
    pub async fn start_in(folder: &Path, binary: &Path) -> io::Result<Self> {
        let mut data = tempfile::tempdir_in(folder)?;
        data.disable_cleanup(true);
        Self::start_with(data, binary, None, &[]).await
    }

    async fn start_with(
        data: TempDir,
        binary: &Path,
        database_url: Option<&str>,
        settings: &[(&str, &str)],
    ) -> io::Result<Self> {
        let mut command = Command::new(binary);
        command
            .args(["dev", "--ready-json", "--listen", "127.0.0.1:0"])
            .args([
                "--runtime-listen",
                "127.0.0.1:0",
                "--orchestrator-listen",
                "127.0.0.1:0",
            ])
            .arg("--data-dir")
            .arg(data.path())
            .env("MILLRACE_LOG", "warn")
            .env_remove("REDIS_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(url) = database_url {
            command.args(["--database-url", url]);
        }
        command.envs(settings.iter().copied());
        let began = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no stdout"))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .map_err(|_| io::Error::other("the server was not ready in time"))??
            .ok_or_else(|| io::Error::other("the server ended before it was ready"))?;
        let ready_after = began.elapsed();
        let ready: serde_json::Value = serde_json::from_str(&line)?;
        let address = ready["http"]
            .as_str()
            .ok_or_else(|| io::Error::other(format!("no address in {line}")))?
            .to_owned();
        Ok(Self {
            address,
            ready_after,
            child,
            data,
        })
    }

    /// One request, with any answer.
    pub async fn send(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let request = http::request(method, path, &self.address, body);
        Connection::open(&self.address).await?.send(&request).await
    }

    /// One request with JSON, or none, and the JSON of its answer; any status
    /// but 2xx is an error.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> io::Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = self.send(method, path, &body).await?;
        if (200..300).contains(&answer.status) {
            return Ok(serde_json::from_slice(&answer.body)?);
        }
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let message = format!("{method} {path}: {} {text}", answer.status);
        Err(io::Error::other(message))
    }

    /// Its process.
    pub fn pid(&self) -> io::Result<u32> {
        let pid = self.child.id();
        pid.ok_or_else(|| io::Error::other("the server has ended"))
    }

    /// Its folder.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Resident memory in KiB, as the kernel counts it (`VmRSS`).
    pub fn resident_kib(&self) -> io::Result<u64> {
        let pid = self.pid()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
            .ok_or_else(|| io::Error::other("no VmRSS"))
    }

    /// Processor time that it has used so far.
    pub fn cpu(&self) -> io::Result<Duration> {
        let pid = self.pid()?;
        used(pid)
    }

    /// Stops it in order and waits for its end.
    pub async fn stop(mut self) -> io::Result<()> {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .map_err(|_| io::Error::other("the server did not stop in time"))??;
        Ok(())
    }
}

impl Drop for Server {
    /// Where it was not stopped in order: its services go with it.
    fn drop(&mut self) {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

/// Processor time of a process so far, in whole ticks.
pub fn used(pid: u32) -> io::Result<Duration> {
    let stat = tree::stat(pid);
    let stat = stat.ok_or_else(|| io::Error::other(format!("process {pid} is gone")))?;
    Ok(Duration::from_millis(stat.used * tree::TICK))
}
