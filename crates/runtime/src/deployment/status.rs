//! Pausing and resuming, and what is live.

use millrace_proto::Failure;
use millrace_store::{DeploymentFilter, DeploymentRecord, Page, PageRequest, StoreError};
use millrace_types::{DeploymentId, DeploymentStatus, ErrorKind};
use tracing::info;

use super::DeploymentService;

/// Why a deployment could not be shown or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    #[error("there is no deployment {0}")]
    NotFound(DeploymentId),
    #[error("deployment {0} is archived; deploy its workflow again to revive it")]
    Archived(DeploymentId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StatusError> for Failure {
    fn from(error: StatusError) -> Self {
        let message = error.to_string();
        match error {
            StatusError::NotFound(_) => Failure::new(ErrorKind::NotFound, message),
            StatusError::Archived(_) => Failure::new(ErrorKind::Precondition, message),
            StatusError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

impl DeploymentService {
    pub(crate) async fn get(&self, id: DeploymentId) -> Result<DeploymentRecord, StatusError> {
        self.store
            .deployment(id)
            .await?
            .ok_or(StatusError::NotFound(id))
    }

    pub(crate) async fn list(
        &self,
        filter: &DeploymentFilter,
        page: &PageRequest,
    ) -> Result<Page<DeploymentRecord>, StatusError> {
        Ok(self.store.list_deployments(filter, page).await?)
    }

    /// Pauses or resumes: takes effect for every trigger that is resolved or
    /// fired after the answer. What runs goes on.
    pub(crate) async fn set_status(
        &self,
        id: DeploymentId,
        status: DeploymentStatus,
    ) -> Result<DeploymentRecord, StatusError> {
        match self.store.set_deployment_status(id, status).await? {
            Some(record) => {
                info!(deployment.id = %id, "deployment {id} is {status}");
                Ok(record)
            }
            None => {
                self.get(id).await?;
                Err(StatusError::Archived(id))
            }
        }
    }

    /// Archives: no trigger fires any more, and webhook paths are free for
    /// others. What runs goes on, history stays. Repeating it changes nothing.
    pub(crate) async fn archive(&self, id: DeploymentId) -> Result<(), StatusError> {
        match self.set_status(id, DeploymentStatus::Archived).await {
            Ok(_) | Err(StatusError::Archived(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
