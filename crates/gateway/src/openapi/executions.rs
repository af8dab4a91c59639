//! `/api/executions…`

use http::Method;
use millrace_types::{DeploymentId, ExecutionId, ExecutionStatus, TriggerId, TriggerKind};
use serde_json::json;

use super::document::{Document, Operation, page_of, schema};
use super::schemas::{id, one_of, time};

const TAG: &str = "executions";
const EXE: &str = ExecutionId::PREFIX;

/// What an execution's id is good for.
pub const NEXT: &[&str] = &[
    "getExecution",
    "listHistory",
    "cancelExecution",
    "rerunExecution",
];

pub fn describe(document: &mut Document) {
    let execution = schema("Execution");
    let op = |id, summary: &str| Operation::new(id, TAG, summary);
    let mut add = |method: Method, path: &str, operation: Operation| {
        document.add(&method, path, operation);
    };
    add(
        Method::GET,
        "/api/executions",
        op("listExecutions", "What ran and runs, the newest first")
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
            .paged()
            .answers(
                200,
                "A page, without inputs and outputs.",
                &page_of(&schema("ExecutionSummary")),
            )
            .leads_to(200, "/items/0/id", NEXT)
            .problems(&[404]),
    );
    add(
        Method::GET,
        "/api/executions/{id}",
        op("getExecution", "One execution")
            .of(EXE)
            .answers(200, "The execution.", &execution),
    );
    add(
        Method::GET,
        "/api/executions/{id}/history",
        op("listHistory", "What happened in it, the oldest first")
            .of(EXE)
            .paged()
            .answers(200, "A page.", &page_of(&schema("HistoryItem"))),
    );
    let reason = json!({
        "type": "object",
        "properties": {"reason": {"type": "string"}},
        "additionalProperties": false,
    });
    add(
        Method::POST,
        "/api/executions/{id}/cancel",
        op("cancelExecution", "End it")
            .of(EXE)
            .json(false, &reason, &json!({"reason": "no longer wanted"}))
            .answers(200, "It is cancelled.", &execution)
            .answers(202, "Its owner has been asked.", &execution)
            .problems(&[409]),
    );
    let from = json!({
        "type": "object",
        "properties": {"from": {"type": "string", "enum": ["start", "failedTask"]}},
        "additionalProperties": false,
    });
    add(
        Method::POST,
        "/api/executions/{id}/rerun",
        op(
            "rerunExecution",
            "Run it once more, with its input and on its version",
        )
        .of(EXE)
        .json(false, &from, &json!({"from": "start"}))
        .answers(202, "The new one is durable.", &schema("Accepted"))
        .leads_to(202, "/executionId", NEXT)
        .problems(&[409, 429]),
    );
}
