//! Starting and stopping all services of a project, in the order in which
//! they depend on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use millrace_service::OnFailure;
use millrace_types::{ErrorKind, ProjectId, WorkloadId, WorkloadStage};
use tokio::sync::oneshot;

use super::{Kind, ProjectError, WorkloadError};
use crate::WorkloadOrchestrator;
use crate::workload::{View, Wish};

/// How long the services of one step may take before the next step is given up.
const STEP: Duration = Duration::from_mins(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartProjectError {
    #[error("service {service} has mistakes in its service.json: {first}")]
    Invalid { service: String, first: String },
    #[error("service {service} depends on {on}, which does not exist")]
    Unknown { service: String, on: String },
    #[error("these services depend on each other in a circle: {0}")]
    Circle(String),
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

impl Kind for StartProjectError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::Unknown { .. } | Self::Circle(_) => {
                ErrorKind::Precondition
            }
            Self::Project(error) => error.kind(),
            Self::Workload(error) => error.kind(),
        }
    }
}

/// Services in steps: each depends only on those of steps before.
fn steps(
    mut services: BTreeMap<String, Vec<String>>,
) -> Result<Vec<Vec<String>>, StartProjectError> {
    for (service, depends_on) in &services {
        if let Some(on) = depends_on.iter().find(|on| !services.contains_key(*on)) {
            return Err(StartProjectError::Unknown {
                service: service.clone(),
                on: on.clone(),
            });
        }
    }
    let mut steps = Vec::new();
    let mut done = BTreeSet::new();
    while !services.is_empty() {
        let step: Vec<String> = services
            .iter()
            .filter(|(_, on)| on.iter().all(|on| done.contains(on)))
            .map(|(name, _)| name.clone())
            .collect();
        if step.is_empty() {
            let circle: Vec<String> = services.into_keys().collect();
            return Err(StartProjectError::Circle(circle.join(", ")));
        }
        services.retain(|name, _| !step.contains(name));
        done.extend(step.iter().cloned());
        steps.push(step);
    }
    Ok(steps)
}

impl WorkloadOrchestrator {
    /// Starts (or stops) them; waits at most that long, and goes on without
    /// its caller. Answers the workloads as they are then.
    pub(crate) async fn wish_project(
        &self,
        id: ProjectId,
        wish: Wish,
        wait: Duration,
    ) -> Result<Vec<View>, StartProjectError> {
        let order = self.order(id, wish == Wish::Start).await?;
        let order = if wish == Wish::Start {
            order
        } else {
            order.into_iter().rev().collect()
        };
        let all: Vec<WorkloadId> = order.iter().flatten().copied().collect();
        let (done, finished) = oneshot::channel::<()>();
        let orchestrator = self.clone();
        self.shared
            .tasks
            .spawn("project", OnFailure::Log, move |stop| async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = orchestrator.wish_in_order(order, wish) => {}
                }
                drop(done);
                Ok::<(), std::convert::Infallible>(())
            });
        let _ = tokio::time::timeout(wait, finished).await;
        let mut views = Vec::with_capacity(all.len());
        for id in all {
            views.push(self.workload(id).await?);
        }
        Ok(views)
    }

    async fn wish_in_order(&self, order: Vec<Vec<WorkloadId>>, wish: Wish) {
        for step in order {
            let wishes = step.into_iter().map(|id| self.wish(id, wish, STEP));
            let outcomes = join_all(wishes).await;
            let fine = outcomes.iter().all(|outcome| {
                outcome.as_ref().is_ok_and(|outcome| {
                    let stage = outcome.view.record.state.stage;
                    wish == Wish::Stop || stage == WorkloadStage::Running
                })
            });
            if !fine {
                tracing::warn!("what depends on a service that does not run is not started");
                return;
            }
        }
    }

    /// The workloads of a project in steps; with `make`, those that are
    /// missing are made.
    pub(super) async fn order(
        &self,
        id: ProjectId,
        make: bool,
    ) -> Result<Vec<Vec<WorkloadId>>, StartProjectError> {
        let mut services = BTreeMap::new();
        let all = if make {
            self.services(id).await?
        } else {
            // Nothing has to be fetched for a stop.
            self.services_there(self.project(id).await?).await?
        };
        for found in all {
            match found.spec {
                Ok(spec) => {
                    services.insert(found.name, spec.depends_on);
                }
                Err(findings) if make => {
                    return Err(StartProjectError::Invalid {
                        service: found.name,
                        first: findings.first().map_or(String::new(), |f| {
                            format!("line {}, {}: {}", f.line, f.pointer, f.message)
                        }),
                    });
                }
                Err(_) => {
                    services.insert(found.name, Vec::new());
                }
            }
        }
        let mut order = Vec::new();
        for step in steps(services)? {
            let mut ids = Vec::with_capacity(step.len());
            for service in step {
                let found = self.shared.store.workload_of(id, &service).await;
                match found.map_err(WorkloadError::from)? {
                    Some(record) => ids.push(record.id),
                    None if make => match self.create_workload(id, &service).await {
                        Ok(view) => ids.push(view.record.id),
                        Err(WorkloadError::Exists(id)) => ids.push(id),
                        Err(error) => return Err(error.into()),
                    },
                    None => {}
                }
            }
            order.push(ids);
        }
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(services: &[(&str, &[&str])]) -> Result<Vec<Vec<String>>, StartProjectError> {
        let text = |s: &&str| (*s).to_owned();
        let services = services
            .iter()
            .map(|(name, on)| (text(name), on.iter().map(text).collect()));
        steps(services.collect())
    }

    #[test]
    fn what_is_depended_on_comes_first() {
        let order = of(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]);
        assert_eq!(order.unwrap(), [vec!["d"], vec!["b", "c"], vec!["a"]]);
    }

    #[test]
    fn circles_and_strangers_are_refused() {
        let circle = of(&[("a", &["b"]), ("b", &["a"]), ("c", &[])]).unwrap_err();
        assert!(matches!(circle, StartProjectError::Circle(names) if names == "a, b"));
        let stranger = of(&[("a", &["x"])]).unwrap_err();
        assert!(matches!(stranger, StartProjectError::Unknown { on, .. } if on == "x"));
    }
}
