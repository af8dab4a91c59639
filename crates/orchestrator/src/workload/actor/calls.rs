//! What is wanted, said by calls while the task is at work.

use millrace_types::{DesiredState, WorkloadStage};
use tokio::sync::oneshot;

use super::super::{Call, Wish};
use super::store::first_stored;
use super::{Actor, Interrupted};

impl Actor {
    /// Does `work`, and listens to calls meanwhile.
    pub(in crate::workload) async fn attend<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        tokio::pin!(work);
        loop {
            if self.is_moot() {
                return Err(Interrupted);
            }
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                saved = first_stored(&mut self.under_way) => self.passed(saved),
                Some(call) = self.calls.recv() => self.accept(call).await,
            }
        }
    }

    fn is_moot(&self) -> bool {
        self.gone
            || self.leaving.is_some()
            || self.restart.is_some()
            || self.record.state.desired == DesiredState::Stopped
    }

    /// Takes a call, and those that have come with it; answers once what they
    /// want is stored.
    pub(super) async fn accept(&mut self, call: Call) {
        let before = self.record.state.clone();
        let mut answers: Vec<oneshot::Sender<u64>> = Vec::new();
        let mut next = Some(call);
        while let Some((wish, answer)) = next {
            self.wishes += 1;
            self.want(wish);
            answers.push(answer);
            next = self.calls.try_recv().ok();
        }
        if self.record.state != before {
            self.save(Vec::new()).await;
        }
        for answer in answers {
            let _ = answer.send(self.wishes);
        }
    }

    fn want(&mut self, wish: Wish) {
        match wish {
            Wish::Start | Wish::Restart { .. } => {
                self.record.state.desired = DesiredState::Running;
                let runs = self.record.state.stage == WorkloadStage::Running;
                if let Wish::Restart { blue_green } = wish {
                    self.restart = Some(blue_green);
                }
                if !runs || matches!(wish, Wish::Restart { .. }) {
                    self.asked = true;
                    self.restarts.reset();
                    self.record.state.restarts = 0;
                }
                if self.retry_at.is_some() || self.record.state.stage.is_settled() && !runs {
                    self.retry_at = None;
                    self.record.state.next_retry_at = None;
                    self.record.state.error = None;
                    self.set_stage(WorkloadStage::Pending);
                }
            }
            Wish::Stop => {
                self.record.state.desired = DesiredState::Stopped;
                self.record.state.next_retry_at = None;
                self.restart = None;
                self.retry_at = None;
            }
            Wish::Delete | Wish::Suspend => self.leaving = Some(wish),
        }
    }
}
