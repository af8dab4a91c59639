//! The orchestrator's contract over gRPC. A handler decodes, calls, encodes;
//! nothing else happens here.

mod convert;
mod jobs;
mod logs;
mod projects;
mod watch;
mod workloads;

use millrace_proto::orchestrator::v1 as pb;
use millrace_proto::orchestrator::v1::workload_orchestrator_service_server as server;
use millrace_service::grpc::Answers;

use crate::WorkloadOrchestrator;

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

// Each calls the inherent method of the same name, in the file of its subject.
millrace_service::grpc_handlers! {
    contract: server::WorkloadOrchestratorService, server: WorkloadOrchestratorRpc, messages: pb;
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
