//! Projects, workloads and their instances.

mod instance;
mod project;
mod save;
mod show;

use async_trait::async_trait;
use millrace_store::{
    CreateProjectRefused, CreateWorkloadRefused, DeleteProjectRefused, InstanceRecord, Page,
    PageRequest, ProjectRecord, Saved, StoreError, WorkloadFilter, WorkloadRecord, WorkloadSave,
    WorkloadStore,
};
use millrace_types::{InstanceId, ProjectId, WorkloadId};

use crate::SqliteStore;

#[async_trait]
impl WorkloadStore for SqliteStore {
    async fn create_project(&self, project: &ProjectRecord) -> Result<(), CreateProjectRefused> {
        self.insert_project(project).await
    }

    async fn project(&self, id: ProjectId) -> Result<Option<ProjectRecord>, StoreError> {
        self.find_project("WHERE id = ?1", &id.to_string()).await
    }

    async fn project_by_key(&self, key: &str) -> Result<Option<ProjectRecord>, StoreError> {
        self.find_project("WHERE key = ?1", key).await
    }

    async fn projects(&self, page: &PageRequest) -> Result<Page<ProjectRecord>, StoreError> {
        self.projects_page(page).await
    }

    async fn update_project(&self, project: &ProjectRecord) -> Result<bool, StoreError> {
        self.set_project(project).await
    }

    async fn delete_project(&self, id: ProjectId) -> Result<(), DeleteProjectRefused> {
        self.remove_project(id).await
    }

    async fn create_workload(
        &self,
        id: WorkloadId,
        project_id: ProjectId,
        service: &str,
        node_id: &str,
    ) -> Result<WorkloadRecord, CreateWorkloadRefused> {
        self.insert_workload(id, project_id, service, node_id).await
    }

    async fn ensure_workloads(
        &self,
        project_id: ProjectId,
        services: &[(WorkloadId, String)],
        node_id: &str,
    ) -> Result<Vec<WorkloadRecord>, CreateWorkloadRefused> {
        self.insert_missing(project_id, services, node_id).await
    }

    async fn workload(&self, id: WorkloadId) -> Result<Option<WorkloadRecord>, StoreError> {
        self.one_workload(id).await
    }

    async fn workload_of(
        &self,
        project_id: ProjectId,
        service: &str,
    ) -> Result<Option<WorkloadRecord>, StoreError> {
        self.workload_of_service(project_id, service).await
    }

    async fn workloads(
        &self,
        filter: &WorkloadFilter,
        page: &PageRequest,
    ) -> Result<Page<WorkloadRecord>, StoreError> {
        self.workloads_page(filter, page).await
    }

    async fn save_workloads(&self, saves: &[WorkloadSave]) -> Result<Vec<Saved>, StoreError> {
        self.save_all(saves).await
    }

    async fn delete_workload(&self, id: WorkloadId) -> Result<bool, StoreError> {
        self.remove_workload(id).await
    }

    async fn instances(
        &self,
        id: WorkloadId,
        limit: u32,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.last_instances(id, limit).await
    }

    async fn living_instances(
        &self,
        node_id: &str,
        after: Option<InstanceId>,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.living_of_node(node_id, after).await
    }
}
