//! `AdminService` over gRPC.

use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_proto::runtime::v1::admin_service_server::AdminService;
use millrace_store::SchedulerCommand;
use tonic::{Request, Response, Status};

use crate::schedule::{SchedulerControl, SchedulerStatus};

/// The contract's side of [`SchedulerControl`].
#[derive(Debug, Clone)]
pub struct AdminRpc {
    pub(crate) scheduler: SchedulerControl,
}

impl AdminRpc {
    async fn command(
        &self,
        command: SchedulerCommand,
        reason: &str,
    ) -> Result<Option<pb::SchedulerStatus>, Status> {
        let status = self.scheduler.command(command, reason).await;
        Ok(Some(message(status.map_err(Failure::from)?)))
    }
}

#[tonic::async_trait]
impl AdminService for AdminRpc {
    async fn get_scheduler_status(
        &self,
        _: Request<pb::GetSchedulerStatusRequest>,
    ) -> Result<Response<pb::GetSchedulerStatusResponse>, Status> {
        let status = self.scheduler.status().await.map_err(Failure::from)?;
        let status = Some(message(status));
        Ok(Response::new(pb::GetSchedulerStatusResponse { status }))
    }

    async fn stop_scheduler(
        &self,
        request: Request<pb::StopSchedulerRequest>,
    ) -> Result<Response<pb::StopSchedulerResponse>, Status> {
        let reason = &request.get_ref().reason;
        let status = self.command(SchedulerCommand::Stop, reason).await?;
        Ok(Response::new(pb::StopSchedulerResponse { status }))
    }

    async fn start_scheduler(
        &self,
        request: Request<pb::StartSchedulerRequest>,
    ) -> Result<Response<pb::StartSchedulerResponse>, Status> {
        let reason = &request.get_ref().reason;
        let status = self.command(SchedulerCommand::Start, reason).await?;
        Ok(Response::new(pb::StartSchedulerResponse { status }))
    }

    async fn restart_scheduler(
        &self,
        request: Request<pb::RestartSchedulerRequest>,
    ) -> Result<Response<pb::RestartSchedulerResponse>, Status> {
        let reason = &request.get_ref().reason;
        let status = self.command(SchedulerCommand::Restart, reason).await?;
        Ok(Response::new(pb::RestartSchedulerResponse { status }))
    }
}

fn message(status: SchedulerStatus) -> pb::SchedulerStatus {
    let instance = status.instance;
    pb::SchedulerStatus {
        state: status.state.to_owned(),
        since: status.since.to_string(),
        reason: status.reason,
        generation: status.generation,
        drifting: status.drifting,
        worst_drift_ms: status.worst_drift_ms,
        instance: Some(pb::SchedulerInstance {
            state: instance.state.to_owned(),
            generation: instance.generation,
            last_pass_at: super::convert::time(instance.last_pass_at),
            last_error: instance.last_error,
            passes: instance.passes,
        }),
    }
}
