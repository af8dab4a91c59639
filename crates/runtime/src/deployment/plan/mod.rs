//! What a deploy would do, without doing it.

mod diff;
mod fires;

use std::collections::HashMap;

use millrace_proto::Finding;
use millrace_schedule::TriggerSchedule;
use millrace_store::{DeploymentRecord, NewDeployment, NewTrigger, StoreError};
use millrace_types::{DeploymentStatus, Timestamp, TriggerId, TriggerKind};
use serde::Serialize;
use serde_json::Value;

use super::DeploymentService;
use super::bundle::{self, Posted, Readable};
use super::deploy::DeployError;
use super::imported::is_scheduled;
use super::settings::escape;
use diff::{Change, Changes, Op};
use fires::{PlannedFire, Side};

/// What would come of a deploy.
#[derive(Debug, Default)]
pub(crate) struct DeploymentPlan {
    /// What would prevent it.
    pub diagnostics: Vec<Finding>,
    pub warnings: Vec<Finding>,
    /// The plan as JSON text; empty when there are diagnostics.
    pub changes_json: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// There is no such workflow yet.
    Create,
    /// Exactly this is live.
    None,
    /// A new version.
    Update,
    /// A version that was there before.
    Restore,
    /// An archived deployment takes triggers again.
    Revive,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    action: Action,
    deployment_id: Option<String>,
    workflow_id: Option<String>,
    /// DEPLOYED or PAUSED, as it will be.
    status: &'static str,
    /// `null` before the first deploy.
    live_version: Option<u32>,
    /// `null` when it will be a new one that others may take first.
    version: Option<u32>,
    triggers: Vec<PlannedTrigger>,
    changes: Vec<Change>,
    /// Whether there are more changes than are named.
    truncated: bool,
    fires: Vec<PlannedFire>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlannedTrigger {
    /// What `changes` and `fires` call it: its name, or its type and place
    /// among those without a name.
    trigger: String,
    r#type: String,
    /// `null` for one that is new.
    id: Option<String>,
    change: &'static str,
}

/// A trigger of one side of the comparison.
struct Sided {
    id: Option<TriggerId>,
    kind: TriggerKind,
    enabled: bool,
    value: Value,
}

impl DeploymentService {
    /// Checks a bundle, and says what deploying it would change.
    pub(crate) async fn plan(&self, posted: Posted) -> Result<DeploymentPlan, DeployError> {
        let checked = self
            .engine
            .validate(&posted.document)
            .await
            .map_err(DeployError::Engine)?;
        let (bundle, mut warnings) = match bundle::check(&posted, checked, self.sealing.as_ref()) {
            Ok(checked) => checked,
            Err(faulty) => {
                return Ok(DeploymentPlan {
                    diagnostics: self.all_faults(faulty).await?,
                    ..DeploymentPlan::default()
                });
            }
        };
        let beside = self.beside(&Readable::from(&bundle)).await?;
        warnings.extend(beside.warnings);
        let mut diagnostics = beside.faults;
        diagnostics.extend(beside.taken);
        if !diagnostics.is_empty() {
            return Ok(DeploymentPlan {
                diagnostics,
                warnings,
                changes_json: String::new(),
            });
        }
        let outline = self.outline(&bundle, beside.before.as_ref()).await?;
        let changes_json = serde_json::to_string(&outline)
            .map_err(|error| StoreError::Rejected(error.to_string()))?;
        Ok(DeploymentPlan {
            diagnostics,
            warnings,
            changes_json,
        })
    }

    async fn outline(
        &self,
        bundle: &NewDeployment,
        before: Option<&DeploymentRecord>,
    ) -> Result<Outline, StoreError> {
        let (definition, secrets, known) = match before {
            Some(record) => self.stored(bundle, record).await?,
            None => (None, HashMap::new(), None),
        };
        let action = match before {
            None => Action::Create,
            Some(record) if record.status == DeploymentStatus::Archived => Action::Revive,
            Some(record) if known == Some(record.version) => Action::None,
            Some(_) if known.is_some() => Action::Restore,
            Some(_) => Action::Update,
        };
        let after_triggers = sided_new(&bundle.triggers);
        let before_triggers = before.map(sided_live).unwrap_or_default();

        let mut changes = Changes::default();
        changes.compare(
            "/workflow",
            definition.as_ref(),
            Some(&json(&bundle.definition_json)),
        );
        for (slot, old) in &before_triggers {
            let new = find(&after_triggers, slot).map(|new| &new.value);
            changes.compare(&pointer(slot), Some(&old.value), new);
        }
        for (slot, new) in &after_triggers {
            if find(&before_triggers, slot).is_none() {
                changes.compare(&pointer(slot), None, Some(&new.value));
            }
        }
        for (slot, trigger) in slots(&bundle.triggers).iter().zip(&bundle.triggers) {
            let now = trigger.secrets.as_ref().map(|s| &s.fingerprint);
            if let Some(was) = secrets.get(slot)
                && was.as_ref() != now
            {
                // Secrets are never shown.
                changes.push(Op::Replace, &format!("{}/auth", pointer(slot)), None, None);
            }
        }
        let config = before.map(|record| json(&record.config_json));
        changes.compare("/config", config.as_ref(), Some(&json(&bundle.config_json)));

        let triggers = planned_triggers(&before_triggers, &after_triggers);
        let fires = self
            .planned_fires(before, &before_triggers, &after_triggers)
            .await?;
        let paused = before.is_some_and(|record| record.status == DeploymentStatus::Paused);
        Ok(Outline {
            action,
            deployment_id: before.map(|record| record.id.to_string()),
            workflow_id: before.map(|record| record.workflow_id.to_string()),
            status: if paused {
                DeploymentStatus::Paused.as_str()
            } else {
                DeploymentStatus::Deployed.as_str()
            },
            live_version: before.map(|record| record.version),
            version: known,
            triggers,
            changes: changes.found,
            truncated: changes.truncated,
            fires,
        })
    }

    /// The live definition, the fingerprints of its triggers' secrets by slot,
    /// and the version that the bundle has already.
    async fn stored(
        &self,
        bundle: &NewDeployment,
        record: &DeploymentRecord,
    ) -> Result<Stored, StoreError> {
        let id = record.workflow_id;
        let known = self.store.version_by_digest(id, &bundle.digest).await?;
        let version = self.store.version(id, record.version).await?;
        let definition = version.map(|version| json(&version.definition_json));
        let kept = self.store.bundle(id, record.version).await?;
        let secrets = kept
            .map(|kept| {
                let fingerprints = kept.triggers.iter().map(|trigger| {
                    let secrets = trigger.secrets.as_ref();
                    secrets.map(|secrets| secrets.fingerprint.clone())
                });
                slots(&kept.triggers)
                    .into_iter()
                    .zip(fingerprints)
                    .collect()
            })
            .unwrap_or_default();
        Ok((definition, secrets, known))
    }

    async fn planned_fires(
        &self,
        before: Option<&DeploymentRecord>,
        before_triggers: &[(String, Sided)],
        after_triggers: &[(String, Sided)],
    ) -> Result<Vec<PlannedFire>, StoreError> {
        let now = Timestamp::now();
        let workflow = before.map(|record| record.workflow_id.to_string());
        let archived = before.is_some_and(|record| record.status == DeploymentStatus::Archived);
        let mut sides: Vec<(&str, Option<Side>, Option<Side>)> = Vec::new();
        for (slot, old) in before_triggers {
            let anchor = match old.id.filter(|_| is_scheduled(old.kind)) {
                Some(id) => self.store.schedule(id).await?.map(|s| s.anchor_at),
                None => None,
            };
            let old_side = side(old, anchor.unwrap_or(now)).filter(|_| !archived);
            let new = find(after_triggers, slot);
            let new_side = new.and_then(|new| {
                let stays = new.value == old.value && !archived;
                side(new, anchor.filter(|_| stays).unwrap_or(now))
            });
            sides.push((slot, old_side, new_side));
        }
        for (slot, new) in after_triggers {
            if find(before_triggers, slot).is_none() {
                sides.push((slot, None, side(new, now)));
            }
        }
        Ok(sides
            .iter()
            .flat_map(|(slot, old, new)| {
                fires::compare(slot, old.as_ref(), new.as_ref(), workflow.as_deref(), now)
            })
            .collect())
    }
}

type Stored = (Option<Value>, HashMap<String, Option<String>>, Option<u32>);

fn planned_triggers(before: &[(String, Sided)], after: &[(String, Sided)]) -> Vec<PlannedTrigger> {
    let planned = |slot: &str, sided: &Sided, id: Option<TriggerId>, change| PlannedTrigger {
        trigger: slot.to_owned(),
        r#type: sided.kind.to_string(),
        id: id.map(|id| id.to_string()),
        change,
    };
    let mut triggers: Vec<_> = after
        .iter()
        .map(|(slot, new)| match find(before, slot) {
            None => planned(slot, new, None, "added"),
            Some(old) if old.value == new.value => planned(slot, new, old.id, "kept"),
            Some(old) => planned(slot, new, old.id, "changed"),
        })
        .collect();
    let removed = before
        .iter()
        .filter(|(slot, _)| find(after, slot).is_none());
    triggers.extend(removed.map(|(slot, old)| planned(slot, old, old.id, "removed")));
    triggers
}

fn side(sided: &Sided, anchor: Timestamp) -> Option<Side> {
    if !sided.enabled || !is_scheduled(sided.kind) {
        return None;
    }
    let mut spec = sided.value.clone();
    if let Value::Object(members) = &mut spec {
        members.remove("enabled");
    }
    let trigger = TriggerSchedule::parse(&spec, "").ok()?;
    Some(Side { trigger, anchor })
}

fn find<'a>(sided: &'a [(String, Sided)], slot: &str) -> Option<&'a Sided> {
    let found = sided.iter().find(|(other, _)| other == slot);
    found.map(|(_, sided)| sided)
}

fn pointer(slot: &str) -> String {
    format!("/triggers/{}", escape(slot))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

fn sided_new(triggers: &[NewTrigger]) -> Vec<(String, Sided)> {
    let sided = triggers.iter().map(|trigger| Sided {
        id: None,
        kind: trigger.kind,
        enabled: trigger.enabled,
        value: value(&trigger.spec_json, trigger.enabled),
    });
    slots(triggers).into_iter().zip(sided).collect()
}

fn sided_live(record: &DeploymentRecord) -> Vec<(String, Sided)> {
    let named = record.triggers.iter().map(|t| (t.kind, t.name.as_deref()));
    let sided = record.triggers.iter().map(|trigger| Sided {
        id: Some(trigger.id),
        kind: trigger.kind,
        enabled: trigger.enabled,
        value: value(&trigger.spec_json, trigger.enabled),
    });
    slots_of(named).into_iter().zip(sided).collect()
}

/// A trigger as it is compared: what it says, and whether it is enabled.
fn value(spec: &str, enabled: bool) -> Value {
    let mut value = json(spec);
    if let Value::Object(members) = &mut value {
        members.insert("enabled".into(), enabled.into());
    }
    value
}

fn slots(triggers: &[NewTrigger]) -> Vec<String> {
    slots_of(triggers.iter().map(|t| (t.kind, t.name.as_deref())))
}

/// What tells each trigger of a deployment from the others, as the store
/// does: its name, or its type and place among those without one.
fn slots_of<'a>(triggers: impl Iterator<Item = (TriggerKind, Option<&'a str>)>) -> Vec<String> {
    let mut nameless: HashMap<&str, usize> = HashMap::new();
    triggers
        .map(|(kind, name)| match name {
            Some(name) => name.to_owned(),
            None => {
                let place = nameless.entry(kind.as_str()).or_default();
                *place += 1;
                format!("{kind}:{place}")
            }
        })
        .collect()
}
