//! Everything that is deployed together, checked whole.

use millrace_proto::Finding;
use millrace_proto::engine::v1::{Diagnostic, ValidateResponse, diagnostic::Severity};
use millrace_signature::SealingKeys;
use millrace_store::{NewDeployment, NewTrigger};
use serde_json::Value;

use super::{digest, imported, settings};
use crate::trigger::{seal, spec};

/// What a caller wants live, as it was posted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Posted {
    pub document: String,
    /// A JSON array, or empty.
    pub triggers_json: String,
    /// A JSON object, or empty.
    pub config_json: String,
    /// Where the document stands in the posted body.
    pub document_pointer: String,
}

/// What can be held against what is live, of a bundle that may be faulty.
#[derive(Debug, Clone)]
pub(crate) struct Readable {
    pub namespace: String,
    pub name: String,
    /// None for a faulty one: no version has it.
    pub digest: Option<String>,
    /// Those that can be read, with their places.
    pub triggers: Vec<(usize, NewTrigger)>,
}

impl From<&NewDeployment> for Readable {
    fn from(bundle: &NewDeployment) -> Self {
        Self {
            namespace: bundle.namespace.clone(),
            name: bundle.name.clone(),
            digest: Some(bundle.digest.clone()),
            triggers: bundle.triggers.iter().cloned().enumerate().collect(),
        }
    }
}

/// What is wrong with a bundle.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub findings: Vec<Finding>,
    /// What more may be found by looking at what is live; none when it is not
    /// known which workflow it is.
    pub readable: Option<Readable>,
}

/// Puts a bundle together, or says all that is wrong with it.
pub(crate) fn check(
    posted: &Posted,
    checked: ValidateResponse,
    sealing: Option<&SealingKeys>,
) -> Result<(NewDeployment, Vec<Finding>), Faulty> {
    let mut findings = Vec::new();
    let mut warnings = Vec::new();
    for diagnostic in checked.diagnostics {
        let is_warning = diagnostic.severity == Severity::Warning as i32;
        let finding = place(diagnostic, &posted.document_pointer);
        if is_warning {
            warnings.push(finding);
        } else {
            findings.push(finding);
        }
    }

    let mut readable = Vec::new();
    let triggers =
        read_json(&posted.triggers_json, "[]", "/triggers", &mut findings).and_then(|value| {
            let (specs, faults) = spec::read_each(&value, "/triggers");
            let open = |(at, spec): &(usize, spec::TriggerSpec)| (*at, seal::open(spec.clone()));
            readable = specs.iter().map(open).collect();
            if !faults.is_empty() {
                findings.extend(faults);
                return None;
            }
            let specs = specs.into_iter().map(|(_, spec)| spec).collect();
            seal::all(specs, sealing, "/triggers")
                .map_err(|f| findings.extend(f))
                .ok()
        });
    let imported = imported::triggers(&checked.definition_json, &posted.document_pointer);
    let triggers = match imported {
        Ok(imported) => triggers.map(|own| imported::merged(own, imported)),
        Err(faults) => {
            findings.extend(faults);
            None
        }
    };
    let config = read_json(&posted.config_json, "{}", "/config", &mut findings);
    let settings = config.as_ref().and_then(|value| {
        settings::read(value, "/config")
            .map_err(|f| findings.extend(f))
            .ok()
    });

    if checked.identity.is_none() && findings.is_empty() {
        findings.push(settings::finding(
            &posted.document_pointer,
            "the engine could not read the document",
        ));
    }
    match (checked.identity, triggers, config, settings) {
        (Some(identity), Some(triggers), Some(config), Some(settings)) if findings.is_empty() => {
            warnings.extend(settings.warnings);
            let config_json = config.to_string();
            let bundle = NewDeployment {
                namespace: identity.namespace,
                name: identity.name,
                workflow_version: identity.version,
                digest: digest_of(&checked.definition_json, &triggers, &config_json),
                definition_json: checked.definition_json,
                source: posted.document.clone(),
                config_json,
                labels: settings.labels,
                settings: settings.executions,
                triggers,
            };
            Ok((bundle, warnings))
        }
        (identity, ..) => Err(Faulty {
            findings,
            readable: identity.map(|identity| Readable {
                namespace: identity.namespace,
                name: identity.name,
                digest: None,
                triggers: readable,
            }),
        }),
    }
}

/// What tells one version of a workflow from another.
pub(crate) fn digest_of(definition: &str, triggers: &[NewTrigger], config: &str) -> String {
    let specs: Vec<String> = triggers.iter().map(digested).collect();
    digest::parts(&[definition, &specs.join("\n"), config])
}

/// A trigger in the digest: secrets count by their fingerprint.
fn digested(trigger: &NewTrigger) -> String {
    let mut text = format!(
        "{}\n{:?}\n{}",
        trigger.spec_json, trigger.name, trigger.enabled
    );
    if let Some(secrets) = &trigger.secrets {
        text.push('\n');
        text.push_str(&secrets.fingerprint);
    }
    text
}

fn place(diagnostic: Diagnostic, prefix: &str) -> Finding {
    Finding {
        pointer: format!("{prefix}{}", diagnostic.pointer),
        line: diagnostic.line,
        column: diagnostic.column,
        message: diagnostic.message,
    }
}

fn read_json(text: &str, empty: &str, at: &str, findings: &mut Vec<Finding>) -> Option<Value> {
    let text = if text.trim().is_empty() { empty } else { text };
    serde_json::from_str(text)
        .map_err(|error| {
            findings.push(Finding {
                pointer: at.to_owned(),
                line: u32::try_from(error.line()).unwrap_or(0),
                column: u32::try_from(error.column()).unwrap_or(0),
                message: format!("not JSON: {error}"),
            });
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_proto::engine::v1::WorkflowIdentity;
    use millrace_signature::SealingKey;

    fn valid() -> ValidateResponse {
        ValidateResponse {
            diagnostics: vec![],
            identity: Some(WorkflowIdentity {
                namespace: "shop".into(),
                name: "orders".into(),
                version: "1.0.0".into(),
                title: String::new(),
            }),
            definition_json: r#"{"do":[]}"#.into(),
        }
    }

    fn posted(triggers: &str, config: &str) -> Posted {
        Posted {
            document: "do: []".into(),
            triggers_json: triggers.into(),
            config_json: config.into(),
            document_pointer: "/workflow".into(),
        }
    }

    #[test]
    fn the_same_content_has_the_same_digest() {
        let digest = |triggers, config| {
            check(&posted(triggers, config), valid(), None)
                .unwrap()
                .0
                .digest
        };
        let webhook = r#"[{"type":"webhook","path":"orders"}]"#;
        assert_eq!(digest("", ""), digest("[]", "{}"));
        assert_eq!(
            digest(webhook, ""),
            digest(r#" [{"path": "/orders", "type": "webhook"}]"#, "")
        );
        assert_ne!(digest(webhook, ""), digest("", ""));
        assert_ne!(digest("", r#"{"labels":{"a":"b"}}"#), digest("", ""));
    }

    fn guarded(secret: &str, keys: Option<&SealingKeys>) -> Result<NewDeployment, Vec<Finding>> {
        let triggers = format!(
            r#"[{{"type":"webhook","path":"o","auth":{{"scheme":"github","secret":"{secret}"}}}}]"#
        );
        check(&posted(&triggers, ""), valid(), keys)
            .map(|(bundle, _)| bundle)
            .map_err(|faulty| faulty.findings)
    }

    #[test]
    fn a_secret_counts_in_the_digest_and_stands_nowhere() {
        let keys = SealingKeys::new(SealingKey::generate().unwrap(), None);
        let first = guarded("hunter2", Some(&keys)).unwrap();
        let again = guarded("hunter2", Some(&keys)).unwrap();
        let other = guarded("hunter3", Some(&keys)).unwrap();
        assert_eq!(first.digest, again.digest);
        assert_ne!(first.digest, other.digest);
        assert!(!format!("{first:?}").contains("hunter2"));
        let trigger = &first.triggers[0];
        let sealed = &trigger.secrets.as_ref().unwrap().sealed;
        let opened = keys.open_secrets(sealed, &trigger.spec_json).unwrap();
        assert_eq!(opened[0].expose(), "hunter2");
        assert!(keys.open_secrets(sealed, "{}").is_err());
    }

    #[test]
    fn without_a_key_a_secret_is_refused_and_the_key_named() {
        let findings = guarded("hunter2", None).unwrap_err();
        assert_eq!(findings[0].pointer, "/triggers/0/auth");
        assert!(findings[0].message.contains("webhooks.sealing_key"));
        assert!(!findings[0].message.contains("hunter2"));
    }

    #[test]
    fn findings_of_all_parts_come_together() {
        let mut checked = valid();
        checked.diagnostics.push(Diagnostic {
            severity: Severity::Error as i32,
            pointer: "/do/0".into(),
            line: 4,
            column: 2,
            message: "unknown key".into(),
        });
        let triggers = r#"[{"type":"nosuch"},{"type":"webhook","path":"o"}]"#;
        let faulty = check(&posted(triggers, "{,}"), checked, None).unwrap_err();
        // What can be read is still held against what is live.
        let readable = faulty.readable.unwrap();
        assert_eq!((readable.name.as_str(), readable.digest), ("orders", None));
        assert_eq!(readable.triggers.len(), 1);
        assert_eq!(readable.triggers[0].0, 1);
        let places: Vec<_> = faulty
            .findings
            .iter()
            .map(|f| (f.pointer.as_str(), f.line))
            .collect();
        assert_eq!(
            places,
            [
                ("/workflow/do/0", 4),
                ("/triggers/0/type", 0),
                ("/config", 1)
            ]
        );
    }

    #[test]
    fn warnings_do_not_prevent() {
        let mut checked = valid();
        checked.diagnostics.push(Diagnostic {
            severity: Severity::Warning as i32,
            pointer: "/do/0".into(),
            line: 4,
            column: 2,
            message: "odd".into(),
        });
        let (_, warnings) = check(&posted("", ""), checked, None).unwrap();
        assert_eq!(warnings[0].pointer, "/workflow/do/0");
    }
}
