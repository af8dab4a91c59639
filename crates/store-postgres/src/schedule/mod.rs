//! Schedules and their ledger.

mod backfill;
mod claim;
mod control;
mod decide;
mod fires;
mod ledger;
pub(crate) mod sample;
mod sync;

use std::time::Duration;

use async_trait::async_trait;
use millrace_store::{
    Decision, DriftRecord, DueSchedules, FireFilter, FireRecord, Page, PageRequest, ScheduleRecord,
    ScheduleStore, StoreError,
};
use millrace_types::TriggerId;

pub(crate) use sync::{status_changed, sync};

use crate::PostgresStore;

#[async_trait]
impl ScheduleStore for PostgresStore {
    async fn claim_schedules(
        &self,
        limit: u32,
        hold: Duration,
    ) -> Result<DueSchedules, StoreError> {
        self.bounded(claim::claim(self, limit, hold)).await
    }

    async fn next_schedule_due(&self) -> Result<Option<Duration>, StoreError> {
        self.bounded(claim::next_due(self)).await
    }

    async fn decide(&self, decision: &Decision) -> Result<Option<Vec<FireRecord>>, StoreError> {
        self.bounded(decide::decide(self, decision)).await
    }

    async fn schedule(&self, id: TriggerId) -> Result<Option<ScheduleRecord>, StoreError> {
        self.bounded(claim::find(self, id)).await
    }

    async fn drifting(&self, limit: u32) -> Result<Vec<DriftRecord>, StoreError> {
        self.bounded(fires::drifting(self, limit)).await
    }

    async fn fires(
        &self,
        id: TriggerId,
        filter: &FireFilter,
        page: &PageRequest,
    ) -> Result<Page<FireRecord>, StoreError> {
        self.bounded(fires::page(self, id, filter, page)).await
    }
}
