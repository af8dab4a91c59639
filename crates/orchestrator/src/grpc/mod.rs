//! The orchestrator's contract over gRPC. A handler decodes, calls, encodes;
//! nothing else happens here.

mod convert;
mod jobs;
mod logs;
mod projects;
mod watch;
mod workloads;

use std::pin::Pin;

use millrace_proto::orchestrator::v1 as pb;
use millrace_proto::orchestrator::v1::workload_orchestrator_service_server as server;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::WorkloadOrchestrator;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// `WorkloadOrchestratorService`.
#[derive(Debug, Clone)]
pub struct WorkloadOrchestratorRpc {
    orchestrator: WorkloadOrchestrator,
}

impl WorkloadOrchestrator {
    /// As a tonic service, to be served or wrapped in-process.
    pub fn service(&self) -> server::WorkloadOrchestratorServiceServer<WorkloadOrchestratorRpc> {
        server::WorkloadOrchestratorServiceServer::new(WorkloadOrchestratorRpc {
            orchestrator: self.clone(),
        })
    }
}

macro_rules! handlers {
    (unary { $($method:ident($request:ident) -> $response:ident;)+ }
     streaming { $($stream:ident $smethod:ident($srequest:ident) -> $sresponse:ident;)+ }) => {
        #[tonic::async_trait]
        impl server::WorkloadOrchestratorService for WorkloadOrchestratorRpc {
            $(
                async fn $method(
                    &self,
                    request: Request<pb::$request>,
                ) -> Result<Response<pb::$response>, Status> {
                    let answer = self.$method(request.into_inner()).await?;
                    Ok(Response::new(answer))
                }
            )+
            $(
                type $stream = Answers<pb::$sresponse>;

                async fn $smethod(
                    &self,
                    request: Request<pb::$srequest>,
                ) -> Result<Response<Self::$stream>, Status> {
                    let answers = self.$smethod(request.into_inner()).await?;
                    Ok(Response::new(answers))
                }
            )+
        }
    };
}

// Each calls the inherent method of the same name, in the file of its subject.
handlers! {
    unary {
        create_project(CreateProjectRequest) -> CreateProjectResponse;
        get_project(GetProjectRequest) -> GetProjectResponse;
        list_projects(ListProjectsRequest) -> ListProjectsResponse;
        update_project(UpdateProjectRequest) -> UpdateProjectResponse;
        delete_project(DeleteProjectRequest) -> DeleteProjectResponse;
        start_project(StartProjectRequest) -> StartProjectResponse;
        stop_project(StopProjectRequest) -> StopProjectResponse;
        list_services(ListServicesRequest) -> ListServicesResponse;
        resolve_service(ResolveServiceRequest) -> ResolveServiceResponse;
        create_workload(CreateWorkloadRequest) -> CreateWorkloadResponse;
        start_workload(StartWorkloadRequest) -> StartWorkloadResponse;
        stop_workload(StopWorkloadRequest) -> StopWorkloadResponse;
        restart_workload(RestartWorkloadRequest) -> RestartWorkloadResponse;
        get_workload(GetWorkloadRequest) -> GetWorkloadResponse;
        list_workloads(ListWorkloadsRequest) -> ListWorkloadsResponse;
        delete_workload(DeleteWorkloadRequest) -> DeleteWorkloadResponse;
        get_logs(GetLogsRequest) -> GetLogsResponse;
    }
    streaming {
        StreamLogsStream stream_logs(StreamLogsRequest) -> StreamLogsResponse;
        WatchWorkloadsStream watch_workloads(WatchWorkloadsRequest) -> WatchWorkloadsResponse;
        RunJobStream run_job(RunJobRequest) -> RunJobResponse;
    }
}
