//! Making, starting, stopping, showing and deleting workloads.

use std::time::Duration;

use millrace_store::{CreateWorkloadRefused, Page, PageRequest, StoreError, WorkloadFilter};
use millrace_types::{ErrorKind, ProjectId, WorkloadId, WorkloadStage};

use super::Kind;
use crate::WorkloadOrchestrator;
use crate::spec::is_service_name;
use crate::workload::{View, Wish};

/// Instances that are shown of a workload.
const SHOWN_INSTANCES: u32 = 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkloadError {
    #[error("workload {0} does not exist")]
    NotFound(WorkloadId),
    #[error("project {0} does not exist")]
    NoProject(ProjectId),
    #[error("no project has the key {0}")]
    NoKey(String),
    #[error("service {0} has no workload")]
    NoWorkload(String),
    #[error("`{0}` is no name of a service")]
    Service(String),
    #[error("this service has a workload already: {0}")]
    Exists(WorkloadId),
    #[error("workload {id} belongs to another orchestrator, {node}")]
    Elsewhere { id: WorkloadId, node: String },
    #[error("the orchestrator is stopping")]
    Stopping,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Kind for WorkloadError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoProject(_) | Self::NoKey(_) | Self::NoWorkload(_) => {
                ErrorKind::NotFound
            }
            Self::Service(_) => ErrorKind::Invalid,
            Self::Exists(_) => ErrorKind::Conflict,
            Self::Elsewhere { .. } => ErrorKind::Precondition,
            Self::Stopping => ErrorKind::Unavailable,
            Self::Store(error) => error.kind(),
        }
    }

    fn pointer(&self) -> &'static str {
        match self {
            Self::Service(_) => "/service",
            Self::NoProject(_) => "/projectId",
            _ => "",
        }
    }
}

impl From<CreateWorkloadRefused> for WorkloadError {
    fn from(refused: CreateWorkloadRefused) -> Self {
        match refused {
            CreateWorkloadRefused::NoProject(id) => Self::NoProject(id),
            CreateWorkloadRefused::Exists(id) => Self::Exists(id),
            CreateWorkloadRefused::Store(error) => error.into(),
        }
    }
}

/// A workload after something was asked of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub view: View,
    /// What was asked for has come to its end.
    pub settled: bool,
}

impl WorkloadOrchestrator {
    pub(crate) async fn create_workload(
        &self,
        project_id: ProjectId,
        service: &str,
    ) -> Result<View, WorkloadError> {
        if !is_service_name(service) {
            return Err(WorkloadError::Service(service.to_owned()));
        }
        let shared = &self.shared;
        let project = shared.store.project(project_id).await?;
        let project = project.ok_or(WorkloadError::NoProject(project_id))?;
        let id = WorkloadId::new();
        let made = shared
            .store
            .create_workload(id, project_id, service, &shared.config.node_id)
            .await;
        let handle = shared.spawn_actor(made?, project.key);
        let view = handle.view.borrow().clone();
        Ok(view)
    }

    /// The workloads of these services of a project, in their order; those
    /// that are missing are made.
    pub(super) async fn ensure_workloads(
        &self,
        project_id: ProjectId,
        services: Vec<String>,
    ) -> Result<Vec<WorkloadId>, WorkloadError> {
        if let Some(service) = services.iter().find(|service| !is_service_name(service)) {
            return Err(WorkloadError::Service(service.clone()));
        }
        let shared = &self.shared;
        let project = shared.store.project(project_id).await?;
        let project = project.ok_or(WorkloadError::NoProject(project_id))?;
        let services: Vec<_> = services
            .into_iter()
            .map(|service| (WorkloadId::new(), service))
            .collect();
        let node = &shared.config.node_id;
        let records = shared.store.ensure_workloads(project_id, &services, node);
        let mut ids = Vec::with_capacity(services.len());
        for (record, (new, _)) in records.await?.into_iter().zip(services) {
            ids.push(record.id);
            if record.id == new {
                shared.spawn_actor(record, project.key.clone());
            }
        }
        Ok(ids)
    }

    /// As it is stored.
    pub(crate) async fn workload(&self, id: WorkloadId) -> Result<View, WorkloadError> {
        if let Some(handle) = self.shared.handle(id) {
            let view = handle.view.borrow().clone();
            if view.deleted {
                return Err(WorkloadError::NotFound(id));
            }
            return Ok(view);
        }
        let store = &self.shared.store;
        let record = store.workload(id).await?;
        let record = record.ok_or(WorkloadError::NotFound(id))?;
        let project = store.project(record.project_id).await?;
        Ok(View {
            instances: store.instances(id, SHOWN_INSTANCES).await?,
            project_key: project.map_or_else(String::new, |project| project.key),
            record,
            settled: 0,
            deleted: false,
        })
    }

    /// Newest first, without their instances.
    pub(crate) async fn workloads(
        &self,
        project_id: Option<ProjectId>,
        page: &PageRequest,
    ) -> Result<Page<View>, WorkloadError> {
        let filter = WorkloadFilter {
            project_id,
            node_id: None,
        };
        let found = self.shared.store.workloads(&filter, page).await?;
        let mut items = Vec::with_capacity(found.items.len());
        let mut keys = std::collections::HashMap::new();
        for record in found.items {
            let id = record.project_id;
            if let std::collections::hash_map::Entry::Vacant(key) = keys.entry(id) {
                let project = self.shared.store.project(id).await?;
                key.insert(project.map_or_else(String::new, |project| project.key));
            }
            items.push(View {
                project_key: keys.get(&id).cloned().unwrap_or_default(),
                record,
                instances: Vec::new(),
                settled: 0,
                deleted: false,
            });
        }
        Ok(Page {
            items,
            next: found.next,
        })
    }

    /// Stores what is wanted, then waits at most that long for it to be so.
    pub(crate) async fn wish(
        &self,
        id: WorkloadId,
        wish: Wish,
        wait: Duration,
    ) -> Result<Outcome, WorkloadError> {
        let Some(mut handle) = self.shared.handle(id) else {
            let view = self.workload(id).await?;
            if view.record.node_id == self.shared.config.node_id {
                return Err(WorkloadError::Stopping);
            }
            return Err(WorkloadError::Elsewhere {
                id,
                node: view.record.node_id,
            });
        };
        let number = handle.wish(wish).await.ok_or(WorkloadError::Stopping)?;
        let settled = {
            let settled = handle.view.wait_for(|view| view.settled >= number);
            let settled = tokio::time::timeout(wait, settled).await;
            matches!(settled, Ok(Ok(_)))
        };
        let view = handle.view.borrow().clone();
        Ok(Outcome { view, settled })
    }

    /// Stops it, and deletes it with its logs and its data.
    pub(crate) async fn delete_workload(&self, id: WorkloadId) -> Result<(), WorkloadError> {
        // However long the stop takes: who hangs up stops nothing.
        const PATIENCE: Duration = Duration::from_mins(10);
        self.wish(id, Wish::Delete, PATIENCE).await.map(|_| ())
    }

    /// The workload of a service, where there is one.
    pub(crate) async fn workload_id(
        &self,
        project_id: ProjectId,
        service: &str,
    ) -> Result<Option<WorkloadId>, WorkloadError> {
        let found = self.shared.store.workload_of(project_id, service).await?;
        Ok(found.map(|record| record.id))
    }

    /// Where requests for a service go.
    pub(crate) async fn resolve(&self, key: &str, service: &str) -> Result<View, WorkloadError> {
        let store = &self.shared.store;
        let project = store.project_by_key(key).await?;
        let project = project.ok_or_else(|| WorkloadError::NoKey(key.to_owned()))?;
        let found = store.workload_of(project.id, service).await?;
        let found = found.ok_or_else(|| WorkloadError::NoWorkload(service.to_owned()))?;
        self.workload(found.id).await
    }
}

impl View {
    /// The port that requests go to, where there is one.
    pub(crate) fn endpoint(&self) -> Option<u16> {
        let state = &self.record.state;
        let serves = state.stage == WorkloadStage::Running && state.ready != Some(false);
        state.port.filter(|_| serves)
    }
}
