//! Between the contract's messages and what is inside.

use std::str::FromStr;
use std::time::Duration;

use millrace_proto::orchestrator::v1 as pb;
use millrace_proto::{Failure, Finding};
use millrace_shim::record::{Entry, PARTIAL, Stage, Stream};
use millrace_store::{InstanceRecord, PageRequest, ProjectRecord};
use millrace_types::{ErrorKind, InstanceId, Timestamp};
use tonic::Status;

use crate::operation::Kind;
use crate::project::FoundService;
use crate::workload::View;

/// Longest wait, in ms.
const MAX_WAIT: u32 = 600_000;

/// For `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "map_err passes a value")]
pub(super) fn status(error: impl Kind) -> Status {
    let kind = error.kind();
    if kind == ErrorKind::Internal {
        // The caller learns no more than that.
        tracing::error!(%error, "a call failed");
        return Failure::new(kind, "internal error").into();
    }
    let findings = match error.pointer() {
        "" => Vec::new(),
        pointer => vec![Finding {
            pointer: pointer.to_owned(),
            line: 0,
            column: 0,
            message: error.to_string(),
        }],
    };
    Failure::new(kind, error.to_string())
        .with_findings(findings)
        .into()
}

pub(super) fn invalid(message: impl Into<String>) -> Status {
    Failure::new(ErrorKind::Invalid, message).into()
}

/// An identifier; one that is none stands for nothing that exists.
pub(super) fn id<T: FromStr>(what: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|_| {
        let message = format!("{what} `{text}` does not exist");
        Failure::new(ErrorKind::NotFound, message).into()
    })
}

pub(super) fn wait(wait_ms: u32) -> Result<Duration, Status> {
    if wait_ms > MAX_WAIT {
        return Err(invalid(format!("wait_ms has to be at most {MAX_WAIT}")));
    }
    Ok(Duration::from_millis(wait_ms.into()))
}

/// 50 by default.
pub(super) fn limit(limit: u32) -> Result<u32, Status> {
    match limit {
        0 => Ok(50),
        1..=1000 => Ok(limit),
        _ => Err(invalid("limit has to be from 1 to 1000")),
    }
}

pub(super) fn page<T: FromStr>(cursor: String, count: u32) -> Result<PageRequest, Status> {
    if !cursor.is_empty() && cursor.parse::<T>().is_err() {
        return Err(invalid(format!("`{cursor}` is no cursor")));
    }
    Ok(PageRequest {
        cursor: Some(cursor).filter(|cursor| !cursor.is_empty()),
        limit: limit(count)?,
    })
}

pub(super) fn project(record: ProjectRecord) -> pb::Project {
    pb::Project {
        project_id: record.id.to_string(),
        name: record.name,
        key: record.key,
        local_path: record.local_path,
        git_json: record.git_json.unwrap_or_default(),
        created_at: record.created_at.to_string(),
    }
}

pub(super) fn service(found: FoundService) -> pb::Service {
    let (kind, problems) = match &found.spec {
        Ok(spec) => (spec.kind.as_str(), Vec::new()),
        Err(findings) => {
            let problems = findings.iter().map(|finding| pb::Problem {
                pointer: finding.pointer.clone(),
                line: finding.line,
                column: finding.column,
                message: finding.message.clone(),
            });
            ("", problems.collect())
        }
    };
    pb::Service {
        name: found.name,
        r#type: kind.to_owned(),
        spec_json: found.text,
        problems,
        workload_id: String::new(),
    }
}

/// `host` is where the instance is reached.
pub(super) fn workload(view: View, host: &str) -> pb::Workload {
    let health = match view.record.state.ready {
        None => "unknown",
        Some(true) => "ready",
        Some(false) => "unready",
    };
    let record = view.record;
    let state = record.state;
    let time = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.to_string());
    pb::Workload {
        workload_id: record.id.to_string(),
        project_id: record.project_id.to_string(),
        service: record.service,
        stage: state.stage.to_string(),
        port: state.port.unwrap_or(0).into(),
        container_id: state.pid.map_or_else(String::new, |pid| pid.to_string()),
        url: state
            .port
            .map_or_else(String::new, |port| format!("http://{host}:{port}")),
        error: state
            .error
            .map(|(reason, message)| pb::WorkloadError { reason, message }),
        restarts: state.restarts,
        next_retry_at: time(state.next_retry_at),
        instances: view.instances.iter().map(instance).collect(),
        r#type: state.kind,
        desired: state.desired.to_string(),
        node_id: record.node_id,
        created_at: record.created_at.to_string(),
        updated_at: record.updated_at.to_string(),
        project_key: view.project_key,
        health: health.to_owned(),
        revision: record.revision,
    }
}

fn instance(record: &InstanceRecord) -> pb::Instance {
    pb::Instance {
        instance_id: record.id.to_string(),
        pid: record.pid.unwrap_or(0),
        port: record.port.unwrap_or(0).into(),
        started_at: record.started_at.to_string(),
        ended_at: record
            .ended_at
            .map_or_else(String::new, |at| at.to_string()),
        exit_code: record.exit_code,
        signal: record.signal,
        reason: record.reason.clone(),
        memory_bytes: None,
        cpu_ms: None,
        processes: None,
        limits: record.limits.clone(),
    }
}

pub(super) fn stream(name: &str) -> Result<Option<Stream>, Status> {
    match name {
        "" => Ok(None),
        "stdout" => Ok(Some(Stream::Stdout)),
        "stderr" => Ok(Some(Stream::Stderr)),
        "system" => Ok(Some(Stream::System)),
        other => Err(invalid(format!(
            "`{other}` is not one of stdout, stderr, system"
        ))),
    }
}

pub(super) fn entry(entry: Entry) -> pb::LogEntry {
    let meta = entry.meta;
    let line = String::from_utf8(entry.line)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    pb::LogEntry {
        seq: entry.seq,
        at: Timestamp::from_micros(meta.at).to_string(),
        stream: match meta.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::System => "system",
        }
        .to_owned(),
        stage: match meta.stage {
            Stage::Validate => "validate",
            Stage::Build => "build",
            Stage::Deploy => "deploy",
            Stage::Running => "running",
            Stage::Stop => "stop",
        }
        .to_owned(),
        instance: match meta.instance {
            0 => String::new(),
            bits => InstanceId::from_u128(bits).to_string(),
        },
        line,
        partial: meta.flags & PARTIAL != 0,
    }
}
