//! Whether an admission is fresh, a repeat, or refused.

use millrace_store::{Admission, AdmissionRefused, Admitted, Dedupe, Limits, WriteRefused};
use millrace_types::{DeploymentId, DeploymentStatus, ExecutionStatus, Timestamp};

use super::facts::{Facts, Known};
use crate::row::duration;

/// The epoch of an execution that is owned from its admission on.
const FIRST_EPOCH: u64 = 1;

impl Facts {
    /// Decides about one admission, and remembers it for those after it.
    pub fn judge(&mut self, admission: &Admission) -> Result<Admitted, WriteRefused> {
        // Repeats come first: whoever was answered once gets that answer
        // again, whatever has become of the deployment since.
        if let Some(known) = self.executions.get(&admission.id) {
            return Ok(repeat_by_id(known, admission));
        }
        let key = key_of(admission)?;
        if let Some(first) = key.as_ref().and_then(|key| self.keys.get(key)) {
            let now = self.executions.get(&first.id).map(|known| &known.answer);
            return Ok(now.unwrap_or(first).clone());
        }
        let live = self
            .deployments
            .get(&admission.deployment_id)
            .ok_or(AdmissionRefused::DeploymentUnknown(admission.deployment_id))?;
        if live.status != DeploymentStatus::Deployed {
            let refused = AdmissionRefused::DeploymentNotLive(admission.deployment_id, live.status);
            return Err(refused.into());
        }
        self.check_trigger(admission)?;
        let mut owner = admission.owner.filter(|owner| self.alive.contains(owner));
        if let Some(limit) = &live.concurrency {
            let slot_key = match &limit.key {
                None => String::new(),
                Some(expression) => (self.rules.keys.key(expression, &admission.input))
                    .and_then(|key| {
                        if key.contains('\0') {
                            Err("the value holds a NUL".into())
                        } else {
                            Ok(key)
                        }
                    })
                    .map_err(|why| AdmissionRefused::KeyFailed(admission.deployment_id, why))?,
            };
            // It queues for now, whoever would run it: slots are given out
            // once all are written.
            self.queued.insert(admission.id, slot_key);
            owner = None;
        }
        let fresh = Admitted {
            id: admission.id,
            fresh: true,
            status: owner.map_or(ExecutionStatus::Pending, |_| ExecutionStatus::Running),
            workflow_id: live.workflow_id,
            version: admission.rerun_of.map_or(live.version, |of| of.version),
            created_at: Timestamp::from_micros(self.now),
            owned: owner.map(|_| FIRST_EPOCH),
            limits: Limits {
                total: live.total_timeout.map(duration),
                idle: live.idle_timeout.map(duration),
                ..Limits::default()
            },
        };
        let answer = Admitted {
            fresh: false,
            owned: None,
            ..fresh.clone()
        };
        if let Some(key) = key {
            self.keys.insert(key, answer.clone());
        }
        let known = Known {
            answer,
            owner,
            epoch: FIRST_EPOCH,
        };
        self.executions.insert(admission.id, known);
        Ok(fresh)
    }

    fn check_trigger(&self, admission: &Admission) -> Result<(), AdmissionRefused> {
        let Some((id, revision)) = admission.trigger.id else {
            return Ok(());
        };
        let trigger = self
            .triggers
            .get(&id)
            .filter(|t| t.deployment_id == admission.deployment_id && t.revision == revision)
            .ok_or(AdmissionRefused::TriggerStale(id))?;
        if trigger.enabled {
            Ok(())
        } else {
            Err(AdmissionRefused::TriggerDisabled(id))
        }
    }
}

fn repeat_by_id(known: &Known, admission: &Admission) -> Admitted {
    let owned = known.owner.is_some() && known.owner == admission.owner;
    Admitted {
        owned: owned.then_some(known.epoch),
        ..known.answer.clone()
    }
}

/// The dedupe key, when it is one: SQLite would cut a text off at a NUL.
fn key_of(admission: &Admission) -> Result<Option<(DeploymentId, String)>, WriteRefused> {
    let refused = |what: &str| WriteRefused::Rejected(format!("{what} holds control characters"));
    if let Some(traceparent) = &admission.traceparent
        && traceparent.contains(char::is_control)
    {
        return Err(refused("traceparent"));
    }
    let Some(Dedupe { key, .. }) = &admission.dedupe else {
        return Ok(None);
    };
    if key.contains(char::is_control) {
        return Err(refused("the dedupe key"));
    }
    Ok(Some((admission.deployment_id, key.clone())))
}
