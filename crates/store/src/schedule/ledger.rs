//! How a decision, and a part of a backfill, are carried out: written once,
//! over the few steps that each database takes in its own way.

use async_trait::async_trait;
use millrace_types::{ExecutionId, Timestamp, TriggerId};

use super::backfill::{BackfillPart, Progress};
use super::judge::{Judged, Standing};
use super::{Decision, FireRecord, Overlap, Verdict};
use crate::{Admission, StoreError, WriteDone, WriteRefused};

/// The ledger of one schedule, within the transaction that has its row locked.
#[async_trait]
pub trait Ledger: Send {
    /// A live run of the schedule, the oldest.
    async fn a_run(&mut self, trigger: TriggerId) -> Result<Option<ExecutionId>, StoreError>;

    /// Asks every live run of the schedule to end. One that nobody owns is due
    /// at once, so that whoever claims it ends it.
    async fn cancel_runs(&mut self, trigger: TriggerId, reason: &str) -> Result<(), StoreError>;

    async fn admit(
        &mut self,
        admission: &Admission,
    ) -> Result<Result<WriteDone, WriteRefused>, StoreError>;

    /// The row that holds this occurrence, by first and last nominal time.
    async fn row_of(
        &mut self,
        trigger: TriggerId,
        nominal_at: Timestamp,
    ) -> Result<Option<(Timestamp, Timestamp)>, StoreError>;

    async fn enter(&mut self, fire: &FireRecord) -> Result<(), StoreError>;

    /// Changes the row of an occurrence that waited. `false` when retention
    /// has taken it.
    async fn settle(&mut self, fire: &FireRecord) -> Result<bool, StoreError>;

    /// The rows that begin after `since` and before `nominal_at`, newest first.
    async fn before(
        &mut self,
        trigger: TriggerId,
        nominal_at: Timestamp,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<FireRecord>, StoreError>;

    /// Removes the rows from the first to the last of these nominal times.
    async fn take_out(
        &mut self,
        trigger: TriggerId,
        row: (Timestamp, Timestamp),
    ) -> Result<(), StoreError>;
}

impl Standing {
    /// Carries a decision out, all but the advance of the schedule's own row;
    /// answers what became of each occurrence, and how far it got.
    pub async fn decide<L: Ledger>(
        &mut self,
        ledger: &mut L,
        decision: &Decision,
    ) -> Result<(Vec<FireRecord>, Progress), StoreError> {
        if self.asks_for_runs(decision) {
            self.run = ledger.a_run(self.trigger_id).await?;
        }
        let mut fires = Vec::with_capacity(decision.occurrences.len());
        let earliest = self.now.saturating_add(decision.pause);
        let mut made_up = false;
        if let Some(turn) = self.turn(ExecutionId::new()) {
            made_up = turn.after.is_none();
            let fire = if made_up {
                self.start_late(ledger, turn.fire, &turn.admission).await?
            } else {
                self.start(ledger, turn.fire, turn.after, &turn.admission)
                    .await?
            };
            if !ledger.settle(&fire).await? {
                ledger.enter(&fire).await?;
            }
            fires.push(fire);
        }
        for occurrence in &decision.occurrences {
            let nominal_at = occurrence.nominal_at;
            let entered = ledger.row_of(self.trigger_id, nominal_at).await?;
            if entered.is_some() {
                continue;
            }
            let fire = match self.judge(decision.overlap, occurrence) {
                Judged::Enter(fire) | Judged::Wait(fire) => fire,
                Judged::Start(fire, admission)
                    if matches!(occurrence.verdict, Verdict::MakeUp { .. }) =>
                {
                    made_up = true;
                    self.start_late(ledger, fire, &admission).await?
                }
                Judged::Start(fire, admission) => {
                    self.start(ledger, fire, occurrence.after, &admission)
                        .await?
                }
                Judged::Hold => {
                    let mut progress = self.waits(nominal_at, decision);
                    if made_up {
                        progress.due_at = progress.due_at.max(Some(earliest));
                    }
                    return Ok((fires, progress));
                }
                Judged::Supersede {
                    reason,
                    replaced,
                    fire,
                } => {
                    ledger.cancel_runs(self.trigger_id, &reason).await?;
                    if let Some(replaced) = replaced {
                        let row = (replaced.nominal_at, replaced.until_at);
                        ledger.take_out(self.trigger_id, row).await?;
                        self.enter(ledger, &replaced).await?;
                        fires.push(replaced);
                    }
                    fire
                }
            };
            self.enter(ledger, &fire).await?;
            fires.push(fire);
        }
        let due_at = self.due_at(decision.due_at);
        let progress = Progress {
            position: decision.decided_to,
            due_at: due_at.map(|at| if made_up { at.max(earliest) } else { at }),
        };
        Ok((fires, progress))
    }

    /// Carries a part of a backfill out; answers the rows entered, and how far
    /// it got.
    pub async fn carry_on<L: Ledger>(
        &mut self,
        ledger: &mut L,
        part: &BackfillPart,
    ) -> Result<(Vec<FireRecord>, Progress), StoreError> {
        if part.overlap != Overlap::Allow {
            self.run = ledger.a_run(self.trigger_id).await?;
        }
        let mut fires = Vec::with_capacity(part.starts.len());
        for start in &part.starts {
            if self.holds_back(part.overlap) {
                return Ok((fires, self.held_back(start)));
            }
            // It may have grown by a decision since the part was made.
            let row = ledger.row_of(self.trigger_id, start.nominal_at).await?;
            if row != start.instead_of {
                return Ok((fires, Progress::before(start, self.now)));
            }
            let admitted = ledger.admit(&self.backfill(start)).await?;
            let Some(fire) = self.backfilled(start, &admitted) else {
                return Ok((fires, self.held_back(start)));
            };
            if let Some(row) = start.instead_of {
                ledger.take_out(self.trigger_id, row).await?;
            }
            for rest in &start.remains {
                ledger.enter(rest).await?;
            }
            ledger.enter(&fire).await?;
            fires.push(fire);
        }
        let progress = Progress {
            position: part.position,
            due_at: part.due_at,
        };
        Ok((fires, progress))
    }

    async fn start<L: Ledger>(
        &mut self,
        ledger: &mut L,
        fire: FireRecord,
        after: Option<Timestamp>,
        admission: &Admission,
    ) -> Result<FireRecord, StoreError> {
        let admitted = ledger.admit(admission).await?;
        Ok(self.started(fire, after, admission.id, &admitted))
    }

    /// Starts what is made up for.
    async fn start_late<L: Ledger>(
        &mut self,
        ledger: &mut L,
        fire: FireRecord,
        admission: &Admission,
    ) -> Result<FireRecord, StoreError> {
        let admitted = ledger.admit(admission).await?;
        Ok(self.made_up(fire, admission.id, &admitted))
    }
}
