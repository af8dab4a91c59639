//! `/api/workloads…`

use http::Method;
use millrace_types::{InstanceId, ProjectId, WorkloadId, WorkloadStage};
use serde_json::{Value, json};

use super::document::{Document, Operation, page_of, schema};
use super::schemas::{amount, id, nullable, object, one_of, time, wait};

const TAG: &str = "workloads";
const WKL: &str = WorkloadId::PREFIX;

pub fn describe(document: &mut Document) {
    resources(document);
    verbs(document);
}

fn resources(document: &mut Document) {
    let op = |id, summary: &str| Operation::new(id, TAG, summary);
    let mut add = |method: Method, path: &str, operation: Operation| {
        document.add(&method, path, operation);
    };
    let workload = schema("Workload");
    let status = schema("WorkloadStatus");
    let new = json!({
        "type": "object",
        "required": ["projectId", "service"],
        "additionalProperties": false,
        "properties": {"projectId": {"type": "string"}, "service": {"type": "string"}},
    });
    add(
        Method::POST,
        "/api/workloads",
        op("createWorkload", "Deploy a service, without starting it")
            .json(
                true,
                &new,
                &json!({"projectId": "prj_…", "service": "tasks"}),
            )
            .answers(201, "It is deployed.", &workload)
            .problems(&[403, 404, 409, 501]),
    );
    add(
        Method::GET,
        "/api/workloads",
        op("listWorkloads", "The workloads, the newest first")
            .query("projectId", id(ProjectId::PREFIX), "Only its own.")
            .paged()
            .answers(200, "A page, without instances.", &page_of(&status))
            .problems(&[404, 501]),
    );
    add(
        Method::GET,
        "/api/workloads/{id}",
        op("getWorkload", "One workload with its instances")
            .of(WKL)
            .answers(200, "The workload.", &workload)
            .problems(&[501]),
    );
    add(
        Method::DELETE,
        "/api/workloads/{id}",
        op(
            "deleteWorkload",
            "Stop it; its logs and its data go with it",
        )
        .of(WKL)
        .answers_nothing(204, "It is gone.")
        .problems(&[409, 501]),
    );
    add(
        Method::GET,
        "/api/workloads/{id}/status",
        op("getWorkloadStatus", "One workload without its instances")
            .of(WKL)
            .answers(200, "Where it stands.", &status)
            .problems(&[501]),
    );
}

fn verbs(document: &mut Document) {
    let op = |id, summary: &str| Operation::new(id, TAG, summary);
    let mut add = |method: Method, path: &str, operation: Operation| {
        document.add(&method, path, operation);
    };
    let workload = schema("Workload");
    for (id, verb, summary) in [
        (
            "startWorkload",
            "start",
            "Start it; one that runs stays as it is",
        ),
        (
            "stopWorkload",
            "stop",
            "Stop it, and all that it has started",
        ),
        (
            "restartWorkload",
            "restart",
            "Stop it and start it, or replace it without a gap",
        ),
    ] {
        let mut operation = op(id, summary)
            .of(WKL)
            .query("wait", wait(), "How long to wait for the end.")
            .answers(200, "It has come to its end.", &workload)
            .answers(202, "It is under way.", &workload)
            .problems(&[403, 409, 429, 501]);
        if verb == "restart" {
            let strategy = json!({"type": "string", "enum": ["blueGreen"]});
            operation = operation.query(
                "strategy",
                strategy,
                "The new instance is ready before the old one goes.",
            );
        }
        add(
            Method::POST,
            &format!("/api/workloads/{{id}}/{verb}"),
            operation,
        );
    }
    let sequence = json!({"type": "integer", "minimum": 0});
    let stream = json!({"type": "string", "enum": ["stdout", "stderr", "system"]});
    add(
        Method::GET,
        "/api/workloads/{id}/logs",
        op("getLogs", "What it has written, the oldest first")
            .of(WKL)
            .query("after", sequence, "Only what came after this line.")
            .query("limit", amount(), "How many at most.")
            .query("stream", stream, "Only this one.")
            .answers(200, "A page.", &schema("LogPage"))
            .problems(&[501]),
    );
}

pub fn status() -> Value {
    let text = json!({"type": ["string", "null"]});
    object(
        &[
            "id",
            "projectId",
            "service",
            "stage",
            "port",
            "containerId",
            "url",
            "error",
            "restarts",
            "nextRetryAt",
        ],
        json!({
            "id": id(WKL),
            "projectId": id(ProjectId::PREFIX),
            "projectKey": text,
            "service": {"type": "string"},
            "type": text,
            "stage": one_of(WorkloadStage::ALL),
            "desired": text,
            "health": text,
            "port": {"type": ["integer", "null"]},
            "containerId": text,
            "url": text,
            "error": {
                "type": ["object", "null"],
                "required": ["reason", "message"],
                "properties": {"reason": {"type": "string"}, "message": {"type": "string"}},
            },
            "restarts": {"type": "integer", "minimum": 0},
            "nextRetryAt": nullable(time()),
            "nodeId": text,
            "createdAt": nullable(time()),
            "updatedAt": nullable(time()),
        }),
    )
}

pub fn workload() -> Value {
    let mut workload = status();
    workload["required"]
        .as_array_mut()
        .expect("it has some")
        .push("instances".into());
    workload["properties"]["instances"] = json!({
        "type": "array",
        "description": "The oldest first.",
        "items": schema("Instance"),
    });
    workload
}

pub fn instance() -> Value {
    let number = json!({"type": ["integer", "null"]});
    object(
        &[
            "id",
            "pid",
            "port",
            "startedAt",
            "endedAt",
            "exitCode",
            "signal",
        ],
        json!({
            "id": id(InstanceId::PREFIX),
            "pid": number,
            "port": number,
            "startedAt": nullable(time()),
            "endedAt": nullable(time()),
            "exitCode": number,
            "signal": number,
            "reason": {"type": ["string", "null"]},
            "memoryBytes": number,
            "cpuMs": number,
            "processes": number,
            "limits": {"type": ["string", "null"]},
        }),
    )
}

pub fn log_page() -> Value {
    object(
        &["items", "next"],
        json!({
            "items": {"type": "array", "items": schema("LogEntry")},
            "next": {
                "type": ["integer", "null"],
                "description": "`after` of the next page; null when this is all for now.",
            },
        }),
    )
}

pub fn log_entry() -> Value {
    let text = json!({"type": ["string", "null"]});
    object(
        &["seq", "at", "stream", "stage", "instance", "line"],
        json!({
            "seq": {"type": "integer", "minimum": 1},
            "at": nullable(time()),
            "stream": {"type": "string", "enum": ["stdout", "stderr", "system"]},
            "stage": text,
            "instance": text,
            "line": {"type": "string"},
            "partial": {"type": "boolean", "description": "It goes on in the next entry."},
        }),
    )
}
