//! `/api/monitoring/…`

use http::Method;
use millrace_types::{DeploymentId, ExecutionId, ExecutionStatus, TriggerId, TriggerKind};
use serde_json::{Value, json};

use super::document::{Document, Operation, page_of, schema};
use super::schemas::{id, one_of, time};

const TAG: &str = "monitoring";

/// An object of these members, all there, and of no others that matter here.
#[expect(
    clippy::needless_pass_by_value,
    reason = "called with what json! makes"
)]
fn object(members: Value) -> Value {
    let names: Vec<_> = members
        .as_object()
        .map(|all| all.keys().cloned().collect())
        .unwrap_or_default();
    json!({"type": "object", "required": names, "properties": members})
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "called with what json! makes"
)]
fn or_null(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn count() -> Value {
    object(json!({"value": {"type": "integer"}, "atLeast": {"type": "boolean"}}))
}

fn window() -> Value {
    object(json!({"from": time(), "to": time(), "complete": {"type": "boolean"}}))
}

fn summary() -> Value {
    let number = || json!({"type": "number"});
    or_null(object(json!({
        "count": {"type": "integer"}, "p50Ms": number(), "p95Ms": number(), "p99Ms": number(),
        "maxMs": number(),
    })))
}

fn stats() -> Value {
    let whole = || json!({"type": "integer"});
    object(json!({
        "deploymentId": id(DeploymentId::PREFIX),
        "workflowId": {"type": "string"},
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "status": {"type": "string"},
        "live": object(json!({"pending": count(), "running": count(), "waiting": count()})),
        "window": window(),
        "ended": object(json!({
            "succeeded": whole(), "failed": whole(), "cancelled": whole(), "timedOut": whole(),
        })),
        "successRate": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "durations": summary(),
        "waits": summary(),
        "lastRun": or_null(object(json!({
            "executionId": id(ExecutionId::PREFIX), "status": {"type": "string"},
            "createdAt": time(), "endedAt": or_null(time()),
        }))),
        "nextFires": {"type": "array", "items": object(json!({
            "triggerId": id(TriggerId::PREFIX), "nominalAt": time(), "effectiveAt": time(),
        }))},
    }))
}

fn scheduling() -> Value {
    let outcomes = ["fired", "queued", "skipped", "missed", "paused", "failed"];
    let outcomes: serde_json::Map<_, _> = outcomes
        .into_iter()
        .map(|name| (name.to_owned(), json!({"type": "integer"})))
        .collect();
    let period = || {
        let outcomes = object(Value::Object(outcomes.clone()));
        object(json!({"window": window(), "outcomes": outcomes, "startLag": summary()}))
    };
    object(json!({
        "timestamp": time(),
        "schedules": object(json!({"active": count(), "paused": count(), "finished": count()})),
        "due": object(json!({
            "backlog": count(), "since": or_null(time()), "lagMs": {"type": "number"},
        })),
        "scheduler": object(json!({
            "state": {"enum": ["running", "stopped"]}, "since": time(),
            "reason": {"type": "string"}, "generation": {"type": "integer"},
        })),
        "drift": object(json!({"schedules": count(), "worstMs": {"type": "number"}})),
        "drifting": {"type": "array", "items": object(json!({
            "triggerId": id(TriggerId::PREFIX), "deploymentId": id(DeploymentId::PREFIX),
            "effectiveAt": time(), "startedAt": time(), "driftMs": {"type": "number"},
        }))},
        "lastHour": period(),
        "lastDay": period(),
    }))
}

fn jitter() -> Value {
    let whole = || json!({"type": "integer"});
    let or_none = |kind: &str| json!({"type": [kind, "null"]});
    object(json!({
        "planned": object(json!({
            "schedules": whole(), "withoutWindow": whole(), "complete": {"type": "boolean"},
            "estimate": or_none("integer"), "parts": {"type": "array", "items": whole()},
            "expected": {"type": "number"}, "chiSquare": or_none("number"),
            "degreesOfFreedom": whole(), "maxToMean": or_none("number"),
        })),
        "actual": object(json!({
            "window": window(), "fires": whole(),
            "offsets": {"type": "array", "items": object(json!({
                "upToSeconds": or_none("integer"), "count": whole(),
            }))},
            "withinWindow": whole(), "beyondWindow": whole(),
            "parts": {"type": "array", "items": whole()},
            "expected": {"type": "number"}, "chiSquare": or_none("number"),
            "degreesOfFreedom": whole(), "maxToMean": or_none("number"),
        })),
    }))
}

fn load() -> Value {
    let whole = || json!({"type": "integer"});
    let bucket = || object(json!({"at": time(), "fires": whole()}));
    object(json!({
        "now": object(json!({
            "instances": {"type": "array", "items": object(json!({
                "id": {"type": "string"}, "since": time(), "running": count(),
            }))},
            "engineReady": {"type": "boolean"},
            "due": count(), "dueSince": or_null(time()), "unowned": count(),
            "backingOff": count(),
        })),
        "forecast": object(json!({
            "from": time(), "to": time(), "bucketSeconds": whole(),
            "complete": {"type": "boolean"}, "schedules": whole(),
            "estimate": {"type": ["integer", "null"]}, "total": whole(), "peak": or_null(bucket()),
            "meanPerBucket": {"type": "number"},
            "buckets": {"type": "array", "items": bucket()},
        })),
    }))
}

pub fn describe(document: &mut Document) {
    let op = |id, summary: &str| Operation::new(id, TAG, summary);
    let mut add = |path: &str, operation: Operation| {
        document.add(&Method::GET, path, operation);
    };
    add(
        "/api/monitoring/deployments",
        op("deploymentStats", "What deployments did in the last day")
            .query("deploymentId", id(DeploymentId::PREFIX), "Only this one.")
            .paged()
            .answers(200, "A page, of 100 at most.", &page_of(&stats()))
            .problems(&[404]),
    );
    let mut searched = page_of(&schema("ExecutionSummary"));
    if let Some(properties) = searched["properties"].as_object_mut() {
        properties.insert("scanned".into(), json!({"type": ["integer", "null"]}));
    }
    add(
        "/api/monitoring/executions",
        op(
            "searchExecutions",
            "Executions, also by the text of their error",
        )
        .query("deploymentId", id(DeploymentId::PREFIX), "Only its own.")
        .query("status", one_of(ExecutionStatus::ALL), "Only those.")
        .query(
            "trigger",
            one_of(TriggerKind::ALL),
            "Only those started so.",
        )
        .query("triggerId", id(TriggerId::PREFIX), "Only those it started.")
        .query("from", time(), "Only those made then or later.")
        .query("to", time(), "Only those made before.")
        .query(
            "errorText",
            json!({"type": "string", "minLength": 1, "maxLength": 200}),
            "Only those whose error contains it, whatever the case of its letters.",
        )
        .paged()
        .answers(
            200,
            "A page; it may hold fewer than its limit and yet have a next one.",
            &searched,
        )
        .problems(&[404]),
    );
    add(
        "/api/monitoring/scheduling",
        op("schedulingMetrics", "How scheduling fares").answers(200, "Figures.", &scheduling()),
    );
    add(
        "/api/monitoring/jitter",
        op(
            "jitterDistribution",
            "Where in their windows schedules start",
        )
        .answers(200, "Planned, and what was.", &jitter()),
    );
    let hours = json!({"type": "integer", "minimum": 1, "maximum": 24, "default": 6});
    add(
        "/api/monitoring/load",
        op("loadDistribution", "Who works on what, and what will start")
            .query("hours", hours, "How far the forecast reaches.")
            .answers(200, "Now, and the hours to come.", &load()),
    );
    add(
        "/api/monitoring/health",
        op("monitoringHealth", "The same as /health")
            .only_problems(&[])
            .answers(200, "It can accept work.", &schema("Health"))
            .answers(503, "It cannot.", &schema("Health")),
    );
}
