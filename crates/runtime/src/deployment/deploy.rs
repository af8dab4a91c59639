//! Deploying: check everything, then write it in one transaction.

use millrace_proto::{Failure, Finding};
use millrace_store::{DeployRefused, Deployed, StoreError};
use millrace_types::ErrorKind;
use tracing::info;

use super::DeploymentService;
use super::bundle::{self, Posted};
use super::settings::finding;

/// Why a workflow was not made live. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeployError {
    #[error("the deployment has {} fault(s); nothing was changed", .0.len())]
    Faults(Vec<Finding>),
    #[error("{0}")]
    PathTaken(String, Finding),
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
            DeployError::PathTaken(_, finding) => Failure::new(ErrorKind::Conflict, message)
                .with_reason("path-taken")
                .with_findings(vec![finding]),
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
        let (bundle, warnings) = bundle::check(&posted, checked).map_err(DeployError::Faults)?;
        let deployed = self
            .store
            .deploy(&bundle)
            .await
            .map_err(|refused| match refused {
                DeployRefused::PathTaken {
                    trigger, ref path, ..
                } => DeployError::PathTaken(
                    refused.to_string(),
                    finding(
                        &format!("/triggers/{trigger}/path"),
                        &format!("`{path}` is taken"),
                    ),
                ),
                DeployRefused::Store(error) => DeployError::Store(error),
            })?;
        let live = &deployed.deployment;
        if deployed.changed {
            info!(
                deployment.id = %live.id,
                version = live.version,
                "{}/{} version {} is live", live.namespace, live.name, live.version
            );
        }
        Ok((deployed, warnings))
    }
}
