//! What the engine can run, and whether a document is such.

use millrace_proto::engine::v1 as pb;

use crate::language::{self, Diagnostic, Severity};

/// Tasks that can be run, by their keyword, with what not every engine can do
/// of them.
const TASKS: [&str; 11] = [
    "do",
    "set",
    "switch",
    "for",
    "call:http",
    "raise",
    "try",
    "wait",
    "listen",
    "listen:foreach",
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
            identity: identity(document),
            definition_json: String::new(),
        },
    }
}

/// What a faulty document says of itself, as far as that can be read.
fn identity(document: &str) -> Option<pb::WorkflowIdentity> {
    let json = language::to_json(document)?;
    let info = json.get("document")?;
    let text = |name| info.get(name)?.as_str().map(str::to_owned);
    Some(pb::WorkflowIdentity {
        namespace: text("namespace")?,
        name: text("name")?,
        version: text("version")?,
        title: text("title").unwrap_or_default(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faulty_document_still_says_whose_it_is() {
        let head = "document: {dsl: 1.0.3, namespace: shop, name: orders, version: 1.0.0}\n";
        let faulty = validate(&format!("{head}do:\n- it: {{sett: {{}}}}\n"));
        assert!(!faulty.diagnostics.is_empty() && faulty.definition_json.is_empty());
        let identity = faulty.identity.unwrap();
        assert_eq!(
            (identity.namespace.as_str(), identity.name.as_str()),
            ("shop", "orders")
        );
        for nameless in ["do: []", "[", "document: {name: orders}", "document: 1"] {
            assert_eq!(validate(nameless).identity, None, "{nameless}");
        }
    }
}
