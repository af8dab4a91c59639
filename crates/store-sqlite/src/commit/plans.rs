//! The statements of a commit cost by the size of the batch alone.

use super::{admit, checkpoint, end, events, facts, limited, listen, owned};
use crate::plan::assert_searches;

#[tokio::test]
async fn admissions_search() {
    assert_searches(&[
        facts::KEYS,
        facts::EXECUTIONS,
        facts::DEPLOYMENTS,
        facts::TRIGGERS,
        facts::ALIVE,
        admit::INSERT,
        admit::INSERT_KEYS,
        limited::WITHOUT_SLOT,
        limited::END,
        limited::DELETE,
        limited::FRAMES,
        limited::HOLDERS,
        limited::QUEUED,
        limited::ASK,
        limited::START,
        limited::NOW,
    ])
    .await;
}

#[tokio::test]
async fn checkpoints_search() {
    assert_searches(&[
        owned::LIVE,
        checkpoint::TIMERS,
        checkpoint::DELETE_FRAMES,
        checkpoint::UPSERT_FRAMES,
        checkpoint::DELETE_TIMERS,
        checkpoint::UPSERT_TIMERS,
        checkpoint::UPDATE,
        events::INSERT,
        listen::LISTENERS,
        listen::CONSUME,
        listen::CLEAR,
        listen::SET,
        listen::SUBSCRIBE,
        listen::UNSUBSCRIBE,
        listen::UNREAD,
        listen::DELIVER,
        listen::HAS,
        listen::WAKE,
        listen::EMIT,
        listen::PUBLISH,
    ])
    .await;
}

#[tokio::test]
async fn endings_search() {
    assert_searches(&[end::ENDED, end::MOVE, end::READ]).await;
    assert_searches(&end::CLEAR).await;
}
