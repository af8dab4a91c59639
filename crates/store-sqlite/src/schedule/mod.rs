//! Schedules and their ledger.

mod backfill;
mod claim;
mod control;
mod decide;
mod fires;
mod ledger;
mod sample;
mod sync;

use std::time::Duration;

use async_trait::async_trait;
use millrace_store::{
    Decision, DriftRecord, DueSchedules, FireFilter, FireRecord, Page, PageRequest, ScheduleRecord,
    ScheduleStore, StoreError,
};
use millrace_types::TriggerId;

pub use sync::{status_changed, sync};

use crate::SqliteStore;

#[async_trait]
impl ScheduleStore for SqliteStore {
    async fn claim_schedules(
        &self,
        limit: u32,
        hold: Duration,
    ) -> Result<DueSchedules, StoreError> {
        self.due_schedules(limit, hold).await
    }

    async fn next_schedule_due(&self) -> Result<Option<Duration>, StoreError> {
        self.until_next_schedule().await
    }

    async fn decide(&self, decision: &Decision) -> Result<Option<Vec<FireRecord>>, StoreError> {
        self.decide_schedule(decision).await
    }

    async fn schedule(&self, id: TriggerId) -> Result<Option<ScheduleRecord>, StoreError> {
        self.one_schedule(id).await
    }

    async fn drifting(&self, limit: u32) -> Result<Vec<DriftRecord>, StoreError> {
        self.drifting_schedules(limit).await
    }

    async fn fires(
        &self,
        id: TriggerId,
        filter: &FireFilter,
        page: &PageRequest,
    ) -> Result<Page<FireRecord>, StoreError> {
        self.fires_page(id, filter, page).await
    }
}
