//! Occurrences in a row that did not run, for the same kind of reason: one row
//! of the ledger when they are many, however many decisions they came by.

use super::judge::Standing;
use super::ledger::Ledger;
use super::{FireOutcome, FireRecord};
use crate::StoreError;

/// More than this in a row become one row.
const SINGLE: u32 = 100;

/// Why it did not run, in general: what comes after a colon are particulars.
/// `None` for what has to keep a row of its own.
fn kind(fire: &FireRecord) -> Option<(FireOutcome, &str)> {
    let stayed_away = match fire.outcome {
        FireOutcome::Skipped | FireOutcome::Missed | FireOutcome::Paused | FireOutcome::Failed => {
            fire.execution_id.is_none() && !fire.backfilled
        }
        FireOutcome::Fired | FireOutcome::Queued => false,
    };
    let (general, _) = fire.reason.split_once(": ").unwrap_or((&fire.reason, ""));
    stayed_away.then_some((fire.outcome, general))
}

impl Standing {
    /// Enters what became of an occurrence, together with those right before
    /// it that were alike when these are many.
    pub(super) async fn enter<L: Ledger>(
        &self,
        ledger: &mut L,
        fire: &FireRecord,
    ) -> Result<(), StoreError> {
        let Some(joined) = self.joined(ledger, fire).await? else {
            return ledger.enter(fire).await;
        };
        // Rows end before the next one begins.
        let row = (joined.nominal_at, fire.nominal_at);
        ledger.take_out(self.trigger_id, row).await?;
        ledger.enter(&joined).await
    }

    /// The row that this one and those before it make together, if any.
    async fn joined<L: Ledger>(
        &self,
        ledger: &mut L,
        fire: &FireRecord,
    ) -> Result<Option<FireRecord>, StoreError> {
        let Some(alike) = kind(fire) else {
            return Ok(None);
        };
        // Of another trigger's days nothing is taken: this one's occurrences
        // would not be in a row with them.
        let (trigger, at, since) = (self.trigger_id, fire.nominal_at, self.anchor_at);
        let mut rows = ledger.before(trigger, at, since, 1).await?;
        match rows.first() {
            Some(row) if kind(row) == Some(alike) => {
                if row.count <= u64::from(SINGLE) {
                    rows = ledger.before(trigger, at, since, SINGLE).await?;
                }
            }
            _ => return Ok(None),
        }
        let in_a_row = rows.iter().take_while(|row| kind(row) == Some(alike));
        let rows: Vec<_> = in_a_row.collect();
        let count = fire.count + rows.iter().map(|row| row.count).sum::<u64>();
        let Some(first) = rows.last().filter(|_| count > u64::from(SINGLE)) else {
            return Ok(None);
        };
        let same = rows.iter().all(|row| row.reason == fire.reason);
        let reason = if same { fire.reason.as_str() } else { alike.1 };
        Ok(Some(FireRecord {
            nominal_at: first.nominal_at,
            effective_at: first.effective_at,
            count,
            reason: reason.to_owned(),
            ..fire.clone()
        }))
    }
}
