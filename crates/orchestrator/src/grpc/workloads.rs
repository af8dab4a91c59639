//! Workloads.

use millrace_proto::orchestrator::v1 as pb;
use millrace_types::WorkloadId;
use tonic::Status;

use super::WorkloadOrchestratorRpc;
use super::convert::{self, invalid, status};
use crate::operation::Outcome;
use crate::process::{Usage, usage};
use crate::workload::{View, Wish};

/// When to ask again for a service that is not ready, in ms.
const RETRY_AFTER: u32 = 1000;

impl WorkloadOrchestratorRpc {
    pub(super) fn show(&self, view: View) -> pb::Workload {
        convert::workload(view, &self.orchestrator.shared.config.host)
    }

    pub(super) async fn create_workload(
        &self,
        request: pb::CreateWorkloadRequest,
    ) -> Result<pb::CreateWorkloadResponse, Status> {
        let project = convert::id("project", &request.project_id)?;
        let view = self.orchestrator.create_workload(project, &request.service);
        Ok(pb::CreateWorkloadResponse {
            workload: Some(self.show(view.await.map_err(status)?)),
        })
    }

    async fn wish(&self, id: &str, wish: Wish, wait_ms: u32) -> Result<Outcome, Status> {
        let id = convert::id("workload", id)?;
        let wait = convert::wait(wait_ms)?;
        self.orchestrator.wish(id, wish, wait).await.map_err(status)
    }

    pub(super) async fn start_workload(
        &self,
        request: pb::StartWorkloadRequest,
    ) -> Result<pb::StartWorkloadResponse, Status> {
        let outcome = self.wish(&request.workload_id, Wish::Start, request.wait_ms);
        let outcome = outcome.await?;
        Ok(pb::StartWorkloadResponse {
            workload: Some(self.show(outcome.view)),
            settled: outcome.settled,
        })
    }

    pub(super) async fn stop_workload(
        &self,
        request: pb::StopWorkloadRequest,
    ) -> Result<pb::StopWorkloadResponse, Status> {
        let outcome = self.wish(&request.workload_id, Wish::Stop, request.wait_ms);
        let outcome = outcome.await?;
        Ok(pb::StopWorkloadResponse {
            workload: Some(self.show(outcome.view)),
            settled: outcome.settled,
        })
    }

    pub(super) async fn restart_workload(
        &self,
        request: pb::RestartWorkloadRequest,
    ) -> Result<pb::RestartWorkloadResponse, Status> {
        let blue_green = match request.strategy.as_str() {
            "" => false,
            "blueGreen" => true,
            other => {
                let message = format!("`{other}` is no strategy; blueGreen is, or none");
                return Err(invalid(message));
            }
        };
        let wish = Wish::Restart { blue_green };
        let outcome = self
            .wish(&request.workload_id, wish, request.wait_ms)
            .await?;
        Ok(pb::RestartWorkloadResponse {
            workload: Some(self.show(outcome.view)),
            settled: outcome.settled,
        })
    }

    pub(super) async fn get_workload(
        &self,
        request: pb::GetWorkloadRequest,
    ) -> Result<pb::GetWorkloadResponse, Status> {
        let id = convert::id("workload", &request.workload_id)?;
        let view = self.orchestrator.workload(id).await.map_err(status)?;
        let mut workload = self.show(view);
        if workload.node_id == self.orchestrator.shared.config.node_id {
            for instance in &mut workload.instances {
                measure(instance).await;
            }
        }
        Ok(pb::GetWorkloadResponse {
            workload: Some(workload),
        })
    }

    pub(super) async fn list_workloads(
        &self,
        request: pb::ListWorkloadsRequest,
    ) -> Result<pb::ListWorkloadsResponse, Status> {
        let project = match request.project_id.as_str() {
            "" => None,
            id => Some(convert::id("project", id)?),
        };
        let page = convert::page::<WorkloadId>(request.cursor, request.limit)?;
        let found = self.orchestrator.workloads(project, &page).await;
        let found = found.map_err(status)?;
        Ok(pb::ListWorkloadsResponse {
            workloads: found
                .items
                .into_iter()
                .map(|view| self.show(view))
                .collect(),
            next_cursor: found.next.unwrap_or_default(),
        })
    }

    pub(super) async fn delete_workload(
        &self,
        request: pb::DeleteWorkloadRequest,
    ) -> Result<pb::DeleteWorkloadResponse, Status> {
        let id = convert::id("workload", &request.workload_id)?;
        self.orchestrator
            .delete_workload(id)
            .await
            .map_err(status)?;
        Ok(pb::DeleteWorkloadResponse {})
    }

    pub(super) async fn resolve_service(
        &self,
        request: pb::ResolveServiceRequest,
    ) -> Result<pb::ResolveServiceResponse, Status> {
        let view = self
            .orchestrator
            .resolve(&request.project_key, &request.service);
        let view = view.await.map_err(status)?;
        let pid = view.record.state.pid;
        let instance = view.instances.iter().rev().find(|i| i.pid == pid);
        let instance_id = instance.map_or_else(String::new, |i| i.id.to_string());
        let endpoint = view.endpoint().map(|port| pb::Endpoint {
            host: self.orchestrator.shared.config.host.clone(),
            port: port.into(),
            instance_id,
        });
        Ok(pb::ResolveServiceResponse {
            workload_id: view.record.id.to_string(),
            stage: view.record.state.stage.to_string(),
            retry_after_ms: if endpoint.is_some() { 0 } else { RETRY_AFTER },
            endpoint,
        })
    }
}

/// Of one that lives.
async fn measure(instance: &mut pb::Instance) {
    if !instance.ended_at.is_empty() || instance.pid == 0 {
        return;
    }
    let pid = instance.pid;
    let measured = tokio::task::spawn_blocking(move || usage(pid)).await;
    if let Ok(Some(Usage {
        memory_bytes,
        cpu_ms,
        processes,
    })) = measured
    {
        instance.memory_bytes = Some(memory_bytes);
        instance.cpu_ms = Some(cpu_ms);
        instance.processes = Some(processes);
    }
}
