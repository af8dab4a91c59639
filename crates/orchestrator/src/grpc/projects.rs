//! Projects and their services.

use millrace_proto::orchestrator::v1 as pb;
use millrace_types::ProjectId;
use tonic::Status;

use super::WorkloadOrchestratorRpc;
use super::convert::{self, status};
use crate::operation::NewProject;
use crate::workload::Wish;

impl WorkloadOrchestratorRpc {
    pub(super) async fn create_project(
        &self,
        request: pb::CreateProjectRequest,
    ) -> Result<pb::CreateProjectResponse, Status> {
        let new = NewProject {
            name: request.name,
            key: request.key,
            local_path: request.local_path,
            git_json: request.git_json,
        };
        let project = self
            .orchestrator
            .create_project(new)
            .await
            .map_err(status)?;
        Ok(pb::CreateProjectResponse {
            project: Some(convert::project(project)),
        })
    }

    pub(super) async fn get_project(
        &self,
        request: pb::GetProjectRequest,
    ) -> Result<pb::GetProjectResponse, Status> {
        let id = convert::id("project", &request.project_id)?;
        let project = self.orchestrator.project(id).await.map_err(status)?;
        Ok(pb::GetProjectResponse {
            project: Some(convert::project(project)),
        })
    }

    pub(super) async fn list_projects(
        &self,
        request: pb::ListProjectsRequest,
    ) -> Result<pb::ListProjectsResponse, Status> {
        let page = convert::page::<ProjectId>(request.cursor, request.limit)?;
        let found = self.orchestrator.projects(&page).await.map_err(status)?;
        Ok(pb::ListProjectsResponse {
            projects: found.items.into_iter().map(convert::project).collect(),
            next_cursor: found.next.unwrap_or_default(),
        })
    }

    pub(super) async fn update_project(
        &self,
        request: pb::UpdateProjectRequest,
    ) -> Result<pb::UpdateProjectResponse, Status> {
        let id = convert::id("project", &request.project_id)?;
        let done = self.orchestrator.update_project(id, &request.patch_json);
        Ok(pb::UpdateProjectResponse {
            project: Some(convert::project(done.await.map_err(status)?)),
        })
    }

    pub(super) async fn delete_project(
        &self,
        request: pb::DeleteProjectRequest,
    ) -> Result<pb::DeleteProjectResponse, Status> {
        let id = convert::id("project", &request.project_id)?;
        self.orchestrator.delete_project(id).await.map_err(status)?;
        Ok(pb::DeleteProjectResponse {})
    }

    pub(super) async fn start_project(
        &self,
        request: pb::StartProjectRequest,
    ) -> Result<pb::StartProjectResponse, Status> {
        let workloads = self.wish_project(&request.project_id, Wish::Start, request.wait_ms);
        Ok(pb::StartProjectResponse {
            workloads: workloads.await?,
        })
    }

    pub(super) async fn stop_project(
        &self,
        request: pb::StopProjectRequest,
    ) -> Result<pb::StopProjectResponse, Status> {
        let workloads = self.wish_project(&request.project_id, Wish::Stop, request.wait_ms);
        Ok(pb::StopProjectResponse {
            workloads: workloads.await?,
        })
    }

    async fn wish_project(
        &self,
        id: &str,
        wish: Wish,
        wait_ms: u32,
    ) -> Result<Vec<pb::Workload>, Status> {
        let id = convert::id("project", id)?;
        let wait = convert::wait(wait_ms)?;
        let views = self.orchestrator.wish_project(id, wish, wait).await;
        let views = views.map_err(status)?.into_iter();
        Ok(views.map(|view| self.show(view)).collect())
    }

    pub(super) async fn list_services(
        &self,
        request: pb::ListServicesRequest,
    ) -> Result<pb::ListServicesResponse, Status> {
        let id = convert::id("project", &request.project_id)?;
        let found = self.orchestrator.services(id).await.map_err(status)?;
        let mut services = Vec::with_capacity(found.len());
        for service in found {
            let workload = self.orchestrator.workload_id(id, &service.name);
            let workload = workload.await.map_err(status)?;
            services.push(pb::Service {
                workload_id: workload.map_or_else(String::new, |id| id.to_string()),
                ..convert::service(service)
            });
        }
        Ok(pb::ListServicesResponse { services })
    }
}
