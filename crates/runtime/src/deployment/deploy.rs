//! Deploying: check everything, then write it in one transaction.

use millrace_proto::{Failure, Finding};
use millrace_store::{DeployRefused, Deployed, DeploymentRecord, StoreError};
use millrace_types::{DeploymentId, DeploymentStatus, ErrorKind, TriggerId, TriggerKind};
use tracing::info;

use super::DeploymentService;
use super::beside::Beside;
use super::bundle::{self, Posted, Readable};
use super::settings::finding;

/// Why a workflow was not made live. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeployError {
    #[error("the deployment has {} fault(s); nothing was changed", .0.len())]
    Faults(Vec<Finding>),
    #[error("{0}")]
    PathTaken(String, Vec<Finding>),
    #[error("another trigger of the deployment has this name")]
    NameTaken(Finding),
    #[error("there is no deployment {0}")]
    NotFound(DeploymentId),
    #[error("there is no trigger {0}")]
    NoTrigger(TriggerId),
    #[error("trigger {0} is of the type {1}, not a webhook; change its deployment instead")]
    NoWebhook(TriggerId, TriggerKind),
    #[error("deployment {0} is archived; deploy its workflow again to revive it")]
    Archived(DeploymentId),
    #[error("deployment {0} has no version {1}")]
    NoVersion(DeploymentId, u32),
    #[error(
        "version {0} was made before versions kept their triggers and settings; \
         deploy its document again"
    )]
    NotKept(u32),
    #[error("the deployment is being changed by others; try again")]
    Moved,
    #[error("the workflow engine could not check the document: {0}")]
    Engine(tonic::Status),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DeployError> for Failure {
    fn from(error: DeployError) -> Self {
        let message = error.to_string();
        match error {
            DeployError::Faults(findings) => {
                Failure::new(ErrorKind::Invalid, message).with_findings(findings)
            }
            DeployError::PathTaken(_, findings) => Failure::new(ErrorKind::Conflict, message)
                .with_reason("path-taken")
                .with_findings(findings),
            DeployError::NameTaken(finding) => Failure::new(ErrorKind::Conflict, message)
                .with_reason("name-taken")
                .with_findings(vec![finding]),
            DeployError::NotFound(_) | DeployError::NoTrigger(_) | DeployError::NoVersion(..) => {
                Failure::new(ErrorKind::NotFound, message)
            }
            DeployError::Archived(_) | DeployError::NotKept(_) | DeployError::NoWebhook(..) => {
                Failure::new(ErrorKind::Precondition, message)
            }
            DeployError::Moved => Failure::new(ErrorKind::Conflict, message).with_reason("moved"),
            DeployError::Engine(status) => match status.code() {
                tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => {
                    Failure::new(ErrorKind::Unavailable, "no workflow engine can be reached")
                        .with_reason("engine-unavailable")
                }
                _ => crate::grpc::convert::hide(&status),
            },
            DeployError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

impl DeploymentService {
    /// Makes a bundle live. The findings of the answer are warnings.
    pub(crate) async fn deploy(
        &self,
        posted: Posted,
    ) -> Result<(Deployed, Vec<Finding>), DeployError> {
        let checked = self
            .engine
            .validate(&posted.document)
            .await
            .map_err(DeployError::Engine)?;
        let (bundle, mut warnings) = match bundle::check(&posted, checked, self.sealing.as_ref()) {
            Ok(checked) => checked,
            Err(faulty) => return Err(DeployError::Faults(self.all_faults(faulty).await?)),
        };
        let beside = self.beside(&Readable::from(&bundle)).await?;
        warnings.extend(beside.refuse()?);
        let deployed = self.store.deploy(&bundle).await?;
        log(&deployed);
        Ok((deployed, warnings))
    }

    /// The deployment with all that is live of it, to be changed.
    pub(super) async fn live(&self, id: DeploymentId) -> Result<DeploymentRecord, DeployError> {
        let record = self
            .store
            .deployment(id)
            .await?
            .ok_or(DeployError::NotFound(id))?;
        if record.status == DeploymentStatus::Archived {
            return Err(DeployError::Archived(id));
        }
        Ok(record)
    }
}

impl Beside {
    /// Its warnings, unless there is something in the way.
    pub(super) fn refuse(self) -> Result<Vec<Finding>, DeployError> {
        let mut faults = self.faults;
        if !faults.is_empty() {
            faults.extend(self.taken);
            return Err(DeployError::Faults(faults));
        }
        match self.taken.as_slice() {
            [] => Ok(self.warnings),
            [one] => {
                let message = format!("webhook path {}", one.message);
                Err(DeployError::PathTaken(message, self.taken))
            }
            several => {
                let message = format!("{} webhook paths are taken", several.len());
                Err(DeployError::PathTaken(message, self.taken))
            }
        }
    }
}

impl From<DeployRefused> for DeployError {
    fn from(refused: DeployRefused) -> Self {
        let message = refused.to_string();
        match refused {
            DeployRefused::PathTaken { trigger, path, .. } => {
                let at = format!("/triggers/{trigger}/path");
                Self::PathTaken(message, vec![finding(&at, &format!("`{path}` is taken"))])
            }
            DeployRefused::Moved => Self::Moved,
            DeployRefused::Store(error) => Self::Store(error),
        }
    }
}

pub(super) fn log(deployed: &Deployed) {
    let live = &deployed.deployment;
    if deployed.changed {
        info!(
            deployment.id = %live.id,
            version = live.version,
            "{}/{} version {} is live", live.namespace, live.name, live.version
        );
    }
}
