//! What a deployment sets about its executions.
//!
//! An execution takes over timeouts and retention when it is admitted, and
//! keeps them. Limit and priority are those that are live.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Settings that have been checked. The default sets nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploymentSettings {
    /// Higher is claimed first; 0 unless set.
    pub priority: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// From the admission to the first claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<Duration>,
    /// Longest that a running execution may make no progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// From the admission to the end, queueing and waiting included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_timeout: Option<Duration>,
    /// Days, one of [`RETENTION_CLASSES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_succeeded: Option<u16>,
    /// Days, one of [`RETENTION_CLASSES`], for every other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_failed: Option<u16>,
}

/// The days that a deployment may have its ended executions kept. Each class
/// has partitions of its own for every day, hence so few.
pub const RETENTION_CLASSES: [u16; 8] = [1, 3, 7, 14, 30, 90, 180, 365];

/// How many executions of a deployment may hold a slot at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// At least 1.
    pub limit: u32,
    /// An expression over the input: the limit holds for each of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    pub policy: ConcurrencyPolicy,
}

/// What becomes of an admission that finds no free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConcurrencyPolicy {
    /// It waits in the database, first come first.
    Queue,
    /// It ends as CANCELLED at once.
    Skip,
    /// The oldest ones are asked to end, and it waits for their slot.
    CancelRunning,
}

impl Concurrency {
    /// As it is stored.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts always serialise")
    }

    /// Reads what [`Concurrency::to_json`] wrote.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when it is something else.
    pub fn from_json(json: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(json)
            .map_err(|error| StoreError::Rejected(format!("a concurrency limit: {error}")))
    }
}

/// Evaluates the keys of concurrency limits. The store decides about slots in
/// the transaction that admits, and so needs the key there.
pub trait SlotKeys: Send + Sync + Debug + 'static {
    /// The value of `expression` for this input, as a text that is equal for
    /// equal values; `Err` says to the caller why there is none. It ends
    /// soon, whatever the expression.
    fn key(&self, expression: &str, input: &[u8]) -> Result<String, String>;
}

/// Knows no expressions: for a store that only ever sees limits without key.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSlotKeys;

impl SlotKeys for NoSlotKeys {
    fn key(&self, _: &str, _: &[u8]) -> Result<String, String> {
        Err("this process cannot evaluate expressions".into())
    }
}

/// What a store needs to know to give out slots.
#[derive(Debug, Clone)]
pub struct SlotRules {
    pub keys: Arc<dyn SlotKeys>,
    /// Days that a skipped execution is kept, unless its deployment says
    /// otherwise.
    pub retention_days: u16,
}

impl Default for SlotRules {
    fn default() -> Self {
        Self {
            keys: Arc::new(NoSlotKeys),
            retention_days: 30,
        }
    }
}

/// What binds an execution that somebody owns, by the database's clock at the
/// answer that brought it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// What is left until its deadline.
    pub total: Option<Duration>,
    /// What is left until it must have started; `None` once it has.
    pub start: Option<Duration>,
    /// Longest time without progress.
    pub idle: Option<Duration>,
    /// Whether it has a slot that others may be queueing for.
    pub slot: bool,
}

/// How long an execution that was given back waits before the next attempt:
/// a second, doubled with each failure in a row up to a minute.
pub const fn back_off(failures: u32) -> Duration {
    let doublings = if failures > 6 { 6 } else { failures };
    let seconds = 1_u64 << doublings;
    Duration::from_secs(if seconds > 60 { 60 } else { seconds })
}

/// Why an execution was skipped, for its error and its history.
pub fn skipped_reason(concurrency: &Concurrency) -> String {
    let limit = concurrency.limit;
    match &concurrency.key {
        Some(key) => format!("the limit of {limit} at once for its value of `{key}` was reached"),
        None => format!("the limit of {limit} at once was reached"),
    }
}

/// The type of the error of an execution that was skipped.
pub const SKIPPED_TYPE: &str = "urn:millrace:error:skipped";

/// The error of an execution that was skipped, as JSON text.
pub fn skipped_error(concurrency: &Concurrency) -> String {
    serde_json::json!({
        "type": SKIPPED_TYPE,
        "status": 429,
        "title": "Skipped",
        "detail": skipped_reason(concurrency),
        "instance": "",
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_grows_and_stays_within_a_minute() {
        let seconds: Vec<u64> = (0..9).map(|n| back_off(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_bundle_of_before_has_no_settings() {
        let read: DeploymentSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(read, DeploymentSettings::default());
    }
}
