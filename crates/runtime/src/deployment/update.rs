//! Changing parts of a deployment: a JSON merge patch over what is live.

use millrace_proto::Finding;
use millrace_store::{DeployRefused, Deployed, NewDeployment};
use millrace_types::DeploymentId;
use serde_json::{Map, Value};

use super::bundle::{self, Posted, Readable};
use super::deploy::{DeployError, log};
use super::rollback::ATTEMPTS;
use super::settings::{escape, finding};
use super::{DeploymentService, imported, merge_patch, settings};
use crate::trigger::{seal, spec};

/// What a patch may name.
const MEMBERS: [&str; 3] = ["workflow", "triggers", "config"];

/// A patch that has been read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patch {
    /// An object to merge, or a string that holds YAML.
    workflow: Option<Value>,
    /// The whole list: a merge patch replaces lists.
    triggers: Option<Value>,
    config: Option<Value>,
}

impl Patch {
    /// Reads `{workflow, triggers, config}`, each of which may be missing.
    pub(crate) fn read(json: &str) -> Result<Self, Vec<Finding>> {
        let members: Map<String, Value> = serde_json::from_str(json).map_err(|error| {
            vec![Finding {
                pointer: String::new(),
                line: u32::try_from(error.line()).unwrap_or(0),
                column: u32::try_from(error.column()).unwrap_or(0),
                message: format!("a patch is a JSON object: {error}"),
            }]
        })?;
        let mut patch = Self::default();
        let mut findings = Vec::new();
        for (key, value) in members {
            match key.as_str() {
                "workflow" if value.is_object() || value.is_string() => {
                    patch.workflow = Some(value);
                }
                "workflow" => findings.push(finding(
                    "/workflow",
                    "has to be an object, or a string that holds YAML",
                )),
                "triggers" => patch.triggers = Some(value),
                "config" => patch.config = Some(value),
                _ => findings.push(finding(
                    &format!("/{}", escape(&key)),
                    &format!("unknown member; known are {}", MEMBERS.join(", ")),
                )),
            }
        }
        if findings.is_empty() {
            Ok(patch)
        } else {
            Err(findings)
        }
    }
}

impl DeploymentService {
    /// Merges the patch into what is live, and makes the outcome live as a
    /// version: a new one, unless it was there before. The findings of the
    /// answer are warnings.
    pub(crate) async fn update(
        &self,
        id: DeploymentId,
        patch_json: &str,
    ) -> Result<(Deployed, Vec<Finding>), DeployError> {
        let patch = Patch::read(patch_json).map_err(DeployError::Faults)?;
        for _ in 0..ATTEMPTS {
            let live = self.live(id).await?;
            let bundle = self.store.bundle(live.workflow_id, live.version).await?;
            let bundle = bundle.ok_or(DeployError::NotKept(live.version))?;
            let (patched, mut warnings) = self.patched(bundle, patch.clone()).await?;
            let beside = self.beside(&Readable::from(&patched)).await?;
            warnings.extend(beside.refuse()?);
            match self.store.redeploy(&patched, live.version).await {
                // Somebody else was faster: the patch goes onto what is live now.
                Err(DeployRefused::Moved) => {}
                done => {
                    let deployed = done?;
                    log(&deployed);
                    return Ok((deployed, warnings));
                }
            }
        }
        Err(DeployError::Moved)
    }

    /// The bundle as the patch makes it, checked as a deploy would be. Parts
    /// that the patch does not name stay exactly as they are.
    async fn patched(
        &self,
        mut bundle: NewDeployment,
        patch: Patch,
    ) -> Result<(NewDeployment, Vec<Finding>), DeployError> {
        let mut findings = Vec::new();
        // Triggers that the document brought go and come with it.
        let mut own = (patch.triggers.is_some() || patch.workflow.is_some())
            .then(|| imported::own(bundle.triggers.clone(), &bundle.definition_json));
        let mut warnings = Vec::new();
        if let Some(triggers) = patch.triggers {
            // Null takes all away, as it does with any member.
            let triggers = if triggers.is_null() {
                Value::Array(Vec::new())
            } else {
                triggers
            };
            let read = spec::read_all(&triggers, "/triggers")
                .and_then(|specs| seal::all(specs, self.sealing.as_ref(), "/triggers"));
            match read {
                Ok(read) => own = Some(read),
                Err(faults) => findings.extend(faults),
            }
        }
        if let Some(change) = patch.config {
            let mut config = serde_json::from_str(&bundle.config_json).unwrap_or(Value::Null);
            merge_patch::apply(&mut config, change);
            if config.is_null() {
                config = Value::Object(Map::new());
            }
            match settings::read(&config, "/config") {
                Ok(read) => {
                    bundle.labels = read.labels;
                    bundle.settings = read.executions;
                    warnings.extend(read.warnings);
                    bundle.config_json = config.to_string();
                }
                Err(faults) => findings.extend(faults),
            }
        }
        if let Some(change) = patch.workflow {
            match self.patched_document(&bundle, change).await? {
                Ok((document, found)) => {
                    warnings.extend(found);
                    bundle.workflow_version = document.workflow_version;
                    bundle.definition_json = document.definition_json;
                    bundle.source = document.source;
                }
                Err(faults) => findings.extend(faults),
            }
        }
        if let Some(own) = own {
            match imported::triggers(&bundle.definition_json, "/workflow") {
                Ok(document) => bundle.triggers = imported::merged(own, document),
                Err(faults) => findings.extend(faults),
            }
        }
        if !findings.is_empty() {
            return Err(DeployError::Faults(findings));
        }
        bundle.digest = bundle::digest_of(
            &bundle.definition_json,
            &bundle.triggers,
            &bundle.config_json,
        );
        Ok((bundle, warnings))
    }

    async fn patched_document(
        &self,
        bundle: &NewDeployment,
        change: Value,
    ) -> Result<Result<(NewDeployment, Vec<Finding>), Vec<Finding>>, DeployError> {
        let document = match change {
            Value::String(yaml) => yaml,
            change => {
                let mut document =
                    serde_json::from_str(&bundle.definition_json).unwrap_or(Value::Null);
                merge_patch::apply(&mut document, change);
                document.to_string()
            }
        };
        let checked = self
            .engine
            .validate(&document)
            .await
            .map_err(DeployError::Engine)?;
        let posted = Posted {
            document,
            document_pointer: "/workflow".into(),
            ..Posted::default()
        };
        Ok(bundle::check(&posted, checked, None)
            .map_err(|faulty| faulty.findings)
            .and_then(|(new, warnings)| {
                if (&new.namespace, &new.name) == (&bundle.namespace, &bundle.name) {
                    return Ok((new, warnings));
                }
                let message = format!(
                    "the workflow of this deployment is {}/{}, and stays it; deploy another as one \
                 of its own",
                    bundle.namespace, bundle.name
                );
                Err(vec![finding("/workflow/document", &message)])
            }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_what_it_changes() {
        let patch = Patch::read(r#"{"config": {"labels": null}, "workflow": "do: []"}"#).unwrap();
        assert!(patch.triggers.is_none());
        assert!(patch.config.is_some() && patch.workflow.is_some());
    }

    #[test]
    fn each_fault_of_a_patch_is_named_at_its_place() {
        let faults = Patch::read(r#"{"workflow": null, "status": "PAUSED"}"#).unwrap_err();
        let places: Vec<_> = faults.iter().map(|f| f.pointer.as_str()).collect();
        assert_eq!(places, ["/workflow", "/status"]);
        assert_eq!(Patch::read("[]").unwrap_err()[0].line, 1);
    }
}
