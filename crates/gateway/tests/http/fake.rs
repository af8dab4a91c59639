//! Stands in for a runtime: implements the generated service traits, answers
//! each call by what the test has set for its request type, UNIMPLEMENTED
//! where nothing is set, and keeps what it was asked.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::Stream;
use futures::future::BoxFuture;
use millrace_proto::runtime::v1 as pb;
use millrace_proto::runtime::v1::monitoring_service_server::{
    MonitoringService, MonitoringServiceServer,
};
use millrace_proto::runtime::v1::workflow_runtime_service_server::{
    WorkflowRuntimeService, WorkflowRuntimeServiceServer,
};
use millrace_service::Transport;
use millrace_service::trace_context::TRACEPARENT;
use tonic::{Request, Response, Status};

type Answer<A> = Result<A, Status>;
type Handler<Q, A> = Box<dyn Fn(Q) -> BoxFuture<'static, Answer<A>> + Send + Sync>;

#[derive(Clone, Default)]
pub struct FakeRuntime(Arc<Inner>);

#[derive(Default)]
struct Inner {
    handlers: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    calls: Mutex<Vec<Box<dyn Any + Send>>>,
    traces: Mutex<Vec<String>>,
}

impl FakeRuntime {
    /// Answers requests of the type `Q` from now on.
    pub fn on<Q, A>(self, answer: impl Fn(Q) -> Answer<A> + Send + Sync + 'static) -> Self
    where
        Q: 'static,
        A: Send + 'static,
    {
        self.set::<Q, A>(Box::new(move |request| {
            let answer = answer(request);
            Box::pin(async move { answer })
        }))
    }

    /// Never answers requests of the type `Q`.
    pub fn hangs_on<Q: 'static, A: Send + 'static>(self) -> Self {
        self.set::<Q, A>(Box::new(|_| Box::pin(std::future::pending())))
    }

    /// Answers requests of the type `Q` that are `meant`, and none of the others.
    pub fn answers_only<Q, A>(
        self,
        meant: impl Fn(&Q) -> bool + Send + Sync + 'static,
        answer: impl Fn(Q) -> Answer<A> + Send + Sync + 'static,
    ) -> Self
    where
        Q: 'static,
        A: Send + 'static,
    {
        self.set::<Q, A>(Box::new(move |request| {
            if !meant(&request) {
                return Box::pin(std::future::pending());
            }
            let answer = answer(request);
            Box::pin(async move { answer })
        }))
    }

    fn set<Q: 'static, A: 'static>(self, handler: Handler<Q, A>) -> Self {
        let handler: Arc<dyn Any + Send + Sync> = Arc::new(handler);
        self.0
            .handlers
            .lock()
            .unwrap()
            .insert(TypeId::of::<Q>(), handler);
        self
    }

    /// The requests of the type `Q` so far, oldest first.
    pub fn seen<Q: Clone + 'static>(&self) -> Vec<Q> {
        let calls = self.0.calls.lock().unwrap();
        calls
            .iter()
            .filter_map(|call| call.downcast_ref::<Q>().cloned())
            .collect()
    }

    /// The `traceparent` of each call that came over the network.
    pub fn traces(&self) -> Vec<String> {
        self.0.traces.lock().unwrap().clone()
    }

    /// The way to it without a network.
    pub fn transport(&self) -> Transport {
        millrace_service::transport::in_process(self.routes())
    }

    pub fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(WorkflowRuntimeServiceServer::new(self.clone()))
            .add_service(MonitoringServiceServer::new(self.clone()))
    }

    pub async fn reply<Q, A>(&self, request: Request<Q>) -> Result<Response<A>, Status>
    where
        Q: Clone + Send + 'static,
        A: 'static,
    {
        if let Some(trace) = request.metadata().get(TRACEPARENT) {
            self.0
                .traces
                .lock()
                .unwrap()
                .push(trace.to_str().unwrap().to_owned());
        }
        let request = request.into_inner();
        self.0.calls.lock().unwrap().push(Box::new(request.clone()));
        let handler = self
            .0
            .handlers
            .lock()
            .unwrap()
            .get(&TypeId::of::<Q>())
            .cloned();
        let answer = match handler
            .as_ref()
            .and_then(|any| any.downcast_ref::<Handler<Q, A>>())
        {
            Some(handler) => handler(request),
            None => return Err(Status::unimplemented("not set by the test")),
        };
        answer.await.map(Response::new)
    }
}

macro_rules! unary {
    ($($name:ident $request:ident $response:ident),+ $(,)?) => {
        $(
            fn $name<'life, 'fut>(
                &'life self,
                request: Request<pb::$request>,
            ) -> Pin<Box<dyn Future<Output = Result<Response<pb::$response>, Status>> + Send + 'fut>>
            where
                'life: 'fut,
                Self: 'fut,
            {
                Box::pin(self.reply(request))
            }
        )+
    };
}

impl WorkflowRuntimeService for FakeRuntime {
    unary! {
        deploy_workflow DeployWorkflowRequest DeployWorkflowResponse,
        update_deployment UpdateDeploymentRequest UpdateDeploymentResponse,
        delete_deployment DeleteDeploymentRequest DeleteDeploymentResponse,
        get_deployment_status GetDeploymentStatusRequest GetDeploymentStatusResponse,
        list_deployments ListDeploymentsRequest ListDeploymentsResponse,
        list_versions ListVersionsRequest ListVersionsResponse,
        pause_deployment PauseDeploymentRequest PauseDeploymentResponse,
        resume_deployment ResumeDeploymentRequest ResumeDeploymentResponse,
        rollback_deployment RollbackDeploymentRequest RollbackDeploymentResponse,
        plan_deployment PlanDeploymentRequest PlanDeploymentResponse,
        trigger_workflow TriggerWorkflowRequest TriggerWorkflowResponse,
        register_webhook RegisterWebhookRequest RegisterWebhookResponse,
        unregister_webhook UnregisterWebhookRequest UnregisterWebhookResponse,
        resolve_webhook ResolveWebhookRequest ResolveWebhookResponse,
        test_webhook TestWebhookRequest TestWebhookResponse,
        publish_event PublishEventRequest PublishEventResponse,
        list_fires ListFiresRequest ListFiresResponse,
        preview_schedule PreviewScheduleRequest PreviewScheduleResponse,
        backfill_schedule BackfillScheduleRequest BackfillScheduleResponse,
        get_execution GetExecutionRequest GetExecutionResponse,
        get_execution_history GetExecutionHistoryRequest GetExecutionHistoryResponse,
        list_execution_events ListExecutionEventsRequest ListExecutionEventsResponse,
        cancel_execution CancelExecutionRequest CancelExecutionResponse,
        rerun_execution RerunExecutionRequest RerunExecutionResponse,
    }

    type WatchExecutionStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchExecutionResponse, Status>> + Send>>;

    fn watch_execution<'life, 'fut>(
        &'life self,
        request: Request<pb::WatchExecutionRequest>,
    ) -> Pin<
        Box<
            dyn Future<Output = Result<Response<Self::WatchExecutionStream>, Status>> + Send + 'fut,
        >,
    >
    where
        'life: 'fut,
        Self: 'fut,
    {
        Box::pin(async move {
            let reply = self.reply::<_, Vec<pb::WatchExecutionResponse>>(request);
            let answers = reply.await?.into_inner().into_iter().map(Ok);
            let stream: Self::WatchExecutionStream = Box::pin(futures::stream::iter(answers));
            Ok(Response::new(stream))
        })
    }
}

impl MonitoringService for FakeRuntime {
    unary! {
        get_deployment_stats GetDeploymentStatsRequest GetDeploymentStatsResponse,
        get_system_health GetSystemHealthRequest GetSystemHealthResponse,
        get_scheduling_metrics GetSchedulingMetricsRequest GetSchedulingMetricsResponse,
        get_jitter_distribution GetJitterDistributionRequest GetJitterDistributionResponse,
        get_load_distribution GetLoadDistributionRequest GetLoadDistributionResponse,
    }
}
