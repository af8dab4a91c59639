//! Logs into which nothing is written any more grow old as well.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millrace_shim::log::{Appender, HEAD, Keep};
use millrace_types::{ProjectId, WorkloadId};

use crate::orchestrator::Shared;
use crate::project::find_service;
use crate::workload::keep_of;

/// Between two looks at all logs. What is written into looks at itself.
const LOOK: Duration = Duration::from_hours(1);

/// Deletes what is older than services say, without an end.
pub(crate) async fn expire(shared: Arc<Shared>) {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        expire_all(&shared).await;
    }
}

async fn expire_all(shared: &Arc<Shared>) {
    let workloads: Vec<(WorkloadId, ProjectId, String)> = shared
        .handles()
        .iter()
        .map(|(id, handle)| {
            let view = handle.view.borrow();
            (*id, view.record.project_id, view.record.service.clone())
        })
        .collect();
    let mut projects: HashMap<ProjectId, Option<PathBuf>> = HashMap::new();
    for (id, project, service) in workloads {
        if let std::collections::hash_map::Entry::Vacant(entry) = projects.entry(project) {
            let record = shared.store.project(project).await.ok().flatten();
            entry.insert(record.and_then(|record| shared.project_dir(&record).ok()));
        }
        // What a service wants of which nothing can be read is not known.
        let Some(project) = projects[&project].clone() else {
            continue;
        };
        let log = shared.log_dir(id);
        let done = tokio::task::spawn_blocking(move || {
            let Ok(found) = find_service(&project, &service) else {
                return Ok(());
            };
            found
                .spec
                .map_or(Ok(()), |spec| expire_one(&log, keep_of(&spec)))
        });
        if let Ok(Err(error)) = done.await {
            tracing::warn!(%error, workload = %id, "a log cannot be looked through: {error}");
        }
    }
}

fn expire_one(log: &Path, keep: Keep) -> io::Result<()> {
    // Not to be made by this.
    if !log.join(HEAD).is_file() {
        return Ok(());
    }
    Appender::open(log, keep, false)?.expire()
}
