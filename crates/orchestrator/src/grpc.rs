//! The contract, answered with a sentence until there is more to say.

use std::pin::Pin;

use millrace_proto::orchestrator::v1 as pb;
use millrace_proto::{Failure, orchestrator::v1::workload_orchestrator_service_server as server};
use millrace_types::ErrorKind;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// `WorkloadOrchestratorService`, every RPC of which is declared and none built.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkloadOrchestratorRpc;

impl WorkloadOrchestratorRpc {
    /// As a tonic service, to be served or wrapped in-process.
    pub fn service(self) -> server::WorkloadOrchestratorServiceServer<Self> {
        server::WorkloadOrchestratorServiceServer::new(self)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn not_built(rpc: &str) -> Status {
    Failure::new(
        ErrorKind::Unimplemented,
        format!("{rpc} is declared but not built yet: this version of Millrace runs no workloads"),
    )
    .with_reason("not-built")
    .into()
}

macro_rules! not_built {
    (unary { $($method:ident: $rpc:literal, $request:ident => $response:ident;)+ }
     streaming { $($stream:ident $smethod:ident: $srpc:literal, $srequest:ident => $sresponse:ident;)+ }) => {
        #[tonic::async_trait]
        impl server::WorkloadOrchestratorService for WorkloadOrchestratorRpc {
            $(
                async fn $method(
                    &self,
                    _: Request<pb::$request>,
                ) -> Result<Response<pb::$response>, Status> {
                    Err(not_built($rpc))
                }
            )+
            $(
                type $stream = Answers<pb::$sresponse>;

                async fn $smethod(
                    &self,
                    _: Request<pb::$srequest>,
                ) -> Result<Response<Self::$stream>, Status> {
                    Err(not_built($srpc))
                }
            )+
        }
    };
}

not_built! {
    unary {
        create_project: "CreateProject", CreateProjectRequest => CreateProjectResponse;
        get_project: "GetProject", GetProjectRequest => GetProjectResponse;
        list_projects: "ListProjects", ListProjectsRequest => ListProjectsResponse;
        update_project: "UpdateProject", UpdateProjectRequest => UpdateProjectResponse;
        delete_project: "DeleteProject", DeleteProjectRequest => DeleteProjectResponse;
        start_project: "StartProject", StartProjectRequest => StartProjectResponse;
        stop_project: "StopProject", StopProjectRequest => StopProjectResponse;
        resolve_service: "ResolveService", ResolveServiceRequest => ResolveServiceResponse;
        list_services: "ListServices", ListServicesRequest => ListServicesResponse;
        create_workload: "CreateWorkload", CreateWorkloadRequest => CreateWorkloadResponse;
        start_workload: "StartWorkload", StartWorkloadRequest => StartWorkloadResponse;
        stop_workload: "StopWorkload", StopWorkloadRequest => StopWorkloadResponse;
        restart_workload: "RestartWorkload", RestartWorkloadRequest => RestartWorkloadResponse;
        get_workload: "GetWorkload", GetWorkloadRequest => GetWorkloadResponse;
        list_workloads: "ListWorkloads", ListWorkloadsRequest => ListWorkloadsResponse;
        delete_workload: "DeleteWorkload", DeleteWorkloadRequest => DeleteWorkloadResponse;
        get_logs: "GetLogs", GetLogsRequest => GetLogsResponse;
    }
    streaming {
        StreamLogsStream stream_logs: "StreamLogs", StreamLogsRequest => StreamLogsResponse;
        WatchWorkloadsStream watch_workloads: "WatchWorkloads", WatchWorkloadsRequest => WatchWorkloadsResponse;
        RunJobStream run_job: "RunJob", RunJobRequest => RunJobResponse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_service::transport::in_process;
    use server::WorkloadOrchestratorService as _;

    #[tokio::test]
    async fn every_call_is_answered_with_unimplemented_and_a_sentence() {
        let rpc = WorkloadOrchestratorRpc;
        let mut client =
            pb::workload_orchestrator_service_client::WorkloadOrchestratorServiceClient::new(
                in_process(rpc.service()),
            );
        let unary = client
            .list_projects(pb::ListProjectsRequest::default())
            .await
            .unwrap_err();
        let streaming = client
            .run_job(pb::RunJobRequest::default())
            .await
            .unwrap_err();
        for (status, name) in [(unary, "ListProjects"), (streaming, "RunJob")] {
            let failure = Failure::from(status);
            assert_eq!(failure.kind, ErrorKind::Unimplemented);
            assert!(failure.message.starts_with(name), "{}", failure.message);
        }
        let direct = rpc
            .get_logs(Request::new(pb::GetLogsRequest::default()))
            .await;
        assert_eq!(direct.unwrap_err().code(), tonic::Code::Unimplemented);
    }
}
