//! Starting and stopping all services of a project, in the order in which
//! they depend on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use millrace_service::OnFailure;
use millrace_store::PageRequest;
use millrace_types::{ErrorKind, ProjectId, WorkloadId, WorkloadStage};
use tokio::sync::oneshot;

use super::{Kind, Outcome, ProjectError, WorkloadError};
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

/// Services in steps: each depends only on those of steps before. Besides,
/// those that are in a circle, or depend on one.
fn steps(mut services: BTreeMap<String, Vec<String>>) -> (Vec<Vec<String>>, Vec<String>) {
    let mut steps = Vec::new();
    let mut done = BTreeSet::new();
    loop {
        let step: Vec<String> = services
            .iter()
            .filter(|(_, on)| on.iter().all(|on| done.contains(on)))
            .map(|(name, _)| name.clone())
            .collect();
        if step.is_empty() {
            return (steps, services.into_keys().collect());
        }
        services.retain(|name, _| !step.contains(name));
        done.extend(step.iter().cloned());
        steps.push(step);
    }
}

/// In which they are started, as long as that can be.
fn start_steps(
    services: BTreeMap<String, Vec<String>>,
) -> Result<Vec<Vec<String>>, StartProjectError> {
    for (service, depends_on) in &services {
        if let Some(on) = depends_on.iter().find(|on| !services.contains_key(*on)) {
            return Err(StartProjectError::Unknown {
                service: service.clone(),
                on: on.clone(),
            });
        }
    }
    match steps(services) {
        (steps, circle) if circle.is_empty() => Ok(steps),
        (_, circle) => Err(StartProjectError::Circle(circle.join(", "))),
    }
}

/// In which they are stopped: each before those that it depends on, as far as
/// that can be.
fn stop_steps(mut services: BTreeMap<String, Vec<String>>) -> Vec<Vec<String>> {
    let known: BTreeSet<String> = services.keys().cloned().collect();
    for depends_on in services.values_mut() {
        depends_on.retain(|on| known.contains(on));
    }
    let (mut steps, circle) = steps(services);
    if !circle.is_empty() {
        steps.push(circle);
    }
    steps.reverse();
    steps
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
        let order = if wish == Wish::Start {
            self.start_order(id).await?
        } else {
            self.stop_order(id).await?
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
            match self.workload(id).await {
                Ok(view) => views.push(view),
                // It was deleted meanwhile.
                Err(WorkloadError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(views)
    }

    async fn wish_in_order(&self, order: Vec<Vec<WorkloadId>>, wish: Wish) {
        for step in order {
            let wishes = step.into_iter().map(|id| self.wish(id, wish, STEP));
            let outcomes = join_all(wishes).await;
            if wish == Wish::Stop {
                // Whatever becomes of one, the others are to stop.
                for error in outcomes.into_iter().filter_map(Result::err) {
                    tracing::warn!(%error, "a service of a project is not stopped: {error}");
                }
                continue;
            }
            let runs =
                |outcome: &Outcome| outcome.view.record.state.stage == WorkloadStage::Running;
            if !outcomes.iter().all(|one| one.as_ref().is_ok_and(runs)) {
                tracing::warn!("what depends on a service that does not run is not started");
                return;
            }
        }
    }

    /// The workloads of a project's services; those that are missing are made.
    async fn start_order(&self, id: ProjectId) -> Result<Vec<Vec<WorkloadId>>, StartProjectError> {
        let mut services = BTreeMap::new();
        for found in self.services(id).await? {
            let spec = found.spec.map_err(|findings| StartProjectError::Invalid {
                service: found.name.clone(),
                first: findings.first().map_or(String::new(), |f| {
                    format!("line {}, {}: {}", f.line, f.pointer, f.message)
                }),
            })?;
            services.insert(found.name, spec.depends_on);
        }
        let steps = start_steps(services)?;
        let lengths: Vec<usize> = steps.iter().map(Vec::len).collect();
        let all = steps.into_iter().flatten().collect();
        let mut ids = self.ensure_workloads(id, all).await?.into_iter();
        Ok(lengths
            .into_iter()
            .map(|length| ids.by_ref().take(length).collect())
            .collect())
    }

    /// All workloads of a project, whatever has become of its folder: that
    /// only says which depends on which.
    pub(super) async fn stop_order(
        &self,
        id: ProjectId,
    ) -> Result<Vec<Vec<WorkloadId>>, StartProjectError> {
        let project = self.project(id).await?;
        let mut workloads = BTreeMap::new();
        let mut page = PageRequest {
            cursor: None,
            limit: 500,
        };
        loop {
            let found = self.workloads(Some(id), &page).await?;
            let found_here = found.items.into_iter().map(|view| view.record);
            workloads.extend(found_here.map(|record| (record.service, record.id)));
            page.cursor = found.next;
            if page.cursor.is_none() {
                break;
            }
        }
        let names = workloads.keys().cloned();
        let mut services: BTreeMap<String, Vec<String>> =
            names.map(|name| (name, Vec::new())).collect();
        match self.services_there(project).await {
            Ok(there) => {
                for found in there {
                    if let Ok(spec) = found.spec {
                        services.insert(found.name, spec.depends_on);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a project is stopped in no order: {error}");
            }
        }
        let of = |service: String| workloads.get(&service).copied();
        let steps = stop_steps(services).into_iter();
        Ok(steps
            .map(|step| step.into_iter().filter_map(of).collect())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(services: &[(&str, &[&str])]) -> Result<Vec<Vec<String>>, StartProjectError> {
        start_steps(all(services))
    }

    fn all(services: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let text = |s: &&str| (*s).to_owned();
        let services = services
            .iter()
            .map(|(name, on)| (text(name), on.iter().map(text).collect()));
        services.collect()
    }

    #[test]
    fn whatever_depends_on_what_all_are_stopped() {
        let order = stop_steps(all(&[("a", &["b"]), ("b", &["gone"]), ("c", &[])]));
        assert_eq!(order, [vec!["a"], vec!["b", "c"]]);
        let order = stop_steps(all(&[
            ("a", &["b"]),
            ("b", &["a"]),
            ("c", &[]),
            ("d", &["c"]),
        ]));
        assert_eq!(order, [vec!["a", "b"], vec!["d"], vec!["c"]]);
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
