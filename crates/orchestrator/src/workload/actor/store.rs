//! What is stored of a workload, and seen of it after that.

use std::collections::VecDeque;
use std::sync::Arc;

use millrace_shim::record::Stage;
use millrace_store::workload::KEPT_INSTANCES;
use millrace_store::{InstanceRecord, Saved, WorkloadRecord, WorkloadSave};
use millrace_types::WorkloadStage;
use tokio::sync::oneshot;

use super::Actor;
use crate::logs;

/// A transition that is being stored, and what is shown once it is.
#[derive(Debug)]
pub(super) struct UnderWay {
    record: WorkloadRecord,
    /// The instance whose end is stored with it.
    ended: Option<InstanceRecord>,
    answer: oneshot::Receiver<Saved>,
}

/// Resolves when the first of them has been stored or refused; `None` when
/// that will not be known, since this process is at its end. Can be dropped at
/// any time, and loses nothing.
pub(super) async fn first_stored(under_way: &mut VecDeque<UnderWay>) -> Option<Saved> {
    match under_way.front_mut() {
        Some(first) => (&mut first.answer).await.ok(),
        None => std::future::pending().await,
    }
}

impl Actor {
    pub(in crate::workload) fn set_stage(&mut self, stage: WorkloadStage) {
        let state = &mut self.record.state;
        if state.stage != stage && !state.stage.may_become(stage) {
            tracing::error!(workload = %self.record.id, "{} → {stage} is no transition", state.stage);
        }
        state.stage = stage;
    }

    pub(in crate::workload) async fn enter(&mut self, stage: WorkloadStage) {
        self.set_stage(stage);
        self.save(Vec::new()).await;
    }

    /// Goes on to this stage while that is being stored; only then can it be
    /// seen. What is done before the next [`Actor::save`], which waits for it,
    /// must be of no consequence should this process die.
    pub(in crate::workload) async fn pass(&mut self, stage: WorkloadStage) {
        self.pass_with(stage, None).await;
    }

    /// The same with the end of an instance, which is forgotten once it is
    /// stored.
    pub(super) async fn pass_with(&mut self, stage: WorkloadStage, ended: Option<InstanceRecord>) {
        self.set_stage(stage);
        let save = WorkloadSave {
            id: self.record.id,
            revision: self.record.revision,
            state: self.record.state.clone(),
            instances: ended.iter().cloned().collect(),
        };
        let Some(answer) = self.shared.saver.begin(save).await else {
            // This process is at its end, and so is this task.
            return std::future::pending().await;
        };
        // As it will be. Where somebody else has written, this one is refused,
        // and all that build on it; the next save then finds out.
        self.record.revision += 1;
        let record = self.record.clone();
        self.under_way.push_back(UnderWay {
            record,
            ended,
            answer,
        });
    }

    /// Waits until all transitions that are under way have been stored.
    pub(in crate::workload) async fn all_passed(&mut self) {
        while !self.under_way.is_empty() {
            let saved = first_stored(&mut self.under_way).await;
            self.passed(saved);
        }
    }

    /// What came of the first transition that is under way.
    pub(super) fn passed(&mut self, saved: Option<Saved>) {
        let Some(first) = self.under_way.pop_front() else {
            return;
        };
        let Some(Saved::Done { at, .. }) = saved else {
            // The next save takes it along.
            self.ends.extend(first.ended);
            return;
        };
        self.record.updated_at = at;
        self.remember(first.ended.iter().cloned().collect());
        self.publish(WorkloadRecord {
            updated_at: at,
            ..first.record
        });
        if let Some(ended) = first.ended {
            self.forget(&ended);
        }
    }

    /// Stores what has changed; only then can it be seen. It is entered at
    /// once, behind the transitions that are under way, which it builds on: all
    /// of them can share a transaction.
    pub(in crate::workload) async fn save(&mut self, instances: Vec<InstanceRecord>) -> Saved {
        for _ in 0..3 {
            let ends = std::mem::take(&mut self.ends);
            let all = [&ends[..], &instances].concat();
            let save = WorkloadSave {
                id: self.record.id,
                revision: self.record.revision,
                state: self.record.state.clone(),
                instances: all.clone(),
            };
            let entered = self.shared.saver.begin_now(save).await;
            // Those come first, and are shown first.
            self.all_passed().await;
            let saved = match entered {
                Some(answer) => answer.await.ok(),
                None => None,
            };
            if !matches!(saved, Some(Saved::Done { .. })) {
                // The next save takes them along.
                self.ends.extend(ends.iter().cloned());
            }
            match saved {
                // This process is at its end, and so is this task.
                None => std::future::pending().await,
                Some(saved @ Saved::Done { revision, at }) => {
                    self.record.revision = revision;
                    self.record.updated_at = at;
                    self.remember(all);
                    self.publish(self.record.clone());
                    for ended in &ends {
                        self.forget(ended);
                    }
                    return saved;
                }
                Some(Saved::PortTaken) => return Saved::PortTaken,
                Some(Saved::Stale) => match self.shared.store.workload(self.record.id).await {
                    Ok(Some(record)) => {
                        // Of a write whose answer was lost it is its own.
                        if record.state != self.record.state {
                            let node = &self.shared.config.node_id;
                            tracing::warn!(
                                workload = %self.record.id,
                                "somebody else has written this workload: is there another \
                                 orchestrator that is named {node}?"
                            );
                        }
                        self.record.revision = record.revision;
                    }
                    Ok(None) => {
                        self.gone = true;
                        return Saved::Stale;
                    }
                    Err(error) => tracing::warn!(%error, "a workload cannot be read again"),
                },
            }
        }
        tracing::error!(workload = %self.record.id, "a transition could not be stored");
        Saved::Stale
    }

    fn remember(&mut self, instances: Vec<InstanceRecord>) {
        for instance in instances {
            match self
                .instances
                .iter_mut()
                .find(|known| known.id == instance.id)
            {
                Some(known) => *known = instance,
                None => self.instances.push(instance),
            }
        }
        let ended = self
            .instances
            .iter()
            .filter(|i| i.ended_at.is_some())
            .count();
        let mut surplus = ended.saturating_sub(KEPT_INSTANCES as usize);
        self.instances.retain(|instance| {
            let drop = surplus > 0 && instance.ended_at.is_some();
            surplus -= usize::from(drop);
            !drop
        });
    }

    /// Shows what is stored.
    pub(super) fn publish(&self, record: WorkloadRecord) {
        self.view.send_modify(|view| {
            view.record = record;
            view.instances.clone_from(&self.instances);
            view.deleted = self.gone;
        });
        let view = Arc::new(self.view.borrow().clone());
        // Nobody has to watch.
        let _ = self.shared.changes.send(view);
    }

    /// All that was wanted has come to its end.
    pub(in crate::workload) fn settle(&mut self) {
        let wishes = self.wishes;
        let gone = self.gone;
        let changed = self.view.send_if_modified(|view| {
            let changed = view.settled != wishes || view.deleted != gone;
            view.settled = wishes;
            view.deleted = gone;
            changed
        });
        if changed && gone {
            let view = Arc::new(self.view.borrow().clone());
            let _ = self.shared.changes.send(view);
        }
    }

    /// A line of Millrace's own in the workload's log.
    pub(in crate::workload) async fn say(&self, stage: Stage, line: String) {
        let directory = self.shared.log_dir(self.record.id);
        logs::say(&directory, self.keep, stage, line).await;
    }
}
