//! `/api/deployments…`

use http::Method;
use millrace_types::{DeploymentId, DeploymentStatus};
use serde_json::{Value, json};

use super::document::{Document, Operation, page_of, schema};
use super::schemas::{one_of, wait};

const TAG: &str = "deployments";
const DEP: &str = DeploymentId::PREFIX;

/// What a deployment's id is good for.
const NEXT: &[&str] = &[
    "getDeployment",
    "updateDeployment",
    "listVersions",
    "rollbackDeployment",
    "triggerDeployment",
    "pauseDeployment",
    "resumeDeployment",
    "registerWebhook",
    "deleteDeployment",
];

pub fn describe(document: &mut Document) {
    many(document);
    one(document);
    verbs(document);
}

fn op(id: &'static str, summary: &str) -> Operation {
    Operation::new(id, TAG, summary)
}

/// Without an id.
fn many(document: &mut Document) {
    let deployment = schema("Deployment");
    let mut add = |method: Method, path: &str, operation: Operation| {
        document.add(&method, path, operation);
    };
    add(
        Method::POST,
        "/api/deployments",
        op("createDeployment", "Make a workflow live")
            .body(
                true,
                json!({
                    "application/json": {"schema": bundle(true), "example": example()},
                    "application/yaml": {"schema": {"type": "string"}, "example": DOCUMENT},
                }),
            )
            .answers(201, "A version was made.", &deployment)
            .answers(200, "Exactly this was live already.", &deployment)
            .leads_to(201, "/id", NEXT)
            .leads_to(200, "/id", NEXT)
            .problems(&[409]),
    );
    add(
        Method::POST,
        "/api/deployments/plan",
        op(
            "planDeployment",
            "What a deploy of the same body would do; changes nothing",
        )
        .body(
            true,
            json!({
                "application/json": {"schema": bundle(true), "example": example()},
                "application/yaml": {"schema": {"type": "string"}, "example": DOCUMENT},
            }),
        )
        .answers(200, "The plan, or what prevents it.", &schema("Plan"))
        .problems(&[404, 409]),
    );
    add(
        Method::GET,
        "/api/deployments",
        op("listDeployments", "What is deployed, by name")
            .query("status", one_of(DeploymentStatus::ALL), "Only those.")
            .query("namespace", json!({"type": "string"}), "Only those of it.")
            .query("name", json!({"type": "string"}), "Only that one.")
            .query(
                "label",
                json!({"type": "string", "pattern": "^[^=&]+=[^&]*$"}),
                "Only those with the label, as key=value.",
            )
            .paged()
            .answers(200, "A page.", &page_of(&deployment))
            .leads_to(200, "/items/0/id", NEXT),
    );
}

/// The deployment itself.
fn one(document: &mut Document) {
    let deployment = schema("Deployment");
    let mut add = |method: Method, path: &str, operation: Operation| {
        document.add(&method, path, operation);
    };
    add(
        Method::GET,
        "/api/deployments/{id}",
        op("getDeployment", "One deployment")
            .of(DEP)
            .answers(200, "The deployment.", &deployment),
    );
    add(
        Method::PATCH,
        "/api/deployments/{id}",
        op("updateDeployment", "Change it by a JSON merge patch; a change makes the next version")
            .of(DEP)
            .body(
                true,
                json!({
                    "application/merge-patch+json": {"schema": bundle(false), "example": {"config": {"labels": {"team": "orders"}}}},
                    "application/json": {"schema": bundle(false)},
                }),
            )
            .answers(200, "As it is now.", &deployment)
            .problems(&[409]),
    );
    add(
        Method::DELETE,
        "/api/deployments/{id}",
        op("deleteDeployment", "Archive it; its history stays")
            .of(DEP)
            .answers_nothing(204, "It is archived.")
            .problems(&[409]),
    );
    add(
        Method::GET,
        "/api/deployments/{id}/versions",
        op("listVersions", "Its versions, the newest first")
            .of(DEP)
            .paged()
            .answers(200, "A page.", &page_of(&schema("Version"))),
    );
}

/// What can be done with it.
fn verbs(document: &mut Document) {
    let deployment = schema("Deployment");
    let mut add = |method: Method, path: &str, operation: Operation| {
        document.add(&method, path, operation);
    };
    let version = json!({
        "type": "object",
        "required": ["version"],
        "properties": {"version": {"type": "integer", "minimum": 1, "maximum": 4_294_967_295_u64}},
        "additionalProperties": false,
    });
    add(
        Method::POST,
        "/api/deployments/{id}/rollback",
        op(
            "rollbackDeployment",
            "Make an earlier version live, with its triggers and settings",
        )
        .of(DEP)
        .json(true, &version, &json!({"version": 1}))
        .answers(200, "As it is now.", &deployment)
        .problems(&[409]),
    );
    add(
        Method::POST,
        "/api/deployments/{id}/trigger",
        op(
            "triggerDeployment",
            "Start an execution; the body is its input",
        )
        .of(DEP)
        .query("wait", wait(), "How long to wait for its end.")
        .header(
            "Idempotency-Key",
            json!({"type": "string", "pattern": "^[!-~]{1,255}$"}),
            "The same key again gets the first execution.",
        )
        .json(
            false,
            &json!({"description": "Any JSON."}),
            &json!({"orderId": "A-1"}),
        )
        .answers(200, "It has ended, in whatever way.", &schema("Execution"))
        .leads_to(200, "/id", super::executions::NEXT)
        .answers(202, "It is durable.", &schema("Accepted"))
        .problems(&[409, 429]),
    );
    let webhook = json!({
        "type": "object",
        "required": ["path"],
        "properties": {
            "type": {"const": "webhook"},
            "name": {"type": "string"},
            "enabled": {"type": "boolean"},
            "path": {"type": "string"},
            "methods": {"type": "array", "items": {"type": "string"}},
        },
    });
    add(
        Method::POST,
        "/api/deployments/{id}/webhooks",
        op(
            "registerWebhook",
            "Add one webhook to what is live, as a further version",
        )
        .of(DEP)
        .json(true, &webhook, &json!({"path": "orders/{region}"}))
        .answers(201, "It listens.", &schema("Trigger"))
        .answers(200, "Exactly this webhook was there.", &schema("Trigger"))
        .leads_to(201, "/id", &["unregisterWebhook"])
        .problems(&[409]),
    );
    for (id, verb, summary) in [
        (
            "pauseDeployment",
            "pause",
            "Take no triggers until it is resumed; what runs goes on",
        ),
        ("resumeDeployment", "resume", "Take triggers again"),
    ] {
        add(
            Method::POST,
            &format!("/api/deployments/{{id}}/{verb}"),
            op(id, summary)
                .of(DEP)
                .answers(200, "As it is now.", &deployment)
                .problems(&[409]),
        );
    }
}

const DOCUMENT: &str = "document: {dsl: 1.0.3, namespace: examples, name: hello, version: 1.0.0}\n\
                        do:\n- greet:\n    set: {greeting: 'hello'}\n";

fn example() -> Value {
    json!({
        "workflow": {
            "document": {"dsl": "1.0.3", "namespace": "examples", "name": "hello", "version": "1.0.0"},
            "do": [{"greet": {"set": {"greeting": "hello"}}}],
        },
        "triggers": [{"type": "cron", "cron": "0 2 * * *", "timezone": "Europe/Berlin"}],
        "config": {"labels": {"team": "orders"}},
    })
}

/// What is deployed; as a patch, any part of it.
fn bundle(whole: bool) -> Value {
    let object = |description: &str| {
        let kind = if whole {
            json!("object")
        } else {
            json!(["object", "null"])
        };
        json!({"type": kind, "description": description})
    };
    let mut bundle = json!({
        "type": "object",
        "properties": {
            "workflow": {
                "type": ["object", "string"],
                "description": "A document of the Open Workflow Specification, or its YAML.",
            },
            "triggers": {
                "type": if whole { json!("array") } else { json!(["array", "null"]) },
                "items": {
                    "type": "object",
                    "required": ["type"],
                    "properties": {
                        "type": {"type": "string"},
                        "name": {"type": "string"},
                        "enabled": {"type": "boolean"},
                    },
                },
            },
            "config": object("Labels and limits."),
        },
        "additionalProperties": false,
    });
    if whole {
        bundle["required"] = json!(["workflow"]);
    }
    bundle
}
