//! One look at an instance.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use millrace_service::transport::remote;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::spec::{Check, CommandLine, Probe};

/// What a probe has to know of an instance.
#[derive(Debug, Clone)]
pub(crate) struct CheckContext {
    /// 0 when it listens on none.
    pub port: u16,
    pub working_dir: PathBuf,
    /// All of its environment.
    pub env: BTreeMap<String, String>,
    /// User and group, where those are not this process' own.
    pub user: Option<(u32, u32)>,
}

/// Whether the instance is well; the reason when it is not.
pub(crate) async fn check(probe: &Probe, context: &CheckContext) -> Result<(), String> {
    let look = async {
        match &probe.check {
            Check::Tcp => connect(context.port).await.map(|_| ()),
            Check::Http { path } => http(context.port, path).await,
            Check::Exec(command) => exec(command, context).await,
            Check::Grpc { service } => grpc(context.port, service).await,
        }
    };
    match tokio::time::timeout(probe.timeout, look).await {
        Ok(found) => found,
        Err(_) => Err(format!("no answer within {} ms", probe.timeout.as_millis())),
    }
}

async fn connect(port: u16) -> Result<TcpStream, String> {
    TcpStream::connect(("127.0.0.1", port))
        .await
        .map_err(|error| format!("port {port}: {error}"))
}

async fn http(port: u16, path: &str) -> Result<(), String> {
    let mut stream = connect(port).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: millrace-probe\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    let failed = |error: io::Error| format!("GET {path}: {error}");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    // "HTTP/1.1 200": nothing after it matters.
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.map_err(failed)?;
    let text = String::from_utf8_lossy(&head);
    let status = text
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..))
        .and_then(|status| status.parse::<u16>().ok())
        .ok_or_else(|| format!("GET {path}: the answer is not HTTP"))?;
    match status {
        200..=399 => Ok(()),
        status => Err(format!("GET {path}: status {status}")),
    }
}

async fn exec(command: &CommandLine, context: &CheckContext) -> Result<(), String> {
    let program = &command.0[0];
    let failed = |error: io::Error| format!("{program}: {error}");
    let mut probe = tokio::process::Command::new(program);
    probe
        .args(&command.0[1..])
        .current_dir(&context.working_dir)
        .env_clear()
        .envs(&context.env)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if let Some((user, group)) = context.user {
        probe.uid(user).gid(group);
    }
    let mut child = probe.spawn().map_err(failed)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        return Err(format!("{program}: it has no number"));
    };
    // Dropped before `child`, also when this takes too long.
    let group = Group(pid);
    has_ended(pid).await.map_err(failed)?;
    drop(group);
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program}: {status}"))
    }
}

/// Returns once this child is dead, and leaves it to be waited for.
async fn has_ended(pid: Pid) -> io::Result<()> {
    // From before the first look on: none is missed.
    let mut ends = signal(SignalKind::child())?;
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    while waitid(WaitId::Pid(pid), look)?.is_none() {
        ends.recv().await;
    }
    Ok(())
}

/// The processes of a probe. All that is left of them is killed when it is
/// dropped, which has to be before the first one is waited for: until then its
/// number cannot become that of others.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // An error means that there are none any more.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

async fn grpc(port: u16, service: &str) -> Result<(), String> {
    let transport = remote(&format!("http://127.0.0.1:{port}")).map_err(|e| e.to_string())?;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(transport)
        .check(request)
        .await
        .map_err(|status| format!("health check: {status}"))?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("health check: {}", other.as_str_name())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use millrace_testkit::eventually;

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    /// A probe whose child leaves its number in the file `left`.
    fn leaving(folder: &Path, then: &str) -> (CommandLine, CheckContext) {
        let script = format!("sleep 1000 & echo $! > left.new && mv left.new left; {then}");
        let command = ["sh", "-c", script.as_str()].map(str::to_owned);
        let context = CheckContext {
            port: 0,
            working_dir: folder.to_owned(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            user: None,
        };
        (CommandLine(command.into()), context)
    }

    /// The number that was left, once it is there.
    async fn left(folder: &Path) -> String {
        eventually(PATIENCE, || async {
            fs::read_to_string(folder.join("left"))
        })
        .await
    }

    async fn until_it_is_gone(pid: &str) {
        let stat = format!("/proc/{}/stat", pid.trim());
        eventually(PATIENCE, || async {
            match fs::read_to_string(&stat) {
                Ok(stat) if !stat.contains(") Z") => Err(stat),
                _ => Ok(()),
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_probe_that_is_given_up_leaves_no_process() {
        let folder = tempfile::tempdir().unwrap();
        let (command, context) = leaving(folder.path(), "wait");
        let pid = tokio::select! {
            ended = exec(&command, &context) => panic!("it ends: {ended:?}"),
            pid = left(folder.path()) => pid,
        };
        until_it_is_gone(&pid).await;
    }

    #[tokio::test]
    async fn what_a_probe_leaves_behind_is_ended_and_its_word_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (command, context) = leaving(folder.path(), "exit 0");
        assert_eq!(exec(&command, &context).await, Ok(()));
        until_it_is_gone(&left(folder.path()).await).await;
        let (command, context) = leaving(folder.path(), "exit 7");
        let error = exec(&command, &context).await.unwrap_err();
        assert!(error.contains("exit status: 7"), "{error}");
    }
}
