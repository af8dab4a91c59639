//! What is posted to be deployed, read without touching its text, and where
//! its parts stand in the body.

use millrace_proto::Finding;
use millrace_proto::runtime::v1::DeployWorkflowRequest;

use crate::json::{JsonFault, Member, Members, locate, offset_of, position};
use crate::problem::Problem;

/// A body that can be deployed, as far as the gateway can tell.
#[derive(Debug)]
pub struct Posted<'a> {
    body: &'a str,
    form: Form<'a>,
}

#[derive(Debug)]
enum Form<'a> {
    /// The body is the document, in YAML.
    Document,
    Bundle {
        workflow: Workflow<'a>,
        triggers: &'a str,
        config: &'a str,
    },
}

#[derive(Debug)]
enum Workflow<'a> {
    /// An object in the body: its text as it stands there.
    Object(&'a str),
    /// A JSON string that holds YAML: its content.
    Text(String),
}

/// Pointer of the document within a bundle.
const WORKFLOW: &str = "/workflow";

impl<'a> Posted<'a> {
    /// A bare document; it has no triggers but those of its own schedule.
    pub fn document(bytes: &'a [u8]) -> Result<Self, Problem> {
        let body = utf8(bytes)?;
        if body.trim().is_empty() {
            return Err(Problem::findings(
                "The body is empty; it has to be a workflow.",
                vec![finding(body, "", 0, "a workflow is missing")],
            ));
        }
        Ok(Self {
            body,
            form: Form::Document,
        })
    }

    /// `{workflow, triggers, config}`.
    pub fn bundle(bytes: &'a [u8]) -> Result<Self, Problem> {
        let body = utf8(bytes)?;
        let members: Members<'a> = serde_json::from_str(body).map_err(|error| {
            Problem::findings(
                "The body has to be a JSON object with `workflow`, `triggers` and `config`.",
                vec![JsonFault::of(body, &error).into()],
            )
        })?;
        let mut findings = Vec::new();
        let (mut workflow, mut triggers, mut config) = (None, None, None);
        for member in members.0 {
            let slot = match member.key.as_ref() {
                "workflow" => &mut workflow,
                "triggers" => &mut triggers,
                "config" => &mut config,
                _ => {
                    findings.push(at_key(
                        body,
                        &member,
                        "unknown member; known are workflow, triggers, config",
                    ));
                    continue;
                }
            };
            if slot.is_some() {
                findings.push(at_key(body, &member, "given more than once"));
            }
            *slot = Some(member.value.get());
        }
        let mut wrong = |pointer: &str, text: &str, message: &str| {
            findings.push(finding(body, pointer, offset_of(body, text), message));
        };
        match triggers {
            Some(text) if !text.starts_with('[') => wrong("/triggers", text, "has to be an array"),
            _ => {}
        }
        match config {
            Some(text) if !text.starts_with('{') => wrong("/config", text, "has to be an object"),
            _ => {}
        }
        let workflow = match workflow {
            Some(text) if text.starts_with('{') => Some(Workflow::Object(text)),
            Some(text) if text.starts_with('"') => {
                let yaml = serde_json::from_str::<String>(text).ok();
                if yaml.is_none() {
                    wrong(WORKFLOW, text, "is not a valid JSON string");
                }
                yaml.map(Workflow::Text)
            }
            Some(text) => {
                wrong(
                    WORKFLOW,
                    text,
                    "has to be an object, or a string that holds YAML",
                );
                None
            }
            None => {
                findings.push(finding(body, WORKFLOW, 0, "is missing"));
                None
            }
        };
        match workflow {
            Some(workflow) if findings.is_empty() => Ok(Self {
                body,
                form: Form::Bundle {
                    workflow,
                    triggers: triggers.unwrap_or_default(),
                    config: config.unwrap_or_default(),
                },
            }),
            _ => Err(Problem::findings(
                "The deployment cannot be read.",
                findings,
            )),
        }
    }

    /// What the runtime is asked.
    pub fn request(&self) -> DeployWorkflowRequest {
        match &self.form {
            Form::Document => DeployWorkflowRequest {
                document: self.body.to_owned(),
                ..DeployWorkflowRequest::default()
            },
            Form::Bundle {
                workflow,
                triggers,
                config,
            } => DeployWorkflowRequest {
                document: match workflow {
                    Workflow::Object(text) => (*text).to_owned(),
                    Workflow::Text(yaml) => yaml.clone(),
                },
                triggers_json: (*triggers).to_owned(),
                config_json: (*config).to_owned(),
                document_pointer: WORKFLOW.to_owned(),
            },
        }
    }

    /// Makes the places of findings those of the posted body: the runtime
    /// knows the document's own lines only, and none of the other members'.
    /// Places within YAML text keep the lines of that text.
    pub fn place(&self, findings: &mut [Finding]) {
        let Form::Bundle { workflow, .. } = &self.form else {
            return;
        };
        for finding in findings {
            let within_document = finding
                .pointer
                .strip_prefix(WORKFLOW)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            match (within_document, workflow) {
                (true, Workflow::Text(_)) => {}
                (true, Workflow::Object(text)) if finding.line > 0 => {
                    let start = position(self.body, offset_of(self.body, text));
                    if finding.line == 1 && finding.column > 0 {
                        finding.column += start.column - 1;
                    }
                    finding.line += start.line - 1;
                }
                _ if !finding.pointer.is_empty() => {
                    let place = position(self.body, locate(self.body, &finding.pointer));
                    finding.line = place.line;
                    finding.column = place.column;
                }
                _ => {}
            }
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let findings = vec![finding(&good, "", good.len(), "the text is not UTF-8")];
        Problem::findings("The body is not UTF-8 text.", findings)
    })
}

fn at_key(body: &str, member: &Member<'_>, message: &str) -> Finding {
    let pointer = format!("/{}", member.key.replace('~', "~0").replace('/', "~1"));
    finding(body, &pointer, offset_of(body, member.key_text), message)
}

fn finding(body: &str, pointer: &str, offset: usize, message: &str) -> Finding {
    let place = position(body, offset);
    Finding {
        pointer: pointer.to_owned(),
        line: place.line,
        column: place.column,
        message: message.to_owned(),
    }
}
