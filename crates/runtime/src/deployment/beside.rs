//! A bundle beside what is live: what only shows there is found together with
//! all else that is wrong with it.

use millrace_proto::Finding;
use millrace_store::{DeploymentRecord, StoreError};

use super::DeploymentService;
use super::bundle::{Faulty, Readable};
use super::settings::finding;

/// What is to be said of a bundle in view of what is live.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The workflow's deployment so far, archived or not.
    pub before: Option<DeploymentRecord>,
    pub faults: Vec<Finding>,
    pub warnings: Vec<Finding>,
    /// Paths of its webhooks that other deployments have already.
    pub taken: Vec<Finding>,
}

impl DeploymentService {
    pub(super) async fn beside(&self, bundle: &Readable) -> Result<Beside, StoreError> {
        let before = self.named(&bundle.namespace, &bundle.name).await?;
        let passed = self.passed(bundle, before.as_ref()).await?;
        let taken = self.taken_paths(bundle, before.as_ref()).await?;
        Ok(Beside {
            before,
            faults: passed.faults,
            warnings: passed.warnings,
            taken,
        })
    }

    /// All that is wrong with a faulty bundle, that which only shows beside
    /// what is live last.
    pub(super) async fn all_faults(&self, faulty: Faulty) -> Result<Vec<Finding>, StoreError> {
        let mut findings = faulty.findings;
        if let Some(readable) = &faulty.readable {
            let beside = self.beside(readable).await?;
            findings.extend(beside.faults);
            findings.extend(beside.taken);
        }
        Ok(findings)
    }

    /// Webhooks that another deployment has already.
    async fn taken_paths(
        &self,
        bundle: &Readable,
        before: Option<&DeploymentRecord>,
    ) -> Result<Vec<Finding>, StoreError> {
        let routes = || {
            let triggers = bundle.triggers.iter();
            triggers.filter_map(|(at, trigger)| Some((at, trigger.route.as_ref()?)))
        };
        let shapes: Vec<String> = routes().map(|(_, route)| route.shape.clone()).collect();
        if shapes.is_empty() {
            return Ok(Vec::new());
        }
        let holders = self.store.webhooks(&shapes).await?;
        let mut findings = Vec::new();
        for (at, route) in routes() {
            let taken = holders.iter().find(|holder| {
                holder.shape == route.shape
                    && route.methods.contains(&holder.method)
                    && before.is_none_or(|before| before.id != holder.deployment_id)
            });
            if let Some(holder) = taken {
                let message = format!(
                    "`{}` ({}) is taken by deployment {}",
                    route.path, holder.method, holder.deployment_id
                );
                findings.push(finding(&format!("/triggers/{at}/path"), &message));
            }
        }
        Ok(findings)
    }
}
