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

use crate::PostgresStore;

#[async_trait]
impl WorkloadStore for PostgresStore {
    async fn create_project(&self, project: &ProjectRecord) -> Result<(), CreateProjectRefused> {
        self.bounded(project::insert(self, project)).await
    }

    async fn project(&self, id: ProjectId) -> Result<Option<ProjectRecord>, StoreError> {
        let id = id.to_string();
        self.bounded(project::find(self, "WHERE id = $1", &id))
            .await
    }

    async fn project_by_key(&self, key: &str) -> Result<Option<ProjectRecord>, StoreError> {
        self.bounded(project::find(self, "WHERE key = $1", key))
            .await
    }

    async fn projects(&self, page: &PageRequest) -> Result<Page<ProjectRecord>, StoreError> {
        self.bounded(project::page(self, page)).await
    }

    async fn update_project(&self, project: &ProjectRecord) -> Result<bool, StoreError> {
        self.bounded(project::set(self, project)).await
    }

    async fn delete_project(&self, id: ProjectId) -> Result<(), DeleteProjectRefused> {
        self.bounded(project::remove(self, id)).await
    }

    async fn create_workload(
        &self,
        id: WorkloadId,
        project_id: ProjectId,
        service: &str,
        node_id: &str,
    ) -> Result<WorkloadRecord, CreateWorkloadRefused> {
        self.bounded(show::insert(self, id, project_id, service, node_id))
            .await
    }

    async fn ensure_workloads(
        &self,
        project_id: ProjectId,
        services: &[(WorkloadId, String)],
        node_id: &str,
    ) -> Result<Vec<WorkloadRecord>, CreateWorkloadRefused> {
        show::insert_missing(self, project_id, services, node_id).await
    }

    async fn workload(&self, id: WorkloadId) -> Result<Option<WorkloadRecord>, StoreError> {
        self.bounded(show::one(self, id)).await
    }

    async fn workload_of(
        &self,
        project_id: ProjectId,
        service: &str,
    ) -> Result<Option<WorkloadRecord>, StoreError> {
        self.bounded(show::of_service(self, project_id, service))
            .await
    }

    async fn workloads(
        &self,
        filter: &WorkloadFilter,
        page: &PageRequest,
    ) -> Result<Page<WorkloadRecord>, StoreError> {
        self.bounded(show::page(self, filter, page)).await
    }

    async fn save_workloads(&self, saves: &[WorkloadSave]) -> Result<Vec<Saved>, StoreError> {
        self.bounded(save::all(self, saves)).await
    }

    async fn delete_workload(&self, id: WorkloadId) -> Result<bool, StoreError> {
        self.bounded(show::remove(self, id)).await
    }

    async fn instances(
        &self,
        id: WorkloadId,
        limit: u32,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.bounded(instance::last(self, id, limit)).await
    }

    async fn living_instances(
        &self,
        node_id: &str,
        after: Option<InstanceId>,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.bounded(instance::living(self, node_id, after)).await
    }
}
