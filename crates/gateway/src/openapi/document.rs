//! Puts the document together: operations, in few words each.

use http::{Method, StatusCode};
use millrace_service::access::table::{self, Needs};
use serde_json::{Map, Value, json};

/// Any operation may end so: the request is not valid, or the service cannot
/// answer it.
const ALWAYS: [u16; 4] = [400, 500, 503, 504];

/// What may become of a request with a body, before it is looked at.
const OF_BODIES: [u16; 3] = [408, 413, 415];

/// The name of the way in which callers prove who they are.
const KEY: &str = "apiKey";

pub struct Document {
    paths: Map<String, Value>,
    schemas: Value,
}

impl Document {
    /// Without operations yet.
    pub fn new(schemas: Value) -> Self {
        Self {
            paths: Map::new(),
            schemas,
        }
    }

    pub fn add(&mut self, method: &Method, path: &str, operation: Operation) {
        let item = self
            .paths
            .entry(path)
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .expect("a path item is an object");
        let name = method.as_str().to_ascii_lowercase();
        let needs = table::of_route(method.as_str(), path);
        let before = item.insert(name, operation.guarded(needs).finish());
        assert!(before.is_none(), "{method} {path} is described twice");
    }

    pub fn finish(self) -> Value {
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Millrace",
                "version": env!("CARGO_PKG_VERSION"),
                "summary": "Deploys workflows and runs services.",
                "description": "Errors are problem details (RFC 9457). Times are RFC 3339 in UTC; durations ISO 8601. Lists are pages: pass `next` as `cursor` until it is null; a page may have fewer items than `limit`, even none. Query parameters that are not listed are refused.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "paths": self.paths,
            "components": {
                "schemas": self.schemas,
                "securitySchemes": {
                    KEY: {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An API key, where `auth.mode` is `keys`.",
                    },
                },
            },
        })
    }
}

/// A reference to one of the schemas.
pub fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// One page of a list.
pub fn page_of(items: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": items},
            "next": {
                "type": ["string", "null"],
                "description": "The cursor of the next page; null on the last.",
            },
        },
    })
}

/// One method of one path.
pub struct Operation {
    id: &'static str,
    tag: &'static str,
    summary: String,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Map<String, Value>,
    problems: Vec<u16>,
    /// Who may call it.
    needs: Option<Needs>,
}

impl Operation {
    /// `id` is its name in generated clients.
    pub fn new(id: &'static str, tag: &'static str, summary: impl Into<String>) -> Self {
        Self {
            id,
            tag,
            summary: summary.into(),
            parameters: Vec::new(),
            body: None,
            answers: Map::new(),
            problems: ALWAYS.to_vec(),
            needs: None,
        }
    }

    fn guarded(mut self, needs: Option<Needs>) -> Self {
        self.problems.extend_from_slice(match needs {
            Some(Needs::Open) => &[],
            // Whoever presents no key is told less, not refused.
            Some(Needs::Brief(_)) => &[401, 429],
            _ => &[401, 403, 429],
        });
        self.needs = needs;
        self
    }

    /// The identifier in the path, which starts with `prefix`. One that names
    /// nothing is answered 404.
    #[must_use]
    pub fn of(mut self, prefix: &str) -> Self {
        self.parameters.push(json!({
            "name": "id",
            "in": "path",
            "required": true,
            "schema": super::schemas::id(prefix),
        }));
        self.problems(&[404])
    }

    #[must_use]
    pub fn query(mut self, name: &str, schema: Value, description: &str) -> Self {
        let mut parameter = json!({"name": name, "in": "query", "description": description});
        parameter["schema"] = schema;
        self.parameters.push(parameter);
        self
    }

    #[must_use]
    pub fn header(mut self, name: &str, schema: Value, description: &str) -> Self {
        let mut parameter = json!({"name": name, "in": "header", "description": description});
        parameter["schema"] = schema;
        self.parameters.push(parameter);
        self
    }

    /// `cursor` and `limit`.
    #[must_use]
    pub fn paged(self) -> Self {
        self.query(
            "cursor",
            json!({"type": "string"}),
            "`next` of the page before.",
        )
        .query("limit", super::schemas::amount(), "How many at most.")
    }

    /// A body of any of these media types.
    #[must_use]
    pub fn body(mut self, required: bool, content: Value) -> Self {
        let mut body = json!({"required": required});
        body["content"] = content;
        self.body = Some(body);
        self.problems(&OF_BODIES)
    }

    /// A body in JSON.
    #[must_use]
    pub fn json(self, required: bool, schema: &Value, example: &Value) -> Self {
        let content = json!({"application/json": {"schema": schema, "example": example}});
        self.body(required, content)
    }

    /// An answer in JSON.
    #[must_use]
    pub fn answers(self, status: u16, description: &str, schema: &Value) -> Self {
        let content = json!({"application/json": {"schema": schema}});
        self.answer(
            status,
            json!({"description": description, "content": content}),
        )
    }

    /// An answer without a body.
    #[must_use]
    pub fn answers_nothing(self, status: u16, description: &str) -> Self {
        self.answer(status, json!({"description": description}))
    }

    fn answer(mut self, status: u16, answer: Value) -> Self {
        self.answers.insert(status.to_string(), answer);
        self
    }

    /// What can be asked after the answer with `status`: the operations take
    /// as their path's id what its body has at `pointer`.
    #[must_use]
    pub fn leads_to(mut self, status: u16, pointer: &str, operations: &[&str]) -> Self {
        let links: Map<String, Value> = operations
            .iter()
            .map(|operation| {
                let id = format!("$response.body#{pointer}");
                let link = json!({"operationId": operation, "parameters": {"id": id}});
                ((*operation).to_owned(), link)
            })
            .collect();
        self.answers[&status.to_string()]["links"] = Value::Object(links);
        self
    }

    /// Further statuses that come as problem details.
    #[must_use]
    pub fn problems(mut self, statuses: &[u16]) -> Self {
        self.problems.extend(statuses);
        self
    }

    /// Only these come as problem details: it asks nobody else.
    #[must_use]
    pub fn only_problems(mut self, statuses: &[u16]) -> Self {
        self.problems = statuses.to_vec();
        self
    }

    fn finish(self) -> Value {
        let mut answers = self.answers;
        for status in self.problems {
            answers
                .entry(status.to_string())
                .or_insert_with(|| problem(status));
        }
        answers.sort_keys();
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "responses": answers,
        });
        match self.needs {
            Some(Needs::Key(role) | Needs::KeyUnless(_, role)) => {
                operation["security"] = json!([{KEY: []}]);
                operation["x-millrace-role"] = role.as_str().into();
            }
            Some(Needs::Brief(_)) => operation["security"] = json!([{}, {KEY: []}]),
            _ => {}
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.into();
        }
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

fn problem(status: u16) -> Value {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("A problem");
    let mut answer = json!({
        "description": reason,
        "content": {"application/problem+json": {"schema": schema("Problem")}},
    });
    if matches!(status, 429 | 503) {
        answer["headers"] = json!({
            "Retry-After": {
                "description": "When to come again, in seconds.",
                "schema": {"type": "integer", "minimum": 0},
            },
        });
    }
    answer
}
