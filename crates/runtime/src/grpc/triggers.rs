//! What starts executions: calls, webhooks and events.

use std::time::Duration;

use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_service::trace_context;
use millrace_types::ExecutionId;

use super::{RuntimeRpc, convert};
use crate::trigger::fire::{Fire, MAX_WAIT, fire};
use crate::trigger::webhook::delivery::Target;

impl RuntimeRpc {
    pub(super) async fn trigger_workflow(
        &self,
        request: pb::TriggerWorkflowRequest,
    ) -> Result<pb::TriggerWorkflowResponse, Failure> {
        let id = convert::optional("execution_id", &request.execution_id)?;
        let trigger = convert::optional("trigger_id", &request.trigger_id)?;
        let wait = Duration::from_millis(u64::from(request.wait_ms));
        if wait > MAX_WAIT {
            return Err(convert::invalid(
                "wait_ms",
                format!("at most {}", MAX_WAIT.as_millis()),
            ));
        }
        let asked = Fire {
            id: id.unwrap_or_else(ExecutionId::new),
            deployment_id: convert::named("deployment", &request.deployment_id)?,
            trigger: trigger.map(|id| (id, request.trigger_revision)),
            input: request.trigger_data_json,
            dedupe_key: Some(request.dedupe_key).filter(|key| !key.is_empty()),
            request: request.request_json,
            wait,
            traceparent: trace_context::current().map(|trace| trace.to_string()),
        };
        let fired = fire(&self.executions, &self.webhooks, asked).await;
        Ok(convert::fired(fired?))
    }

    pub(super) async fn test_webhook(
        &self,
        request: pb::TestWebhookRequest,
    ) -> Result<pb::TestWebhookResponse, Failure> {
        let target = Target {
            deployment_id: convert::named("deployment", &request.deployment_id)?,
            trigger_id: convert::named("trigger", &request.trigger_id)?,
            revision: request.trigger_revision,
        };
        let name = Some(request.dedupe_name).filter(|name| !name.is_empty());
        let tried = (self.webhooks)
            .try_out(target, request.request_json, name, request.input_json)
            .await?;
        Ok(pb::TestWebhookResponse {
            dedupe_name: tried.name.unwrap_or_default(),
        })
    }

    pub(super) async fn register_webhook(
        &self,
        request: pb::RegisterWebhookRequest,
    ) -> Result<pb::RegisterWebhookResponse, Failure> {
        let id = convert::named("deployment", &request.deployment_id)?;
        let registered = self.deployments.register(id, &request.spec_json).await;
        let (trigger, changed) = registered?;
        Ok(pb::RegisterWebhookResponse {
            trigger: Some(convert::trigger(trigger)),
            changed,
        })
    }

    pub(super) async fn unregister_webhook(
        &self,
        request: pb::UnregisterWebhookRequest,
    ) -> Result<pb::UnregisterWebhookResponse, Failure> {
        let id = convert::named("trigger", &request.trigger_id)?;
        let unregistered = self.deployments.unregister(id).await;
        unregistered?;
        Ok(pb::UnregisterWebhookResponse {})
    }

    pub(super) async fn resolve_webhook(
        &self,
        request: pb::ResolveWebhookRequest,
    ) -> Result<pb::ResolveWebhookResponse, Failure> {
        let resolved = self
            .webhooks
            .resolve(&request.path, &request.method)
            .await?;
        let mut answer = pb::ResolveWebhookResponse {
            allowed_methods: resolved.methods,
            ..Default::default()
        };
        if let Some(found) = resolved.found {
            answer.trigger_id = found.trigger.id.to_string();
            answer.trigger_revision = found.trigger.revision;
            answer.deployment_id = found.deployment_id.to_string();
            answer.workflow_id = found.workflow_id.to_string();
            answer.deployment_status = found.deployment_status.to_string();
            answer.enabled = found.trigger.enabled;
            answer.spec_json = found.trigger.spec_json;
            answer.sealed_secrets = found.sealed_secrets.unwrap_or_default();
            answer.params_json = serde_json::to_string(&resolved.params).unwrap_or_default();
        }
        Ok(answer)
    }

    pub(super) async fn publish_event(
        &self,
        request: pb::PublishEventRequest,
    ) -> Result<pb::PublishEventResponse, Failure> {
        let events = convert::events(request);
        let trace = trace_context::current().map(|trace| trace.to_string());
        let published = self.events.publish(events, trace).await;
        let ids = published?;
        Ok(pb::PublishEventResponse {
            execution_ids: ids.iter().map(ToString::to_string).collect(),
        })
    }
}
