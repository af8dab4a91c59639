//! One-shot triggers whose time has passed: they would never fire.

use millrace_proto::Finding;
use millrace_schedule::{TriggerSchedule, TriggerTiming};
use millrace_store::{DeploymentFilter, DeploymentRecord, NewTrigger, PageRequest, StoreError};
use millrace_types::{DeploymentStatus, Timestamp, TriggerKind};

use super::DeploymentService;
use super::bundle::Readable;
use super::settings::finding;

/// What is to be said of a bundle's triggers that come too late.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// New ones.
    pub faults: Vec<Finding>,
    /// Those that were deployed before, and may have fired.
    pub warnings: Vec<Finding>,
}

impl DeploymentService {
    /// The workflow's deployment, archived or not.
    pub(super) async fn named(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<DeploymentRecord>, StoreError> {
        let one = PageRequest {
            cursor: None,
            limit: 1,
        };
        for status in [None, Some(DeploymentStatus::Archived)] {
            let filter = DeploymentFilter {
                status,
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                label: None,
            };
            let found = self.store.list_deployments(&filter, &one).await?;
            if let Some(record) = found.items.into_iter().next() {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Judges the one-shot triggers of a bundle. What was deployed before
    /// stays deployable: a version, or a trigger that is live.
    pub(super) async fn passed(
        &self,
        bundle: &Readable,
        before: Option<&DeploymentRecord>,
    ) -> Result<Passed, StoreError> {
        let late = late(&bundle.triggers, Timestamp::now());
        if late.is_empty() {
            return Ok(Passed::default());
        }
        let known = match (before, &bundle.digest) {
            (Some(record), Some(digest)) => self
                .store
                .version_by_digest(record.workflow_id, digest)
                .await?
                .is_some(),
            _ => false,
        };
        let mut passed = Passed::default();
        for (index, spec, at) in late {
            let stays =
                before.is_some_and(|record| record.triggers.iter().any(|t| t.spec_json == *spec));
            let message = format!("{at} has passed: this trigger will not fire");
            let finding = finding(&format!("/triggers/{index}/at"), &message);
            if known || stays {
                passed.warnings.push(finding);
            } else {
                passed.faults.push(finding);
            }
        }
        Ok(passed)
    }
}

/// The places of enabled one-shot triggers that come too late, with their
/// specifications and times.
fn late(triggers: &[(usize, NewTrigger)], now: Timestamp) -> Vec<(usize, &str, Timestamp)> {
    let mut late = Vec::new();
    for (index, trigger) in triggers {
        if trigger.kind != TriggerKind::Once || !trigger.enabled {
            continue;
        }
        let spec = serde_json::from_str(&trigger.spec_json).unwrap_or_default();
        if let Ok(TriggerSchedule {
            timing: TriggerTiming::Once { at },
            ..
        }) = TriggerSchedule::parse(&spec, "")
            && at <= now
        {
            late.push((*index, trigger.spec_json.as_str(), at));
        }
    }
    late
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enabled_one_shots_of_the_past_are_late() {
        let once = |at: &str, enabled| NewTrigger {
            kind: TriggerKind::Once,
            name: None,
            enabled,
            spec_json: format!(r#"{{"type":"once","at":"{at}"}}"#),
            route: None,
            secrets: None,
            event_type: None,
        };
        let triggers = [
            (2, once("2026-03-01T08:00:00Z", true)),
            (3, once("2026-03-01T08:00:00Z", false)),
            (5, once("2026-03-01T10:00:00Z", true)),
        ];
        let now = "2026-03-01T09:00:00Z".parse().unwrap();
        let found: Vec<_> = late(&triggers, now).into_iter().map(|(i, ..)| i).collect();
        assert_eq!(found, [2]);
    }
}
