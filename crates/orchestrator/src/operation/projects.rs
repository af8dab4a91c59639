//! Showing and deleting projects, and finding their services.

use std::path::PathBuf;

use millrace_store::{DeleteProjectRefused, Page, PageRequest, ProjectRecord, StoreError};
use millrace_types::{ErrorKind, ProjectId};

use super::Kind;
use crate::WorkloadOrchestrator;
use crate::project::{FoundService, GitError, PathRefused, list_services};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    #[error("project {0} does not exist")]
    NotFound(ProjectId),
    #[error("project {0} still has workloads; delete them first")]
    HasWorkloads(ProjectId),
    #[error("its folder cannot be used any more: {0}")]
    Path(#[from] PathRefused),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("its services cannot be read: {0}")]
    Read(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Kind for ProjectError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::HasWorkloads(_) | Self::Path(_) | Self::Read(_) => ErrorKind::Precondition,
            Self::Git(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

impl WorkloadOrchestrator {
    pub(crate) async fn project(&self, id: ProjectId) -> Result<ProjectRecord, ProjectError> {
        let found = self.shared.store.project(id).await?;
        found.ok_or(ProjectError::NotFound(id))
    }

    pub(crate) async fn projects(
        &self,
        page: &PageRequest,
    ) -> Result<Page<ProjectRecord>, ProjectError> {
        Ok(self.shared.store.projects(page).await?)
    }

    pub(crate) async fn delete_project(&self, id: ProjectId) -> Result<(), ProjectError> {
        // Nobody brings its folder back after that.
        let turn = self.shared.turn(id)?;
        match self.shared.store.delete_project(id).await {
            Ok(()) => {
                self.shared.forget_checkout(&turn).await;
                Ok(())
            }
            Err(DeleteProjectRefused::NotFound(id)) => Err(ProjectError::NotFound(id)),
            Err(DeleteProjectRefused::HasWorkloads(id)) => Err(ProjectError::HasWorkloads(id)),
            Err(DeleteProjectRefused::Store(error)) => Err(error.into()),
        }
    }

    /// What lies in the project's folder, by name. One from Git is fetched
    /// when it is not there as it should be.
    pub(crate) async fn services(&self, id: ProjectId) -> Result<Vec<FoundService>, ProjectError> {
        let project = self.project(id).await?;
        self.shared.checked_out(&project).await?;
        self.services_there(project).await
    }

    /// The same, of the folder as it is.
    pub(super) async fn services_there(
        &self,
        project: ProjectRecord,
    ) -> Result<Vec<FoundService>, ProjectError> {
        let shared = self.shared.clone();
        let look = move || {
            let dir: PathBuf = shared.project_dir(&project)?;
            list_services(&dir).map_err(|error| ProjectError::Read(error.to_string()))
        };
        tokio::task::spawn_blocking(look)
            .await
            .map_err(|error| ProjectError::Read(error.to_string()))?
    }
}
