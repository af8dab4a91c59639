//! What became of a schedule's occurrences.

use millrace_proto::Failure;
use millrace_store::{FireFilter, FireRecord, Page, PageRequest, StoreError};
use millrace_types::{ErrorKind, TriggerId};

use super::CronScheduler;

/// A part of a ledger.
pub(crate) type Ledger = Page<FireRecord>;

/// Why there is no ledger to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FiresError {
    #[error("there is no schedule {0}, and none of its fires is kept")]
    Unknown(TriggerId),
    #[error("the cursor is none of this list")]
    Cursor,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FiresError> for Failure {
    fn from(error: FiresError) -> Self {
        match error {
            FiresError::Unknown(_) => Self::new(ErrorKind::NotFound, error.to_string()),
            FiresError::Cursor => crate::grpc::convert::invalid("cursor", error),
            FiresError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

impl CronScheduler {
    /// Newest first. The ledger of a schedule that is gone stays to be read
    /// until retention takes it.
    pub(crate) async fn fires(
        &self,
        id: TriggerId,
        filter: &FireFilter,
        page: &PageRequest,
    ) -> Result<Ledger, FiresError> {
        if let Some(cursor) = &page.cursor
            && cursor.parse::<i64>().is_err()
        {
            return Err(FiresError::Cursor);
        }
        let store = &self.coordinator.store;
        let found = store.fires(id, filter, page).await?;
        if found.items.is_empty() && store.schedule(id).await?.is_none() {
            let any = PageRequest {
                cursor: None,
                limit: 1,
            };
            let all = FireFilter::default();
            if store.fires(id, &all, &any).await?.items.is_empty() {
                return Err(FiresError::Unknown(id));
            }
        }
        Ok(found)
    }
}
