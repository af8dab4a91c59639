//! The stand-in of `fake` as an orchestrator, too.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use millrace_gateway::{Gateway, GatewayConfig};
use millrace_proto::orchestrator::v1 as pb;
use millrace_proto::orchestrator::v1::workload_orchestrator_service_server::{
    WorkloadOrchestratorService, WorkloadOrchestratorServiceServer,
};
use millrace_service::transport::in_process;
use tonic::{Request, Response, Status};

use crate::fake::FakeRuntime;
use crate::harness::App;

pub const PRJ: &str = "prj_01kh3v4cq0e2h9x5y7z8w6t4s2";
pub const WKL: &str = "wkl_01kh3v4cq0e2h9x5y7z8w6t4s2";

/// A gateway in front of `orchestrator`, and of no runtime.
pub fn gateway(orchestrator: &FakeRuntime) -> Gateway {
    let server = WorkloadOrchestratorServiceServer::new(orchestrator.clone());
    Gateway::new(
        GatewayConfig::default(),
        Vec::new(),
        Some(in_process(server)),
    )
}

pub fn app(orchestrator: &FakeRuntime) -> App {
    App(gateway(orchestrator).router())
}

/// What StreamLogs sends; then it stays open.
#[derive(Clone)]
pub struct Lines(pub Vec<Result<u64, Status>>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

macro_rules! orchestrator {
    ($($name:ident $request:ident $response:ident),+ $(,)?) => {
        #[tonic::async_trait]
        impl WorkloadOrchestratorService for FakeRuntime {
            $(
                async fn $name(
                    &self,
                    request: Request<pb::$request>,
                ) -> Result<Response<pb::$response>, Status> {
                    self.reply(request).await
                }
            )+

            type StreamLogsStream = Answers<pb::StreamLogsResponse>;

            async fn stream_logs(
                &self,
                request: Request<pb::StreamLogsRequest>,
            ) -> Result<Response<Self::StreamLogsStream>, Status> {
                let Lines(lines) = self.reply(request).await?.into_inner();
                let lines = futures::stream::iter(lines)
                    .map(|line| line.map(|seq| pb::StreamLogsResponse { entry: Some(entry(seq)) }));
                Ok(Response::new(Box::pin(lines.chain(futures::stream::pending()))))
            }

            type WatchWorkloadsStream = Answers<pb::WatchWorkloadsResponse>;

            async fn watch_workloads(
                &self,
                _: Request<pb::WatchWorkloadsRequest>,
            ) -> Result<Response<Self::WatchWorkloadsStream>, Status> {
                Err(Status::unimplemented("not needed here"))
            }

            type RunJobStream = Answers<pb::RunJobResponse>;

            async fn run_job(
                &self,
                _: Request<pb::RunJobRequest>,
            ) -> Result<Response<Self::RunJobStream>, Status> {
                Err(Status::unimplemented("not needed here"))
            }
        }
    };
}

orchestrator! {
    create_project CreateProjectRequest CreateProjectResponse,
    get_project GetProjectRequest GetProjectResponse,
    list_projects ListProjectsRequest ListProjectsResponse,
    update_project UpdateProjectRequest UpdateProjectResponse,
    delete_project DeleteProjectRequest DeleteProjectResponse,
    start_project StartProjectRequest StartProjectResponse,
    stop_project StopProjectRequest StopProjectResponse,
    list_services ListServicesRequest ListServicesResponse,
    resolve_service ResolveServiceRequest ResolveServiceResponse,
    create_workload CreateWorkloadRequest CreateWorkloadResponse,
    start_workload StartWorkloadRequest StartWorkloadResponse,
    stop_workload StopWorkloadRequest StopWorkloadResponse,
    restart_workload RestartWorkloadRequest RestartWorkloadResponse,
    get_workload GetWorkloadRequest GetWorkloadResponse,
    list_workloads ListWorkloadsRequest ListWorkloadsResponse,
    delete_workload DeleteWorkloadRequest DeleteWorkloadResponse,
    get_logs GetLogsRequest GetLogsResponse,
}

pub fn entry(seq: u64) -> pb::LogEntry {
    pb::LogEntry {
        seq,
        at: "2026-12-01T09:00:00Z".into(),
        stream: "stdout".into(),
        stage: "running".into(),
        line: format!("line {seq}\r\n"),
        ..pb::LogEntry::default()
    }
}

pub fn workload(stage: &str) -> pb::Workload {
    pb::Workload {
        workload_id: WKL.into(),
        project_id: PRJ.into(),
        service: "tasks".into(),
        stage: stage.into(),
        ..pb::Workload::default()
    }
}
