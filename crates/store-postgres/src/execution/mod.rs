//! Executions: one file for each thing that is done with them.

mod admit;
mod admit_sql;
mod answer;
mod cancel;
mod checkpoint;
mod claim;
mod commit;
mod end;
mod events;
mod fair;
mod kept;
mod limited;
mod list;
mod listen;
mod lock;
mod maintain;
mod overdue;
mod plain;
mod read;
mod slots;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millrace_store::{
    AnswerKey, CancelRequest, CancelRequested, Claimed, EventRecord, ExecutionFilter,
    ExecutionRecord, ExecutionStore, Overdue, Page, PageRequest, QueuePlace, StoreError, Write,
    WriteDone, WriteRefused,
};
use millrace_types::{ExecutionId, IncarnationId};

use crate::PostgresStore;

pub(crate) use commit::admit_one;

/// What one write of a batch came to.
pub(crate) type Outcome = Result<WriteDone, WriteRefused>;

#[async_trait]
impl ExecutionStore for PostgresStore {
    async fn commit(&self, writes: &[Write]) -> Result<Vec<Outcome>, StoreError> {
        self.bounded(commit::commit(self, writes)).await
    }

    async fn claim(&self, owner: IncarnationId, limit: u32) -> Result<Vec<Claimed>, StoreError> {
        self.bounded(claim::claim(self, owner, limit)).await
    }

    async fn seize_overdue(
        &self,
        by: IncarnationId,
        limit: u32,
    ) -> Result<Vec<Overdue>, StoreError> {
        self.bounded(overdue::seize(self, by, limit)).await
    }

    async fn next_due(&self) -> Result<Option<Duration>, StoreError> {
        self.bounded(claim::next_due(self)).await
    }

    async fn release(
        &self,
        id: ExecutionId,
        owner: IncarnationId,
        epoch: u64,
    ) -> Result<bool, StoreError> {
        self.bounded(claim::release(self, id, owner, epoch)).await
    }

    async fn back_off(
        &self,
        id: ExecutionId,
        owner: IncarnationId,
        epoch: u64,
    ) -> Result<bool, StoreError> {
        self.bounded(claim::back_off(self, id, owner, epoch)).await
    }

    async fn fill_slots(
        &self,
        after: Option<&QueuePlace>,
    ) -> Result<(u64, Option<QueuePlace>), StoreError> {
        self.bounded(slots::fill_all(self, after)).await
    }

    async fn owned(&self, owner: IncarnationId) -> Result<Vec<(ExecutionId, u64)>, StoreError> {
        self.bounded(claim::owned(self, owner)).await
    }

    async fn request_cancel(
        &self,
        id: ExecutionId,
        by: IncarnationId,
        reason: &str,
    ) -> Result<Option<CancelRequested>, StoreError> {
        self.bounded(cancel::request(self, id, by, reason)).await
    }

    async fn cancel_requests(
        &self,
        owner: IncarnationId,
    ) -> Result<Vec<CancelRequest>, StoreError> {
        self.bounded(cancel::requests(self, owner)).await
    }

    async fn first_answer(
        &self,
        key: &AnswerKey,
        made: Option<Bytes>,
    ) -> Result<Option<Bytes>, StoreError> {
        self.bounded(answer::first(self, key, made)).await
    }

    async fn keeps_frames(&self, id: ExecutionId) -> Result<bool, StoreError> {
        self.bounded(kept::keeps(self, id)).await
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, StoreError> {
        self.bounded(async {
            let found = read::find(self, id).await?;
            found.map(|(row, _)| row.record()).transpose()
        })
        .await
    }

    async fn list_executions(
        &self,
        filter: &ExecutionFilter,
        page: &PageRequest,
    ) -> Result<Page<ExecutionRecord>, StoreError> {
        self.bounded(list::list(self, filter, page)).await
    }

    async fn execution_events(
        &self,
        id: ExecutionId,
        page: &PageRequest,
    ) -> Result<Option<Page<EventRecord>>, StoreError> {
        self.bounded(events::page(self, id, page)).await
    }

    async fn maintain(&self) -> Result<bool, StoreError> {
        maintain::maintain(self).await
    }
}
