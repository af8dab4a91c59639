//! What bodies look like.

use millrace_types::{
    DeploymentId, DeploymentStatus, ExecutionId, ExecutionStatus, TriggerId, TriggerKind,
    WorkflowId,
};
use serde_json::{Value, json};

use super::document::schema;

/// All of them, by name.
pub fn all() -> Value {
    json!({
        "Problem": problem(),
        "Finding": finding(),
        "Deployment": deployment(),
        "Trigger": trigger(),
        "Version": version(),
        "Plan": plan(),
        "Accepted": accepted(),
        "Execution": execution(true),
        "ExecutionSummary": execution(false),
        "HistoryItem": history_item(),
        "Fire": fire(),
        "Project": super::projects::project(),
        "Service": super::projects::service(),
        "Workload": super::workloads::workload(),
        "WorkloadStatus": super::workloads::status(),
        "Instance": super::workloads::instance(),
        "LogPage": super::workloads::log_page(),
        "LogEntry": super::workloads::log_entry(),
        "Health": health(),
        "Dependency": dependency(),
    })
}

/// Identifiers of one kind: the prefix says of what, the rest is a time and
/// chance in Crockford's base 32.
pub fn id(prefix: &str) -> Value {
    json!({
        "type": "string",
        "pattern": format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"),
    })
}

pub fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// How many of something a caller wants.
pub fn amount() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 50})
}

/// A name out of a set.
pub fn one_of<T: Copy + ToString>(all: &[T]) -> Value {
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    json!({"type": "string", "enum": names})
}

/// A duration as `wait` takes it, of at most five minutes.
pub fn wait() -> Value {
    json!({"type": "string", "pattern": "^(PT)?[0-9]{1,2}[sS]$", "examples": ["10s", "PT10S"]})
}

/// The same, or null.
pub fn nullable(mut schema: Value) -> Value {
    let kind = schema["type"].take();
    schema["type"] = json!([kind, "null"]);
    schema
}

pub fn object(required: &[&str], properties: Value) -> Value {
    let mut schema = json!({"type": "object"});
    schema["required"] = required.to_vec().into();
    schema["properties"] = properties;
    schema
}

fn problem() -> Value {
    object(
        &["type", "title", "status", "detail", "errors"],
        json!({
            "type": {"type": "string", "examples": ["urn:millrace:problem:not-found"]},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "reason": {"type": "string", "description": "A word for programs, where there is one."},
            "errors": {"type": "array", "items": schema("Finding")},
            "traceId": {"type": "string", "description": "What to look for in the log."},
        }),
    )
}

fn finding() -> Value {
    object(
        &["pointer", "line", "column", "message"],
        json!({
            "pointer": {"type": ["string", "null"], "description": "JSON pointer into the body."},
            "line": {"type": ["integer", "null"], "minimum": 1},
            "column": {"type": ["integer", "null"], "minimum": 1},
            "parameter": {"type": "string", "description": "The query parameter or header that it is about."},
            "message": {"type": "string"},
        }),
    )
}

fn deployment() -> Value {
    object(
        &[
            "id",
            "workflowId",
            "name",
            "namespace",
            "version",
            "workflowVersion",
            "status",
            "triggers",
            "deployedAt",
            "config",
        ],
        json!({
            "id": id(DeploymentId::PREFIX),
            "workflowId": id(WorkflowId::PREFIX),
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "version": {"type": "integer", "minimum": 1, "description": "Ours, which counts."},
            "workflowVersion": {"type": "string", "description": "The document's own."},
            "status": one_of(DeploymentStatus::ALL),
            "triggers": {"type": "array", "items": schema("Trigger")},
            "deployedAt": nullable(time()),
            "config": {"type": "object"},
            "warnings": {"type": "array", "items": schema("Finding")},
        }),
    )
}

fn trigger() -> Value {
    let mut trigger = object(
        &["id", "type", "enabled"],
        json!({
            "id": id(TriggerId::PREFIX),
            "type": one_of(TriggerKind::ALL),
            "name": {"type": "string"},
            "enabled": {"type": "boolean"},
        }),
    );
    trigger["description"] = "The other members are those that it was deployed with.".into();
    trigger
}

fn version() -> Value {
    object(
        &["version", "workflowVersion", "digest", "createdAt", "live"],
        json!({
            "version": {"type": "integer", "minimum": 1},
            "workflowVersion": {"type": "string"},
            "digest": {"type": "string"},
            "createdAt": time(),
            "live": {"type": "boolean"},
        }),
    )
}

fn plan() -> Value {
    let findings = json!({"type": "array", "items": schema("Finding")});
    let changes = json!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["op", "pointer", "before", "after"],
            "properties": {
                "op": {"type": "string", "enum": ["add", "remove", "replace"]},
                "pointer": {"type": "string"},
            },
        },
    });
    let plan = json!({
        "type": ["object", "null"],
        "required": ["action", "status", "triggers", "changes", "truncated", "fires"],
        "properties": {
            "action": {"type": "string", "enum": ["create", "none", "update", "restore", "revive"]},
            "deploymentId": nullable(id(DeploymentId::PREFIX)),
            "workflowId": nullable(id(WorkflowId::PREFIX)),
            "status": one_of(DeploymentStatus::ALL),
            "liveVersion": {"type": ["integer", "null"], "minimum": 1},
            "version": {"type": ["integer", "null"], "minimum": 1},
            "triggers": {"type": "array", "items": {"type": "object"}},
            "changes": changes,
            "truncated": {"type": "boolean"},
            "fires": {"type": "array", "items": {"type": "object"}},
        },
    });
    object(
        &["valid", "diagnostics", "warnings", "plan"],
        json!({
            "valid": {"type": "boolean"},
            "diagnostics": findings,
            "warnings": findings,
            "plan": plan,
        }),
    )
}

fn accepted() -> Value {
    object(
        &["executionId"],
        json!({
            "executionId": id(ExecutionId::PREFIX),
            "status": one_of(ExecutionStatus::ALL),
        }),
    )
}

/// The executions that events have started.
pub fn started() -> Value {
    object(
        &["executionIds"],
        json!({"executionIds": {"type": "array", "items": id(ExecutionId::PREFIX)}}),
    )
}

/// In lists they come without what may be large.
fn execution(whole: bool) -> Value {
    let mut execution = object(
        &[
            "id",
            "deploymentId",
            "workflowId",
            "version",
            "status",
            "trigger",
            "error",
            "createdAt",
            "startedAt",
            "endedAt",
            "rerunOf",
        ],
        json!({
            "id": id(ExecutionId::PREFIX),
            "deploymentId": id(DeploymentId::PREFIX),
            "workflowId": id(WorkflowId::PREFIX),
            "version": {"type": "integer", "minimum": 1},
            "status": one_of(ExecutionStatus::ALL),
            "trigger": {
                "type": ["object", "null"],
                "properties": {"type": {"type": "string"}, "id": {"type": "string"}},
            },
            "error": {"type": ["object", "null"], "description": "Why it failed: `{type, status, title, detail, instance}`."},
            "createdAt": nullable(time()),
            "startedAt": nullable(time()),
            "endedAt": nullable(time()),
            "rerunOf": nullable(id(ExecutionId::PREFIX)),
        }),
    );
    if whole {
        execution["properties"]["input"] = json!({"description": "Any JSON."});
        execution["properties"]["output"] =
            json!({"description": "Any JSON; null until it succeeded."});
    }
    execution
}

fn history_item() -> Value {
    let mut item = object(
        &["seq", "at", "kind", "task", "attempt"],
        json!({
            "seq": {"type": "integer", "minimum": 1},
            "at": time(),
            "kind": {"type": "string", "examples": ["taskStarted"]},
            "task": {"type": ["string", "null"], "description": "JSON pointer of the task."},
            "attempt": {"type": ["integer", "null"], "minimum": 1},
        }),
    );
    item["description"] = "The other members depend on the kind.".into();
    item
}

fn fire() -> Value {
    object(
        &[
            "triggerId",
            "nominalAt",
            "untilAt",
            "count",
            "effectiveAt",
            "outcome",
            "reason",
            "executionId",
            "backfilled",
            "decidedAt",
        ],
        json!({
            "triggerId": id(TriggerId::PREFIX),
            "nominalAt": time(),
            "untilAt": {"type": "string", "description": "The last of `count` occurrences in a row that share this entry."},
            "count": {"type": "integer", "minimum": 1},
            "effectiveAt": {"type": "string"},
            "outcome": {"type": ["string", "null"], "description": "null for one to come."},
            "reason": {"type": ["string", "null"]},
            "executionId": nullable(id(ExecutionId::PREFIX)),
            "backfilled": {"type": "boolean", "description": "Whether it was asked for afterwards."},
            "decidedAt": {"type": ["string", "null"], "description": "When it was entered, or started; null for one to come."},
        }),
    )
}

fn health() -> Value {
    object(
        &["status", "timestamp", "version", "dependencies"],
        json!({
            "status": {"type": "string", "enum": ["healthy", "degraded", "unhealthy"]},
            "timestamp": time(),
            "version": {"type": "string"},
            "dependencies": object(
                &["database", "redis", "workflow_engine", "orchestrator"],
                json!({
                    "database": schema("Dependency"),
                    "redis": schema("Dependency"),
                    "workflow_engine": schema("Dependency"),
                    "orchestrator": schema("Dependency"),
                }),
            ),
        }),
    )
}

fn dependency() -> Value {
    object(
        // The rest is for those who present a key, where keys are asked for.
        &["status"],
        json!({
            "status": {"type": "string", "enum": ["healthy", "degraded", "unhealthy", "disabled", "unknown"]},
            "latencyMs": {"type": "number", "minimum": 0},
            "message": {"type": "string"},
        }),
    )
}
