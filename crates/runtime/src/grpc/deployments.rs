//! Deployments and their versions.

use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_store::DeploymentFilter;
use millrace_types::DeploymentStatus;

use super::{RuntimeRpc, convert};
use crate::deployment::bundle::Posted;

impl RuntimeRpc {
    async fn set_status(
        &self,
        id: &str,
        status: DeploymentStatus,
    ) -> Result<pb::Deployment, Failure> {
        let id = convert::named("deployment", id)?;
        let record = self.deployments.set_status(id, status).await?;
        Ok(convert::deployment(record))
    }

    pub(super) async fn deploy_workflow(
        &self,
        request: pb::DeployWorkflowRequest,
    ) -> Result<pb::DeployWorkflowResponse, Failure> {
        let posted = Posted {
            document: request.document,
            triggers_json: request.triggers_json,
            config_json: request.config_json,
            document_pointer: request.document_pointer,
        };
        let (deployed, warnings) = self.deployments.deploy(posted).await?;
        Ok(pb::DeployWorkflowResponse {
            deployment: Some(convert::deployment(deployed.deployment)),
            changed: deployed.changed,
            warnings: warnings.into_iter().map(convert::violation).collect(),
        })
    }

    pub(super) async fn plan_deployment(
        &self,
        request: pb::PlanDeploymentRequest,
    ) -> Result<pb::PlanDeploymentResponse, Failure> {
        let posted = Posted {
            document: request.document,
            triggers_json: request.triggers_json,
            config_json: request.config_json,
            document_pointer: request.document_pointer,
        };
        let plan = self.deployments.plan(posted).await?;
        let violations = |findings: Vec<_>| findings.into_iter().map(convert::violation).collect();
        Ok(pb::PlanDeploymentResponse {
            diagnostics: violations(plan.diagnostics),
            changes_json: plan.changes_json,
            warnings: violations(plan.warnings),
        })
    }

    pub(super) async fn update_deployment(
        &self,
        request: pb::UpdateDeploymentRequest,
    ) -> Result<pb::UpdateDeploymentResponse, Failure> {
        let id = convert::named("deployment", &request.deployment_id)?;
        let updated = self.deployments.update(id, &request.patch_json).await;
        let (deployed, warnings) = updated?;
        Ok(pb::UpdateDeploymentResponse {
            deployment: Some(convert::deployment(deployed.deployment)),
            changed: deployed.changed,
            warnings: warnings.into_iter().map(convert::violation).collect(),
        })
    }

    pub(super) async fn delete_deployment(
        &self,
        request: pb::DeleteDeploymentRequest,
    ) -> Result<pb::DeleteDeploymentResponse, Failure> {
        let id = convert::named("deployment", &request.deployment_id)?;
        self.deployments.archive(id).await?;
        Ok(pb::DeleteDeploymentResponse {})
    }

    pub(super) async fn list_versions(
        &self,
        request: pb::ListVersionsRequest,
    ) -> Result<pb::ListVersionsResponse, Failure> {
        let id = convert::named("deployment", &request.deployment_id)?;
        let page = convert::page(request.cursor, request.limit)?;
        let listed = self.deployments.versions(id, &page).await;
        let (live, page) = listed?;
        Ok(pb::ListVersionsResponse {
            versions: page
                .items
                .into_iter()
                .map(|version| convert::version(version, live))
                .collect(),
            next_cursor: page.next.unwrap_or_default(),
        })
    }

    pub(super) async fn rollback_deployment(
        &self,
        request: pb::RollbackDeploymentRequest,
    ) -> Result<pb::RollbackDeploymentResponse, Failure> {
        let id = convert::named("deployment", &request.deployment_id)?;
        let rolled_back = self.deployments.rollback(id, request.version).await;
        let deployed = rolled_back?;
        Ok(pb::RollbackDeploymentResponse {
            deployment: Some(convert::deployment(deployed.deployment)),
        })
    }

    pub(super) async fn get_deployment_status(
        &self,
        request: pb::GetDeploymentStatusRequest,
    ) -> Result<pb::GetDeploymentStatusResponse, Failure> {
        let id = convert::named("deployment", &request.deployment_id)?;
        let record = self.deployments.get(id).await?;
        Ok(pb::GetDeploymentStatusResponse {
            deployment: Some(convert::deployment(record)),
        })
    }

    pub(super) async fn list_deployments(
        &self,
        request: pb::ListDeploymentsRequest,
    ) -> Result<pb::ListDeploymentsResponse, Failure> {
        let label = match request.label.as_str() {
            "" => None,
            text => Some(
                text.split_once('=')
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .ok_or_else(|| convert::invalid("label", "must be `name=value`"))?,
            ),
        };
        let filter = DeploymentFilter {
            status: convert::optional("status", &request.status)?,
            namespace: Some(request.namespace).filter(|s| !s.is_empty()),
            name: Some(request.name).filter(|s| !s.is_empty()),
            label,
        };
        let page = convert::page(request.cursor, request.limit)?;
        let page = self.deployments.list(&filter, &page).await?;
        Ok(pb::ListDeploymentsResponse {
            deployments: page.items.into_iter().map(convert::deployment).collect(),
            next_cursor: page.next.unwrap_or_default(),
        })
    }

    pub(super) async fn pause_deployment(
        &self,
        request: pb::PauseDeploymentRequest,
    ) -> Result<pb::PauseDeploymentResponse, Failure> {
        let id = &request.deployment_id;
        let deployment = Some(self.set_status(id, DeploymentStatus::Paused).await?);
        Ok(pb::PauseDeploymentResponse { deployment })
    }

    pub(super) async fn resume_deployment(
        &self,
        request: pb::ResumeDeploymentRequest,
    ) -> Result<pb::ResumeDeploymentResponse, Failure> {
        let id = &request.deployment_id;
        let deployment = Some(self.set_status(id, DeploymentStatus::Deployed).await?);
        Ok(pb::ResumeDeploymentResponse { deployment })
    }
}
