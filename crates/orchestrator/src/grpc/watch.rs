//! Following the workloads.

use std::collections::HashMap;
use std::sync::Arc;

use millrace_proto::orchestrator::v1 as pb;
use millrace_service::OnFailure;
use millrace_store::PageRequest;
use millrace_types::{ProjectId, WorkloadId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::convert::{self, status};
use super::logs::{internal, stopping};
use super::{Answers, WorkloadOrchestratorRpc};
use crate::operation::WorkloadError;
use crate::workload::View;

/// Changes that wait for a caller who is slow.
const WAITING: usize = 64;

type Sender = mpsc::Sender<Result<pb::WatchWorkloadsResponse, Status>>;

struct Watch {
    rpc: WorkloadOrchestratorRpc,
    project: Option<ProjectId>,
    answers: Sender,
    /// The revision of each workload that the caller knows.
    known: HashMap<WorkloadId, u64>,
}

impl WorkloadOrchestratorRpc {
    pub(super) async fn watch_workloads(
        &self,
        request: pb::WatchWorkloadsRequest,
    ) -> Result<Answers<pb::WatchWorkloadsResponse>, Status> {
        let project = match request.project_id.as_str() {
            "" => None,
            id => Some(convert::id("project", id)?),
        };
        // Before the first look, so that no change falls between the two.
        let changes = self.orchestrator.shared.changes.subscribe();
        let (answers, receiver) = mpsc::channel(WAITING + 1);
        // Kept free for that: also one who is slow is told that there is more
        // to come, when this process stops.
        let last_word = answers.clone().reserve_owned().await.map_err(internal)?;
        let watch = Watch {
            rpc: self.clone(),
            project,
            answers,
            known: HashMap::new(),
        };
        let tasks = &self.orchestrator.shared.streams;
        tasks.spawn("workload-watch", OnFailure::Log, move |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {
                    last_word.send(Err(stopping()));
                }
                () = watch.run(changes) => {}
            }
            Ok::<(), std::convert::Infallible>(())
        });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}

impl Watch {
    async fn run(mut self, mut changes: broadcast::Receiver<Arc<View>>) {
        if !self.look_at_all().await || !self.send(None, false, true).await {
            return;
        }
        loop {
            let change = tokio::select! {
                () = self.answers.closed() => return,
                change = changes.recv() => change,
            };
            let goes_on = match change {
                Ok(view) => self.tell((*view).clone()).await,
                // Some were missed: look at what there is now.
                Err(RecvError::Lagged(_)) => self.look_at_all().await,
                Err(RecvError::Closed) => return,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// `false` when the caller has gone.
    async fn look_at_all(&mut self) -> bool {
        let mut seen = Vec::new();
        let mut page = PageRequest {
            cursor: None,
            limit: 500,
        };
        loop {
            let orchestrator = &self.rpc.orchestrator;
            let found = match orchestrator.workloads(self.project, &page).await {
                Ok(found) => found,
                Err(error) => return self.fail(error).await,
            };
            for view in found.items {
                seen.push(view.record.id);
                if !self.tell(view).await {
                    return false;
                }
            }
            page.cursor = found.next;
            if page.cursor.is_none() {
                break;
            }
        }
        let gone: Vec<WorkloadId> = self
            .known
            .keys()
            .filter(|id| !seen.contains(id))
            .copied()
            .collect();
        for id in gone {
            self.known.remove(&id);
            let workload = pb::Workload {
                workload_id: id.to_string(),
                ..pb::Workload::default()
            };
            if !self.send(Some(workload), true, false).await {
                return false;
            }
        }
        true
    }

    async fn tell(&mut self, view: View) -> bool {
        let record = &view.record;
        if self
            .project
            .is_some_and(|project| project != record.project_id)
        {
            return true;
        }
        let (id, revision, deleted) = (record.id, record.revision, view.deleted);
        let known = self.known.get(&id).copied();
        if deleted {
            self.known.remove(&id);
        } else if known.is_some_and(|known| known >= revision) {
            return true;
        } else {
            self.known.insert(id, revision);
        }
        let workload = self.rpc.show(view);
        self.send(Some(workload), deleted, false).await
    }

    async fn fail(&self, error: WorkloadError) -> bool {
        let _ = self.answers.send(Err(status(error))).await;
        false
    }

    async fn send(&self, workload: Option<pb::Workload>, deleted: bool, current: bool) -> bool {
        let answer = pb::WatchWorkloadsResponse {
            workload,
            deleted,
            current,
        };
        self.answers.send(Ok(answer)).await.is_ok()
    }
}
