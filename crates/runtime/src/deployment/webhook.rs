//! Adding one webhook to what is live, and taking one away: each makes a
//! version, as an update does.

use millrace_proto::Finding;
use millrace_store::{DeployRefused, Deployed, NewTrigger, TriggerRecord};
use millrace_types::{DeploymentId, TriggerId, TriggerKind};
use serde_json::Value;

use super::DeploymentService;
use super::bundle;
use super::deploy::{DeployError, log};
use super::rollback::ATTEMPTS;
use super::settings::finding;
use crate::trigger::{seal, spec};

impl DeploymentService {
    /// Adds a webhook; its trigger, and whether it was not there before.
    /// Adding what is there changes nothing, so that it can be repeated.
    pub(crate) async fn register(
        &self,
        id: DeploymentId,
        spec_json: &str,
    ) -> Result<(TriggerRecord, bool), DeployError> {
        let new = self.read_webhook(spec_json).map_err(DeployError::Faults)?;
        for _ in 0..ATTEMPTS {
            let live = self.live(id).await?;
            let bundle = self.store.bundle(live.workflow_id, live.version).await?;
            let mut bundle = bundle.ok_or(DeployError::NotKept(live.version))?;
            if let Some(at) = bundle.triggers.iter().position(|old| same(old, &new))
                && let Some(trigger) = live.triggers.get(at)
            {
                return Ok((trigger.clone(), false));
            }
            check_room(&bundle.triggers, &new, id)?;
            bundle.triggers.push(new.clone());
            match self.redeploy(bundle, live.version).await {
                Err(DeployRefused::Moved) => {}
                Err(DeployRefused::PathTaken { path, .. }) => return Err(taken(&path)),
                done => {
                    let mut deployed = done?;
                    log(&deployed);
                    let trigger = deployed.deployment.triggers.pop();
                    return trigger.map(|t| (t, true)).ok_or(DeployError::Moved);
                }
            }
        }
        Err(DeployError::Moved)
    }

    /// Takes a webhook away.
    pub(crate) async fn unregister(&self, id: TriggerId) -> Result<(), DeployError> {
        for _ in 0..ATTEMPTS {
            let found = self.store.trigger(id).await?;
            let (deployment, trigger) = found.ok_or(DeployError::NoTrigger(id))?;
            if trigger.kind != TriggerKind::Webhook {
                return Err(DeployError::NoWebhook(id, trigger.kind));
            }
            let live = self.live(deployment).await?;
            let bundle = self.store.bundle(live.workflow_id, live.version).await?;
            let mut bundle = bundle.ok_or(DeployError::NotKept(live.version))?;
            let at = live.triggers.iter().position(|t| t.id == id);
            let Some(at) = at.filter(|at| *at < bundle.triggers.len()) else {
                // It has gone, or moved, since it was looked for.
                continue;
            };
            bundle.triggers.remove(at);
            match self.redeploy(bundle, live.version).await {
                Err(DeployRefused::Moved) => {}
                done => {
                    log(&done?);
                    return Ok(());
                }
            }
        }
        Err(DeployError::Moved)
    }

    async fn redeploy(
        &self,
        mut bundle: millrace_store::NewDeployment,
        live: u32,
    ) -> Result<Deployed, DeployRefused> {
        bundle.digest = bundle::digest_of(
            &bundle.definition_json,
            &bundle.triggers,
            &bundle.config_json,
        );
        self.store.redeploy(&bundle, live).await
    }

    fn read_webhook(&self, spec_json: &str) -> Result<NewTrigger, Vec<Finding>> {
        let mut value: Value = serde_json::from_str(spec_json)
            .map_err(|error| vec![finding("", &format!("not JSON: {error}"))])?;
        if let Value::Object(members) = &mut value
            && !members.contains_key("type")
        {
            members.insert("type".into(), "webhook".into());
        }
        let spec = spec::read_single(&value, "")?;
        if spec.kind != TriggerKind::Webhook {
            return Err(vec![finding(
                "/type",
                "only webhooks are added to what is live; deploy other triggers",
            )]);
        }
        seal::one(spec, self.sealing.as_ref()).map_err(|why| vec![finding("/auth", &why)])
    }
}

/// Whether this is what was asked for. Sealing differs each time.
fn same(old: &NewTrigger, new: &NewTrigger) -> bool {
    let fingerprint = |t: &NewTrigger| t.secrets.as_ref().map(|s| s.fingerprint.clone());
    (old.kind, &old.name, old.enabled, &old.spec_json)
        == (new.kind, &new.name, new.enabled, &new.spec_json)
        && fingerprint(old) == fingerprint(new)
}

fn check_room(
    triggers: &[NewTrigger],
    new: &NewTrigger,
    id: DeploymentId,
) -> Result<(), DeployError> {
    if triggers.len() >= spec::MAX_TRIGGERS {
        let why = format!(
            "deployment {id} has {} triggers, and no room",
            triggers.len()
        );
        return Err(DeployError::Faults(vec![finding("", &why)]));
    }
    for old in triggers {
        if new.name.is_some() && old.name == new.name {
            let why = "the deployment has another trigger of this name";
            return Err(DeployError::NameTaken(finding("/name", why)));
        }
        if let (Some(a), Some(b)) = (&old.route, &new.route)
            && a.shape == b.shape
            && a.methods.iter().any(|method| b.methods.contains(method))
        {
            return Err(taken(&b.path));
        }
    }
    Ok(())
}

fn taken(path: &str) -> DeployError {
    let message = format!("webhook path `{path}` is taken");
    let place = finding("/path", &message);
    DeployError::PathTaken(message, vec![place])
}
