//! One look at an instance.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use millrace_service::transport::remote;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
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
    let failed = |error: std::io::Error| format!("GET {path}: {error}");
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
        // When it takes too long.
        .kill_on_drop(true);
    if let Some((user, group)) = context.user {
        probe.uid(user).gid(group);
    }
    let status = probe
        .status()
        .await
        .map_err(|error| format!("{program}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program}: {status}"))
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
