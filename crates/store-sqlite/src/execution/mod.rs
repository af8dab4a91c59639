//! The contract for executions.

mod answer;
pub mod events;
mod list;
pub(crate) mod show;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millrace_store::{
    AnswerKey, CancelRequest, CancelRequested, Claimed, EventRecord, ExecutionFilter,
    ExecutionRecord, ExecutionStore, Overdue, Page, PageRequest, QueuePlace, StoreError, Write,
    WriteDone, WriteRefused,
};
use millrace_types::{ExecutionId, IncarnationId};

use crate::SqliteStore;

#[async_trait]
impl ExecutionStore for SqliteStore {
    async fn commit(
        &self,
        writes: &[Write],
    ) -> Result<Vec<Result<WriteDone, WriteRefused>>, StoreError> {
        self.commit_writes(writes).await
    }

    async fn claim(&self, owner: IncarnationId, limit: u32) -> Result<Vec<Claimed>, StoreError> {
        self.claim_due(owner, limit).await
    }

    async fn seize_overdue(
        &self,
        by: IncarnationId,
        limit: u32,
    ) -> Result<Vec<Overdue>, StoreError> {
        self.seize_past_deadline(by, limit).await
    }

    async fn next_due(&self) -> Result<Option<Duration>, StoreError> {
        self.until_next_due().await
    }

    async fn release(
        &self,
        id: ExecutionId,
        owner: IncarnationId,
        epoch: u64,
    ) -> Result<bool, StoreError> {
        self.give_back(id, owner, epoch).await
    }

    async fn back_off(
        &self,
        id: ExecutionId,
        owner: IncarnationId,
        epoch: u64,
    ) -> Result<bool, StoreError> {
        self.give_back_for_later(id, owner, epoch).await
    }

    async fn fill_slots(
        &self,
        after: Option<&QueuePlace>,
    ) -> Result<(u64, Option<QueuePlace>), StoreError> {
        self.fill_queues(after).await
    }

    async fn owned(&self, owner: IncarnationId) -> Result<Vec<(ExecutionId, u64)>, StoreError> {
        self.owned_by(owner).await
    }

    async fn request_cancel(
        &self,
        id: ExecutionId,
        by: IncarnationId,
        reason: &str,
    ) -> Result<Option<CancelRequested>, StoreError> {
        self.ask_to_cancel(id, by, reason).await
    }

    async fn cancel_requests(
        &self,
        owner: IncarnationId,
    ) -> Result<Vec<CancelRequest>, StoreError> {
        self.asked_to_cancel(owner).await
    }

    async fn first_answer(
        &self,
        key: &AnswerKey,
        made: Option<Bytes>,
    ) -> Result<Option<Bytes>, StoreError> {
        self.first_answer_of(key, made).await
    }

    async fn keeps_frames(&self, id: ExecutionId) -> Result<bool, StoreError> {
        self.has_kept_frames(id).await
    }

    async fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, StoreError> {
        self.show_execution(id).await
    }

    async fn list_executions(
        &self,
        filter: &ExecutionFilter,
        page: &PageRequest,
    ) -> Result<Page<ExecutionRecord>, StoreError> {
        self.executions_page(filter, page).await
    }

    async fn execution_events(
        &self,
        id: ExecutionId,
        page: &PageRequest,
    ) -> Result<Option<Page<EventRecord>>, StoreError> {
        self.events_page(id, page).await
    }

    async fn maintain(&self) -> Result<bool, StoreError> {
        self.maintain_step().await
    }
}
