//! `/api/projects…`

use http::Method;
use millrace_types::ProjectId;
use serde_json::{Value, json};

use super::document::{Document, Operation, page_of, schema};
use super::schemas::{id, nullable, object, time, wait};

const TAG: &str = "projects";
const PRJ: &str = ProjectId::PREFIX;

pub fn describe(document: &mut Document) {
    let op = |id, summary: &str| Operation::new(id, TAG, summary);
    let mut add = |method: Method, path: &str, operation: Operation| {
        document.add(&method, path, operation);
    };
    let project = schema("Project");
    add(
        Method::POST,
        "/api/projects",
        op("createProject", "Make a folder of services known")
            .json(
                true,
                &new(),
                &json!({"name": "Todo app", "key": "TODO", "localPath": "/srv/todo-app"}),
            )
            .answers(201, "It is known.", &project)
            .problems(&[403, 409, 501]),
    );
    add(
        Method::GET,
        "/api/projects",
        op("listProjects", "The projects, the newest first")
            .paged()
            .answers(200, "A page.", &page_of(&project))
            .problems(&[501]),
    );
    add(
        Method::GET,
        "/api/projects/{id}",
        op("getProject", "One project")
            .of(PRJ)
            .answers(200, "The project.", &project)
            .problems(&[501]),
    );
    let patch = json!({"type": "object"});
    add(
        Method::PATCH,
        "/api/projects/{id}",
        op(
            "updateProject",
            "Change a project: a JSON merge patch over name and localPath, or name and git, which \
             is fetched again",
        )
        .of(PRJ)
        .json(true, &patch, &json!({"name": "Todo"}))
        .answers(200, "The project.", &project)
        .problems(&[403, 409, 501]),
    );
    add(
        Method::DELETE,
        "/api/projects/{id}",
        op("deleteProject", "Forget a project that has no workloads")
            .of(PRJ)
            .answers_nothing(204, "It is forgotten.")
            .problems(&[409, 501]),
    );
    add(
        Method::GET,
        "/api/projects/{id}/services",
        op("listServices", "The services in its folder")
            .of(PRJ)
            .answers(200, "All of them.", &page_of(&schema("Service")))
            .problems(&[403, 409, 501]),
    );
    for (id, verb, summary) in [
        (
            "startProject",
            "start",
            "Start all its services, those that others depend on first",
        ),
        (
            "stopProject",
            "stop",
            "Stop all its services, those that others depend on last",
        ),
    ] {
        let workloads = page_of(&schema("WorkloadStatus"));
        add(
            Method::POST,
            &format!("/api/projects/{{id}}/{verb}"),
            op(id, summary)
                .of(PRJ)
                .query("wait", wait(), "How long to wait for the end.")
                .answers(200, "Each has come to its end.", &workloads)
                .answers(202, "It is under way.", &workloads)
                .problems(&[403, 409, 429, 501]),
        );
    }
}

fn new() -> Value {
    json!({
        "type": "object",
        "required": ["name", "key"],
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string"},
            "key": {"type": "string", "description": "Upper-case letters, digits and underscores, beginning with a letter."},
            "localPath": {"type": "string", "description": "Absolute."},
            "git": {
                "type": "object",
                "required": ["url"],
                "additionalProperties": false,
                "description": "Instead of localPath: what is fetched, and checked out in a folder of the orchestrator.",
                "properties": {
                    "url": {"type": "string", "description": "https, http, ssh, git or file, without credentials."},
                    "ref": {"type": ["string", "null"], "description": "A branch, a tag or a commit; the default branch without it."},
                },
            },
        },
    })
}

pub fn project() -> Value {
    object(
        &["id", "name", "key", "localPath", "git", "createdAt"],
        json!({
            "id": id(PRJ),
            "name": {"type": "string"},
            "key": {"type": "string"},
            "localPath": {"type": "string"},
            "git": {"type": ["object", "null"], "description": "{url, ref, commit}"},
            "createdAt": nullable(time()),
        }),
    )
}

pub fn service() -> Value {
    object(
        &["name", "type", "spec", "problems", "workloadId"],
        json!({
            "name": {"type": "string"},
            "type": {"type": ["string", "null"], "description": "dataobject, process or container."},
            "spec": {"description": "service.json as it lies there; null when it is not JSON."},
            "problems": {"type": "array", "items": schema("Finding")},
            "workloadId": {"type": ["string", "null"]},
        }),
    )
}
