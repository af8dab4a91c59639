//! Between protobuf messages and the domain's types.

use std::str::FromStr;
use std::sync::Arc;

use millrace_proto::runtime::v1 as pb;
use millrace_proto::{Failure, Finding};
use millrace_store::{
    DeploymentRecord, EventRecord, ExecutionRecord, FireRecord, PageRequest, StoreError,
    TriggerRecord, VersionSummary, WriteRefused,
};
use millrace_types::{ErrorKind, Timestamp};
use tonic::Status;
use tracing::error;

use crate::trigger::fire::Fired;
use crate::trigger::webhook::answer::{Made, MadeBody};

/// A database's failure as the caller may see it; the rest goes to the log.
pub(crate) fn store_failure(error: &StoreError) -> Failure {
    internal(error.kind(), error)
}

/// A write's failure as the caller may see it.
pub(crate) fn write_failure(refused: &WriteRefused) -> Failure {
    internal(refused.kind(), refused)
}

fn internal(kind: ErrorKind, cause: &dyn std::fmt::Display) -> Failure {
    if kind == ErrorKind::Unavailable {
        tracing::warn!("a call failed: {cause}");
        Failure::new(kind, "the database is unavailable; try again").with_reason("database")
    } else {
        error!("a call failed: {cause}");
        Failure::new(
            ErrorKind::Internal,
            "internal error; the log has it under this trace id",
        )
    }
}

/// A status of another service that is none of the caller's business.
pub(crate) fn hide(status: &Status) -> Failure {
    internal(ErrorKind::Internal, status)
}

pub(crate) fn invalid(field: &str, message: impl std::fmt::Display) -> Failure {
    let message = message.to_string();
    let finding = Finding {
        pointer: format!("/{field}"),
        line: 0,
        column: 0,
        message: message.clone(),
    };
    Failure::new(ErrorKind::Invalid, format!("{field}: {message}")).with_findings(vec![finding])
}

/// A field that must be there.
pub(crate) fn required<T: FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
) -> Result<T, Failure> {
    text.parse().map_err(|e| invalid(field, e))
}

/// A field that may be empty.
pub(crate) fn optional<T: FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
) -> Result<Option<T>, Failure> {
    if text.is_empty() {
        Ok(None)
    } else {
        required(field, text).map(Some)
    }
}

/// An identifier that names what the caller is after: one that cannot exist
/// is as unknown as one that does not.
pub(crate) fn named<T: FromStr>(what: &str, text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|_| Failure::new(ErrorKind::NotFound, format!("there is no {what} {text}")))
}

pub(crate) fn page(cursor: String, limit: u32) -> Result<PageRequest, Failure> {
    Ok(PageRequest {
        cursor: Some(cursor).filter(|c| !c.is_empty()),
        limit: amount("limit", limit)?,
    })
}

/// How many of something are wanted; 50 when nothing is said.
pub(crate) fn amount(field: &str, amount: u32) -> Result<u32, Failure> {
    match amount {
        0 => Ok(50),
        1..=1000 => Ok(amount),
        _ => Err(invalid(
            field,
            format!("{amount} is not between 1 and 1000"),
        )),
    }
}

pub(crate) fn fire(record: FireRecord) -> pb::Fire {
    pb::Fire {
        trigger_id: record.trigger_id.to_string(),
        nominal_at: record.nominal_at.to_string(),
        effective_at: record.effective_at.to_string(),
        outcome: record.outcome.to_string(),
        reason: record.reason,
        execution_id: record
            .execution_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        until_at: record.until_at.to_string(),
        count: record.count,
        backfilled: record.backfilled,
        decided_at: record.decided_at.to_string(),
    }
}

/// An occurrence to come: nominal and effective time.
pub(crate) fn preview(trigger: &str, (nominal, effective): (Timestamp, Timestamp)) -> pb::Fire {
    pb::Fire {
        trigger_id: trigger.to_owned(),
        nominal_at: nominal.to_string(),
        effective_at: effective.to_string(),
        until_at: nominal.to_string(),
        count: 1,
        ..pb::Fire::default()
    }
}

pub(crate) fn time(at: Option<Timestamp>) -> String {
    at.map(|t| t.to_string()).unwrap_or_default()
}

pub(crate) fn deployment(record: DeploymentRecord) -> pb::Deployment {
    pb::Deployment {
        deployment_id: record.id.to_string(),
        workflow_id: record.workflow_id.to_string(),
        namespace: record.namespace,
        name: record.name,
        version: record.version,
        workflow_version: record.workflow_version,
        status: record.status.to_string(),
        triggers: record.triggers.into_iter().map(trigger).collect(),
        deployed_at: time(record.deployed_at),
        config_json: record.config_json,
        created_at: record.created_at.to_string(),
        updated_at: record.updated_at.to_string(),
    }
}

pub(crate) fn version(record: VersionSummary, live: u32) -> pb::WorkflowVersion {
    pb::WorkflowVersion {
        live: record.version == live,
        version: record.version,
        workflow_version: record.workflow_version,
        digest: record.digest,
        created_at: record.created_at.to_string(),
    }
}

pub(crate) fn trigger(record: TriggerRecord) -> pb::Trigger {
    pb::Trigger {
        trigger_id: record.id.to_string(),
        r#type: record.kind.to_string(),
        name: record.name.unwrap_or_default(),
        enabled: record.enabled,
        spec_json: record.spec_json,
        revision: record.revision,
    }
}

pub(crate) fn execution(record: ExecutionRecord) -> pb::Execution {
    let text = |bytes: bytes::Bytes| String::from_utf8_lossy(&bytes).into_owned();
    let trigger_json = match record.trigger_id {
        Some(id) => format!(r#"{{"type":"{}","id":"{id}"}}"#, record.trigger_kind),
        None => format!(r#"{{"type":"{}"}}"#, record.trigger_kind),
    };
    pb::Execution {
        execution_id: record.id.to_string(),
        deployment_id: record.deployment_id.to_string(),
        workflow_id: record.workflow_id.to_string(),
        version: record.version,
        status: record.status.to_string(),
        trigger_json,
        input_json: text(record.input),
        output_json: record.output.map(text).unwrap_or_default(),
        error_json: record.error.map(text).unwrap_or_default(),
        created_at: record.created_at.to_string(),
        started_at: time(record.started_at),
        ended_at: time(record.ended_at),
        rerun_of: record.rerun_of.map(|id| id.to_string()).unwrap_or_default(),
    }
}

/// The events of a request, each with its place in the posted body.
pub(crate) fn events(request: pb::PublishEventRequest) -> Vec<(String, String)> {
    if !request.is_batch {
        return vec![(String::new(), request.event_json)];
    }
    let events = request.batch_json.into_iter().enumerate();
    events.map(|(i, event)| (format!("/{i}"), event)).collect()
}

/// A started execution, and what has come of it already.
pub(crate) fn fired(fired: Fired) -> pb::TriggerWorkflowResponse {
    let Fired {
        admitted,
        ended,
        answer,
        stopping,
    } = fired;
    let status = ended.as_ref().map_or(admitted.status, |e| e.status);
    let answer_failed = matches!(answer, Some(Err(_)));
    let answer = answer.and_then(Result::ok);
    let shows_execution = answer
        .as_ref()
        .is_none_or(|answer| answer.body == MadeBody::Execution);
    pb::TriggerWorkflowResponse {
        execution_id: admitted.id.to_string(),
        status: status.to_string(),
        duplicate: !admitted.fresh,
        execution: ended
            .filter(|_| shows_execution)
            .map(Arc::unwrap_or_clone)
            .map(execution),
        answer: answer.map(webhook_answer),
        answer_failed,
        stopping,
    }
}

fn webhook_answer(made: Made) -> pb::WebhookAnswer {
    use pb::webhook_answer::Body;
    let headers = made.headers.into_iter();
    pb::WebhookAnswer {
        status: made.status.into(),
        headers: headers
            .map(|(name, value)| pb::HttpHeader { name, value })
            .collect(),
        body: match made.body {
            MadeBody::Empty => None,
            MadeBody::Text(text) => Some(Body::Text(text)),
            MadeBody::Json(json) => Some(Body::Json(json)),
            MadeBody::Execution => Some(Body::Execution(true)),
        },
    }
}

pub(crate) fn event(record: EventRecord) -> pb::ExecutionEvent {
    pb::ExecutionEvent {
        seq: record.seq,
        at: record.at.to_string(),
        kind: record.kind,
        task: record.task,
        attempt: record.attempt,
        detail_json: record.detail,
    }
}

pub(crate) fn violation(finding: Finding) -> pb::Violation {
    pb::Violation {
        pointer: finding.pointer,
        line: finding.line,
        column: finding.column,
        message: finding.message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_one_to_a_thousand() {
        assert_eq!(
            page(String::new(), 0).unwrap(),
            PageRequest {
                cursor: None,
                limit: 50
            }
        );
        assert_eq!(page("x".into(), 1000).unwrap().limit, 1000);
        assert_eq!(
            page(String::new(), 1001).unwrap_err().kind,
            ErrorKind::Invalid
        );
    }

    #[test]
    fn internals_stay_inside() {
        let failure = store_failure(&StoreError::Rejected("relation secret_table".into()));
        assert_eq!(failure.kind, ErrorKind::Internal);
        assert!(!failure.message.contains("secret"), "{}", failure.message);
    }
}
