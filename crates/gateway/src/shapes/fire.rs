use millrace_proto::runtime::v1 as pb;
use serde::Serialize;

use super::optional;

/// An occurrence of a schedule: entered in the ledger, or still to come.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fire {
    trigger_id: String,
    nominal_at: String,
    /// The last of `count` occurrences in a row that share this row.
    until_at: String,
    count: u64,
    effective_at: String,
    /// `null` for one to come.
    outcome: Option<String>,
    reason: Option<String>,
    execution_id: Option<String>,
    /// Whether it was asked for afterwards.
    backfilled: bool,
    /// When it was entered, or started; `null` for one to come.
    decided_at: Option<String>,
}

impl From<pb::Fire> for Fire {
    fn from(message: pb::Fire) -> Self {
        Self {
            trigger_id: message.trigger_id,
            nominal_at: message.nominal_at,
            until_at: message.until_at,
            count: message.count,
            effective_at: message.effective_at,
            outcome: optional(message.outcome),
            reason: optional(message.reason),
            execution_id: optional(message.execution_id),
            backfilled: message.backfilled,
            decided_at: optional(message.decided_at),
        }
    }
}
