//! What a webhook's author wants to know of one delivery: the name of its
//! message, and the answer to its sender.

use std::sync::Arc;
use std::time::Duration;

use millrace_engine::value::{self, Value};
use millrace_proto::Failure;
use millrace_store::{
    AdmissionRefused, DeploymentRecord, ExecutionRecord, SlotKeys as _, StoreError, TriggerRecord,
};
use millrace_types::{DeploymentId, DeploymentStatus, ErrorKind, TriggerId};
use tokio::task::spawn_blocking;

use super::answer::{Answer, Made, NoAnswer};
use super::rules::{NameError, Rules, UnknownRules};
use crate::deployment::settings;
use crate::execution::JqSlotKeys;
use crate::trigger::WebhookTriggerService;

/// A delivery whose message is named.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// By which a repeat is known; a repeat of a delivery without one is not.
    pub name: Option<String>,
    /// How long it is known, instead of the default.
    pub keep: Option<Duration>,
    answer: Option<(Answer, Value)>,
}

/// Which trigger a delivery is for, as its sender's gateway resolved it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub deployment_id: DeploymentId,
    pub trigger_id: TriggerId,
    pub revision: u64,
}

/// Why a delivery is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error("the request is not JSON: {0}")]
    Request(#[from] value::InvalidJson),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Rules(#[from] UnknownRules),
    #[error("evaluating the webhook's expressions was cut off")]
    CutOff,
    #[error(transparent)]
    Refused(#[from] AdmissionRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        let message = error.to_string();
        match error {
            DeliveryError::Request(_) | DeliveryError::Name(_) => {
                Self::new(ErrorKind::Invalid, message)
            }
            DeliveryError::Rules(_) => Self::new(ErrorKind::Unimplemented, message),
            DeliveryError::CutOff => Self::new(ErrorKind::Unavailable, message),
            DeliveryError::Refused(refused) => Self::new(refused.kind(), message)
                .with_reason(crate::trigger::fire::reason(&refused)),
            DeliveryError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

impl Delivery {
    /// One that has this name by itself, and nothing to be evaluated.
    pub(crate) fn named(name: Option<String>) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }
}

impl WebhookTriggerService {
    /// Names the message. `request_json` is the whole request, empty where
    /// the trigger has no expressions over it; `name` is the one that the
    /// message has by itself.
    pub(crate) async fn deliver(
        &self,
        target: Target,
        request_json: String,
        name: Option<String>,
    ) -> Result<Delivery, DeliveryError> {
        if request_json.is_empty() {
            return Ok(Delivery::named(name));
        }
        let rules = match self.rules.get(target.trigger_id, target.revision) {
            Some(rules) => rules,
            None => self.read_rules(target).await?,
        };
        name_message(rules, request_json, name).await
    }

    /// The same without anything to be started: refused as an admission
    /// would be.
    pub(crate) async fn try_out(
        &self,
        target: Target,
        request_json: String,
        name: Option<String>,
        input_json: String,
    ) -> Result<Delivery, DeliveryError> {
        let (deployment, trigger) = self.live_trigger(target).await?;
        check_slot_key(&deployment, input_json).await?;
        if request_json.is_empty() {
            return Ok(Delivery::named(name));
        }
        let rules = Arc::new(Rules::read(&trigger.spec_json)?);
        name_message(rules, request_json, name).await
    }

    async fn read_rules(&self, target: Target) -> Result<Arc<Rules>, DeliveryError> {
        let trigger = self.current_trigger(target).await?.1;
        let rules = Arc::new(Rules::read(&trigger.spec_json)?);
        self.rules
            .insert(target.trigger_id, target.revision, Arc::clone(&rules));
        Ok(rules)
    }

    async fn live_trigger(
        &self,
        target: Target,
    ) -> Result<(DeploymentRecord, TriggerRecord), DeliveryError> {
        let (deployment, trigger) = self.current_trigger(target).await?;
        if deployment.status != DeploymentStatus::Deployed {
            let (id, status) = (deployment.id, deployment.status);
            return Err(AdmissionRefused::DeploymentNotLive(id, status).into());
        }
        if !trigger.enabled {
            return Err(AdmissionRefused::TriggerDisabled(trigger.id).into());
        }
        Ok((deployment, trigger))
    }

    /// The trigger, if it is still as it was resolved.
    async fn current_trigger(
        &self,
        target: Target,
    ) -> Result<(DeploymentRecord, TriggerRecord), DeliveryError> {
        let deployment = self.store.deployment(target.deployment_id).await?;
        let deployment =
            deployment.ok_or(AdmissionRefused::DeploymentUnknown(target.deployment_id))?;
        let trigger = deployment
            .triggers
            .iter()
            .find(|trigger| trigger.id == target.trigger_id && trigger.revision == target.revision)
            .cloned()
            .ok_or(AdmissionRefused::TriggerStale(target.trigger_id))?;
        Ok((deployment, trigger))
    }
}

/// Evaluates the deployment's concurrency key, as the admission would; where
/// the input is not known, that is left out.
async fn check_slot_key(
    deployment: &DeploymentRecord,
    input_json: String,
) -> Result<(), DeliveryError> {
    let config = serde_json::from_str(&deployment.config_json).unwrap_or_default();
    // What is stored was read before, save by a newer release.
    let settings = settings::read(&config, "").map(|read| read.executions);
    let key = settings.ok().and_then(|settings| settings.concurrency?.key);
    let Some(key) = key.filter(|_| !input_json.is_empty()) else {
        return Ok(());
    };
    let evaluating = spawn_blocking(move || JqSlotKeys::default().key(&key, input_json.as_bytes()));
    let evaluated = evaluating.await.map_err(|_| DeliveryError::CutOff)?;
    evaluated
        .map(drop)
        .map_err(|why| AdmissionRefused::KeyFailed(deployment.id, why).into())
}

/// Evaluates aside: an expression may take long, and must not hold up others.
async fn name_message(
    rules: Arc<Rules>,
    request_json: String,
    name: Option<String>,
) -> Result<Delivery, DeliveryError> {
    let evaluating = spawn_blocking(move || {
        let request = value::from_json(request_json.as_bytes())?;
        let name = if rules.names() {
            rules.name(&request)?
        } else {
            name
        };
        Ok(Delivery {
            name,
            keep: rules.keep,
            answer: rules.answer.clone().map(|answer| (answer, request)),
        })
    });
    evaluating.await.unwrap_or(Err(DeliveryError::CutOff))
}

impl Delivery {
    /// Whether the answer depends on which delivery of a message it is made
    /// for.
    pub(crate) fn sees_request(&self) -> bool {
        let answer = self.answer.as_ref();
        answer.is_some_and(|(answer, _)| answer.sees_request())
    }

    /// What the sender is answered, where the author says that; `Err` when it
    /// cannot be made, which the log explains.
    pub(crate) async fn answer(self, ended: &ExecutionRecord) -> Option<Result<Made, NoAnswer>> {
        let (answer, request) = self.answer?;
        let record = ended.clone();
        let made = spawn_blocking(move || answer.make(&record, request)).await;
        Some(match made {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) => {
                tracing::warn!(
                    execution.id = %ended.id,
                    "the webhook's answer about execution {} cannot be made: {error}",
                    ended.id
                );
                Err(NoAnswer::Faulty)
            }
            Err(error) => {
                tracing::error!(execution.id = %ended.id, %error, "making an answer was cut off");
                Err(NoAnswer::CutOff)
            }
        })
    }
}
