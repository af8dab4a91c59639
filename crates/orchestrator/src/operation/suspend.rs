//! Stopping all services for as long as this process is away.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use millrace_types::{ProjectId, WorkloadId};

use crate::WorkloadOrchestrator;
use crate::workload::{Handle, Wish};

/// How long it may take to learn what depends on what: services stop also
/// where the database or the disk does not answer.
const ORDER: Duration = Duration::from_secs(5);

impl WorkloadOrchestrator {
    /// Stops every service for as long as this process is away, those of a
    /// project in the order of a stop; what is wanted of them stays, so that
    /// the next start starts them again.
    pub async fn suspend_all(&self) {
        let mut projects: HashMap<ProjectId, HashMap<WorkloadId, Handle>> = HashMap::new();
        for (id, handle) in self.shared.handles().iter() {
            let project = handle.view.borrow().record.project_id;
            let handles = projects.entry(project).or_default();
            handles.insert(*id, handle.clone());
        }
        let projects = projects.into_iter();
        join_all(projects.map(|(id, handles)| self.suspend_project(id, handles))).await;
    }

    async fn suspend_project(&self, id: ProjectId, mut handles: HashMap<WorkloadId, Handle>) {
        let order = match tokio::time::timeout(ORDER, self.stop_order(id)).await {
            Ok(Ok(order)) => order,
            Ok(Err(error)) => {
                tracing::warn!(%error, "services of a project stop all at once: {error}");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        for step in order {
            let handles = step.iter().filter_map(|id| handles.remove(id));
            join_all(handles.map(suspend)).await;
        }
        // What nobody knows of what depends on it.
        join_all(handles.into_values().map(suspend)).await;
    }
}

async fn suspend(mut handle: Handle) {
    if let Some(number) = handle.wish(Wish::Suspend).await {
        // An error means that its task has ended.
        let _ = handle.view.wait_for(|view| view.settled >= number).await;
    }
}
