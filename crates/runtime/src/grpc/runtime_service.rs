//! `WorkflowRuntimeService` over gRPC.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_proto::runtime::v1::workflow_runtime_service_server::WorkflowRuntimeService;
use millrace_service::trace_context;
use millrace_store::{DeploymentFilter, ExecutionFilter, FireFilter};
use millrace_types::{DeploymentStatus, ErrorKind, ExecutionId};
use tonic::{Request, Response, Status};

use super::convert;
use crate::deployment::DeploymentService;
use crate::deployment::bundle::Posted;
use crate::event::EventService;
use crate::execution::ExecutionCoordinator;
use crate::execution::watch::{Seen, watch};
use crate::monitoring::search;
use crate::schedule::CronScheduler;
use crate::trigger::WebhookTriggerService;
use crate::trigger::fire::{Fire, MAX_WAIT, fire};
use crate::trigger::webhook::delivery::Target;

/// The contract's side of the runtime.
#[derive(Debug, Clone)]
pub struct RuntimeRpc {
    pub(crate) deployments: Arc<DeploymentService>,
    pub(crate) webhooks: Arc<WebhookTriggerService>,
    pub(crate) events: Arc<EventService>,
    pub(crate) schedules: Arc<CronScheduler>,
    pub(crate) executions: Arc<ExecutionCoordinator>,
}

impl RuntimeRpc {
    async fn set_status(
        &self,
        id: &str,
        status: DeploymentStatus,
    ) -> Result<pb::Deployment, Status> {
        let id = convert::named("deployment", id)?;
        let record = self
            .deployments
            .set_status(id, status)
            .await
            .map_err(Failure::from)?;
        Ok(convert::deployment(record))
    }
}

#[tonic::async_trait]
impl WorkflowRuntimeService for RuntimeRpc {
    type WatchExecutionStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchExecutionResponse, Status>> + Send>>;

    async fn watch_execution(
        &self,
        request: Request<pb::WatchExecutionRequest>,
    ) -> Result<Response<Self::WatchExecutionStream>, Status> {
        let request = request.into_inner();
        let id: ExecutionId = convert::named("execution", &request.execution_id)?;
        let store = &self.executions.store;
        let known = store.execution(id).await;
        if known.map_err(|e| convert::store_failure(&e))?.is_none() {
            return Err(unknown_execution(id).into());
        }
        let seen = watch(Arc::clone(&self.executions), id, request.after_seq);
        let answers = seen.map(|seen| match seen {
            Ok(Seen::Event(event)) => Ok(pb::WatchExecutionResponse {
                event: Some(convert::event(event)),
                execution: None,
            }),
            Ok(Seen::Ended(record)) => Ok(pb::WatchExecutionResponse {
                event: None,
                execution: Some(convert::execution(*record)),
            }),
            Err(error) => Err(convert::store_failure(&error).into()),
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn deploy_workflow(
        &self,
        request: Request<pb::DeployWorkflowRequest>,
    ) -> Result<Response<pb::DeployWorkflowResponse>, Status> {
        let request = request.into_inner();
        let posted = Posted {
            document: request.document,
            triggers_json: request.triggers_json,
            config_json: request.config_json,
            document_pointer: request.document_pointer,
        };
        let (deployed, warnings) = self
            .deployments
            .deploy(posted)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(pb::DeployWorkflowResponse {
            deployment: Some(convert::deployment(deployed.deployment)),
            changed: deployed.changed,
            warnings: warnings.into_iter().map(convert::violation).collect(),
        }))
    }

    async fn plan_deployment(
        &self,
        request: Request<pb::PlanDeploymentRequest>,
    ) -> Result<Response<pb::PlanDeploymentResponse>, Status> {
        let request = request.into_inner();
        let posted = Posted {
            document: request.document,
            triggers_json: request.triggers_json,
            config_json: request.config_json,
            document_pointer: request.document_pointer,
        };
        let plan = self.deployments.plan(posted).await.map_err(Failure::from)?;
        let violations = |findings: Vec<_>| findings.into_iter().map(convert::violation).collect();
        Ok(Response::new(pb::PlanDeploymentResponse {
            diagnostics: violations(plan.diagnostics),
            changes_json: plan.changes_json,
            warnings: violations(plan.warnings),
        }))
    }

    async fn update_deployment(
        &self,
        request: Request<pb::UpdateDeploymentRequest>,
    ) -> Result<Response<pb::UpdateDeploymentResponse>, Status> {
        let request = request.into_inner();
        let id = convert::named("deployment", &request.deployment_id)?;
        let updated = self.deployments.update(id, &request.patch_json).await;
        let (deployed, warnings) = updated.map_err(Failure::from)?;
        Ok(Response::new(pb::UpdateDeploymentResponse {
            deployment: Some(convert::deployment(deployed.deployment)),
            changed: deployed.changed,
            warnings: warnings.into_iter().map(convert::violation).collect(),
        }))
    }

    async fn delete_deployment(
        &self,
        request: Request<pb::DeleteDeploymentRequest>,
    ) -> Result<Response<pb::DeleteDeploymentResponse>, Status> {
        let id = convert::named("deployment", &request.get_ref().deployment_id)?;
        self.deployments.archive(id).await.map_err(Failure::from)?;
        Ok(Response::new(pb::DeleteDeploymentResponse {}))
    }

    async fn list_versions(
        &self,
        request: Request<pb::ListVersionsRequest>,
    ) -> Result<Response<pb::ListVersionsResponse>, Status> {
        let request = request.into_inner();
        let id = convert::named("deployment", &request.deployment_id)?;
        let page = convert::page(request.cursor, request.limit)?;
        let listed = self.deployments.versions(id, &page).await;
        let (live, page) = listed.map_err(Failure::from)?;
        Ok(Response::new(pb::ListVersionsResponse {
            versions: page
                .items
                .into_iter()
                .map(|version| convert::version(version, live))
                .collect(),
            next_cursor: page.next.unwrap_or_default(),
        }))
    }

    async fn rollback_deployment(
        &self,
        request: Request<pb::RollbackDeploymentRequest>,
    ) -> Result<Response<pb::RollbackDeploymentResponse>, Status> {
        let request = request.into_inner();
        let id = convert::named("deployment", &request.deployment_id)?;
        let rolled_back = self.deployments.rollback(id, request.version).await;
        let deployed = rolled_back.map_err(Failure::from)?;
        Ok(Response::new(pb::RollbackDeploymentResponse {
            deployment: Some(convert::deployment(deployed.deployment)),
        }))
    }

    async fn get_deployment_status(
        &self,
        request: Request<pb::GetDeploymentStatusRequest>,
    ) -> Result<Response<pb::GetDeploymentStatusResponse>, Status> {
        let id = convert::named("deployment", &request.get_ref().deployment_id)?;
        let record = self.deployments.get(id).await.map_err(Failure::from)?;
        Ok(Response::new(pb::GetDeploymentStatusResponse {
            deployment: Some(convert::deployment(record)),
        }))
    }

    async fn list_deployments(
        &self,
        request: Request<pb::ListDeploymentsRequest>,
    ) -> Result<Response<pb::ListDeploymentsResponse>, Status> {
        let request = request.into_inner();
        let label = match request.label.as_str() {
            "" => None,
            text => Some(
                text.split_once('=')
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .ok_or_else(|| convert::invalid("label", "must be `name=value`"))?,
            ),
        };
        let filter = DeploymentFilter {
            status: convert::optional("status", &request.status)?,
            namespace: Some(request.namespace).filter(|s| !s.is_empty()),
            name: Some(request.name).filter(|s| !s.is_empty()),
            label,
        };
        let page = convert::page(request.cursor, request.limit)?;
        let page = self
            .deployments
            .list(&filter, &page)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(pb::ListDeploymentsResponse {
            deployments: page.items.into_iter().map(convert::deployment).collect(),
            next_cursor: page.next.unwrap_or_default(),
        }))
    }

    async fn pause_deployment(
        &self,
        request: Request<pb::PauseDeploymentRequest>,
    ) -> Result<Response<pb::PauseDeploymentResponse>, Status> {
        let id = &request.get_ref().deployment_id;
        let deployment = Some(self.set_status(id, DeploymentStatus::Paused).await?);
        Ok(Response::new(pb::PauseDeploymentResponse { deployment }))
    }

    async fn resume_deployment(
        &self,
        request: Request<pb::ResumeDeploymentRequest>,
    ) -> Result<Response<pb::ResumeDeploymentResponse>, Status> {
        let id = &request.get_ref().deployment_id;
        let deployment = Some(self.set_status(id, DeploymentStatus::Deployed).await?);
        Ok(Response::new(pb::ResumeDeploymentResponse { deployment }))
    }

    async fn trigger_workflow(
        &self,
        request: Request<pb::TriggerWorkflowRequest>,
    ) -> Result<Response<pb::TriggerWorkflowResponse>, Status> {
        let request = request.into_inner();
        let id = convert::optional("execution_id", &request.execution_id)?;
        let trigger = convert::optional("trigger_id", &request.trigger_id)?;
        let wait = Duration::from_millis(u64::from(request.wait_ms));
        if wait > MAX_WAIT {
            return Err(
                convert::invalid("wait_ms", format!("at most {}", MAX_WAIT.as_millis())).into(),
            );
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
        Ok(Response::new(convert::fired(fired.map_err(Failure::from)?)))
    }

    async fn test_webhook(
        &self,
        request: Request<pb::TestWebhookRequest>,
    ) -> Result<Response<pb::TestWebhookResponse>, Status> {
        let request = request.into_inner();
        let target = Target {
            deployment_id: convert::named("deployment", &request.deployment_id)?,
            trigger_id: convert::named("trigger", &request.trigger_id)?,
            revision: request.trigger_revision,
        };
        let name = Some(request.dedupe_name).filter(|name| !name.is_empty());
        let tried = self.webhooks.try_out(target, request.request_json, name);
        let tried = tried.await.map_err(Failure::from)?;
        Ok(Response::new(pb::TestWebhookResponse {
            dedupe_name: tried.name.unwrap_or_default(),
        }))
    }

    async fn register_webhook(
        &self,
        request: Request<pb::RegisterWebhookRequest>,
    ) -> Result<Response<pb::RegisterWebhookResponse>, Status> {
        let request = request.into_inner();
        let id = convert::named("deployment", &request.deployment_id)?;
        let registered = self.deployments.register(id, &request.spec_json).await;
        let (trigger, changed) = registered.map_err(Failure::from)?;
        Ok(Response::new(pb::RegisterWebhookResponse {
            trigger: Some(convert::trigger(trigger)),
            changed,
        }))
    }

    async fn unregister_webhook(
        &self,
        request: Request<pb::UnregisterWebhookRequest>,
    ) -> Result<Response<pb::UnregisterWebhookResponse>, Status> {
        let id = convert::named("trigger", &request.get_ref().trigger_id)?;
        let unregistered = self.deployments.unregister(id).await;
        unregistered.map_err(Failure::from)?;
        Ok(Response::new(pb::UnregisterWebhookResponse {}))
    }

    async fn publish_event(
        &self,
        request: Request<pb::PublishEventRequest>,
    ) -> Result<Response<pb::PublishEventResponse>, Status> {
        let request = request.into_inner();
        let events = convert::events(request);
        let trace = trace_context::current().map(|trace| trace.to_string());
        let published = self.events.publish(events, trace).await;
        let ids = published.map_err(Failure::from)?;
        Ok(Response::new(pb::PublishEventResponse {
            execution_ids: ids.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn resolve_webhook(
        &self,
        request: Request<pb::ResolveWebhookRequest>,
    ) -> Result<Response<pb::ResolveWebhookResponse>, Status> {
        let request = request.into_inner();
        let resolved = self
            .webhooks
            .resolve(&request.path, &request.method)
            .await
            .map_err(Failure::from)?;
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
        Ok(Response::new(answer))
    }

    async fn list_fires(
        &self,
        request: Request<pb::ListFiresRequest>,
    ) -> Result<Response<pb::ListFiresResponse>, Status> {
        let request = request.into_inner();
        let id = convert::named("trigger", &request.trigger_id)?;
        let filter = FireFilter {
            from: convert::optional("from", &request.from)?,
            to: convert::optional("to", &request.to)?,
        };
        let page = convert::page(request.cursor, request.limit)?;
        let page = self
            .schedules
            .fires(id, &filter, &page)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(pb::ListFiresResponse {
            fires: page.items.into_iter().map(convert::fire).collect(),
            next_cursor: page.next.unwrap_or_default(),
        }))
    }

    async fn backfill_schedule(
        &self,
        request: Request<pb::BackfillScheduleRequest>,
    ) -> Result<Response<pb::BackfillScheduleResponse>, Status> {
        let request = request.into_inner();
        let id = convert::named("trigger", &request.trigger_id)?;
        let from = convert::required("from", &request.from)?;
        let to = convert::required("to", &request.to)?;
        let asked = self.schedules.ask_backfill(id, from, to).await;
        let occurrences = asked.map_err(Failure::from)?;
        Ok(Response::new(pb::BackfillScheduleResponse { occurrences }))
    }

    async fn preview_schedule(
        &self,
        request: Request<pb::PreviewScheduleRequest>,
    ) -> Result<Response<pb::PreviewScheduleResponse>, Status> {
        let request = request.into_inner();
        let id = convert::named("trigger", &request.trigger_id)?;
        let count = convert::amount("count", request.count)?;
        let ahead = self
            .schedules
            .preview(id, count)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(pb::PreviewScheduleResponse {
            fires: ahead
                .into_iter()
                .map(|preview| convert::preview(&request.trigger_id, preview))
                .collect(),
        }))
    }

    async fn get_execution(
        &self,
        request: Request<pb::GetExecutionRequest>,
    ) -> Result<Response<pb::GetExecutionResponse>, Status> {
        let text = &request.get_ref().execution_id;
        let id: ExecutionId = convert::named("execution", text)?;
        let record = self
            .executions
            .store
            .execution(id)
            .await
            .map_err(|e| convert::store_failure(&e))?
            .ok_or_else(|| unknown_execution(id))?;
        Ok(Response::new(pb::GetExecutionResponse {
            execution: Some(convert::execution(record)),
        }))
    }

    async fn get_execution_history(
        &self,
        request: Request<pb::GetExecutionHistoryRequest>,
    ) -> Result<Response<pb::GetExecutionHistoryResponse>, Status> {
        let request = request.into_inner();
        let filter = ExecutionFilter {
            deployment_id: convert::optional("deployment_id", &request.deployment_id)?,
            status: convert::optional("status", &request.status)?,
            trigger: convert::optional("trigger", &request.trigger)?,
            from: convert::optional("from", &request.from)?,
            to: convert::optional("to", &request.to)?,
            trigger_id: convert::optional("trigger_id", &request.trigger_id)?,
            unsuccessful: false,
        };
        let page = convert::page(request.cursor, request.limit)?;
        let text = request.error_text;
        if text.chars().count() > 200 {
            let message = "it has at most 200 characters";
            return Err(convert::invalid("error_text", message).into());
        }
        let store = &*self.executions.store;
        let found = if text.is_empty() {
            let page = store.list_executions(&filter, &page).await;
            page.map(|page| search::Found {
                items: page.items,
                next: page.next,
                scanned: 0,
            })
        } else {
            search::by_error(store, filter, &text, &page).await
        };
        let found = found.map_err(|e| convert::store_failure(&e))?;
        Ok(Response::new(pb::GetExecutionHistoryResponse {
            executions: found.items.into_iter().map(convert::execution).collect(),
            next_cursor: found.next.unwrap_or_default(),
            scanned: found.scanned,
        }))
    }

    async fn cancel_execution(
        &self,
        request: Request<pb::CancelExecutionRequest>,
    ) -> Result<Response<pb::CancelExecutionResponse>, Status> {
        let request = request.into_inner();
        let id: ExecutionId = convert::named("execution", &request.execution_id)?;
        let cancelled = self.executions.cancel(id, &request.reason).await;
        let record = cancelled.map_err(Failure::from)?;
        Ok(Response::new(pb::CancelExecutionResponse {
            execution: Some(convert::execution(record)),
        }))
    }

    async fn rerun_execution(
        &self,
        request: Request<pb::RerunExecutionRequest>,
    ) -> Result<Response<pb::RerunExecutionResponse>, Status> {
        let request = request.into_inner();
        let id: ExecutionId = convert::named("execution", &request.execution_id)?;
        let new = convert::optional("new_execution_id", &request.new_execution_id)?;
        let new = new.unwrap_or_else(ExecutionId::new);
        let trace = trace_context::current().map(|trace| trace.to_string());
        let rerun = self.executions.rerun(id, new, &request.from, trace).await;
        let id = rerun.map_err(Failure::from)?;
        Ok(Response::new(pb::RerunExecutionResponse {
            execution_id: id.to_string(),
        }))
    }

    async fn list_execution_events(
        &self,
        request: Request<pb::ListExecutionEventsRequest>,
    ) -> Result<Response<pb::ListExecutionEventsResponse>, Status> {
        let request = request.into_inner();
        let id: ExecutionId = convert::named("execution", &request.execution_id)?;
        let page = convert::page(request.cursor, request.limit)?;
        let sequence = |cursor: &String| cursor.parse::<i64>().is_ok_and(|seq| seq >= 0);
        if !page.cursor.as_ref().is_none_or(sequence) {
            return Err(convert::invalid("cursor", "the cursor is none of this list").into());
        }
        let page = self
            .executions
            .store
            .execution_events(id, &page)
            .await
            .map_err(|e| convert::store_failure(&e))?
            .ok_or_else(|| unknown_execution(id))?;
        Ok(Response::new(pb::ListExecutionEventsResponse {
            events: page.items.into_iter().map(convert::event).collect(),
            next_cursor: page.next.unwrap_or_default(),
        }))
    }
}

fn unknown_execution(id: ExecutionId) -> Failure {
    Failure::new(ErrorKind::NotFound, format!("there is no execution {id}"))
}
