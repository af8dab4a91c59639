//! `WorkflowRuntimeService` over gRPC.

use std::sync::Arc;

use millrace_proto::runtime::v1 as pb;
use millrace_proto::runtime::v1::workflow_runtime_service_server::WorkflowRuntimeService;

use crate::deployment::DeploymentService;
use crate::event::EventService;
use crate::execution::ExecutionCoordinator;
use crate::schedule::CronScheduler;
use crate::trigger::WebhookTriggerService;

/// The contract's side of the runtime.
#[derive(Debug, Clone)]
pub struct RuntimeRpc {
    pub(crate) deployments: Arc<DeploymentService>,
    pub(crate) webhooks: Arc<WebhookTriggerService>,
    pub(crate) events: Arc<EventService>,
    pub(crate) schedules: Arc<CronScheduler>,
    pub(crate) executions: Arc<ExecutionCoordinator>,
}

// Each calls the inherent method of the same name, in the file of its subject.
millrace_service::grpc_handlers! {
    contract: WorkflowRuntimeService, server: RuntimeRpc, messages: pb;
    unary {
        deploy_workflow(DeployWorkflowRequest) -> DeployWorkflowResponse;
        plan_deployment(PlanDeploymentRequest) -> PlanDeploymentResponse;
        update_deployment(UpdateDeploymentRequest) -> UpdateDeploymentResponse;
        delete_deployment(DeleteDeploymentRequest) -> DeleteDeploymentResponse;
        list_versions(ListVersionsRequest) -> ListVersionsResponse;
        rollback_deployment(RollbackDeploymentRequest) -> RollbackDeploymentResponse;
        get_deployment_status(GetDeploymentStatusRequest) -> GetDeploymentStatusResponse;
        list_deployments(ListDeploymentsRequest) -> ListDeploymentsResponse;
        pause_deployment(PauseDeploymentRequest) -> PauseDeploymentResponse;
        resume_deployment(ResumeDeploymentRequest) -> ResumeDeploymentResponse;
        trigger_workflow(TriggerWorkflowRequest) -> TriggerWorkflowResponse;
        test_webhook(TestWebhookRequest) -> TestWebhookResponse;
        register_webhook(RegisterWebhookRequest) -> RegisterWebhookResponse;
        unregister_webhook(UnregisterWebhookRequest) -> UnregisterWebhookResponse;
        publish_event(PublishEventRequest) -> PublishEventResponse;
        resolve_webhook(ResolveWebhookRequest) -> ResolveWebhookResponse;
        list_fires(ListFiresRequest) -> ListFiresResponse;
        backfill_schedule(BackfillScheduleRequest) -> BackfillScheduleResponse;
        preview_schedule(PreviewScheduleRequest) -> PreviewScheduleResponse;
        get_execution(GetExecutionRequest) -> GetExecutionResponse;
        get_execution_history(GetExecutionHistoryRequest) -> GetExecutionHistoryResponse;
        cancel_execution(CancelExecutionRequest) -> CancelExecutionResponse;
        rerun_execution(RerunExecutionRequest) -> RerunExecutionResponse;
        list_execution_events(ListExecutionEventsRequest) -> ListExecutionEventsResponse;
    }
    streaming {
        WatchExecutionStream watch_execution(WatchExecutionRequest) -> WatchExecutionResponse;
    }
}
