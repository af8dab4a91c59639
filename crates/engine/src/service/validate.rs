//! What the engine can run, and whether a document is such.

use millrace_proto::engine::v1 as pb;

use crate::language::{self, Diagnostic, Severity};

/// Tasks that can be run, by their keyword.
const TASKS: [&str; 10] = [
    "do",
    "set",
    "switch",
    "for",
    "call:http",
    "raise",
    "try",
    "wait",
    "listen",
    "emit",
];

pub(super) fn validate(document: &str) -> pb::ValidateResponse {
    match language::parse(document) {
        Ok(parsed) => {
            let info = &parsed.workflow.info;
            pb::ValidateResponse {
                diagnostics: parsed.warnings.iter().map(diagnostic).collect(),
                identity: Some(pb::WorkflowIdentity {
                    namespace: info.namespace.clone(),
                    name: info.name.clone(),
                    version: info.version.clone(),
                    title: info.title.clone().unwrap_or_default(),
                }),
                definition_json: parsed.definition_json,
            }
        }
        Err(findings) => pb::ValidateResponse {
            diagnostics: findings.iter().map(diagnostic).collect(),
            identity: None,
            definition_json: String::new(),
        },
    }
}

fn diagnostic(finding: &Diagnostic) -> pb::Diagnostic {
    let severity = match finding.severity {
        Severity::Error => pb::diagnostic::Severity::Error,
        Severity::Warning => pb::diagnostic::Severity::Warning,
    };
    pb::Diagnostic {
        severity: severity.into(),
        pointer: finding.pointer.clone(),
        line: finding.line,
        column: finding.column,
        message: finding.message.clone(),
    }
}

pub(super) fn capabilities() -> pb::GetCapabilitiesResponse {
    pb::GetCapabilitiesResponse {
        engine: "millrace".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        dsl_versions: ["1.0.0", "1.0.1", "1.0.2", "1.0.3"]
            .map(str::to_owned)
            .to_vec(),
        tasks: TASKS.map(str::to_owned).to_vec(),
    }
}
