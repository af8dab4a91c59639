//! What is counted of group commits.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::{StoreError, Write};

const BATCH: &str = "millrace_commit_batch_writes";
const DURATION: &str = "millrace_commit_duration_seconds";
const FAILED: &str = "millrace_commit_failures_total";
const WRITES: &str = "millrace_commit_writes_total";

/// Says what each one is. Called by whoever starts a [`GroupCommit`](crate::GroupCommit).
pub(crate) fn describe() {
    describe_histogram!(BATCH, "Writes that were committed in one transaction.");
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Time that the transaction of a batch took."
    );
    describe_counter!(
        FAILED,
        "Transactions of batches that failed, by kind; those that are tried again count each time."
    );
    describe_counter!(WRITES, "Writes that were committed, by kind.");
}

pub(crate) fn committed(writes: &[Write], took: Duration) {
    let (mut admissions, mut checkpoints, mut ends, mut deliveries) = (0, 0, 0, 0);
    for write in writes {
        match write {
            Write::Admit(_) => admissions += 1,
            Write::Checkpoint(_) => checkpoints += 1,
            Write::End(_) => ends += 1,
            Write::Deliver(_) | Write::Publish(_) => deliveries += 1,
        }
    }
    for (kind, count) in [
        ("admission", admissions),
        ("checkpoint", checkpoints),
        ("end", ends),
        ("delivery", deliveries),
    ] {
        if count > 0 {
            counter!(WRITES, "kind" => kind).increment(count);
        }
    }
    let size = u32::try_from(writes.len()).unwrap_or(u32::MAX);
    histogram!(BATCH).record(f64::from(size));
    histogram!(DURATION).record(took.as_secs_f64());
}

pub(crate) fn failed(error: &StoreError) {
    let kind = match error {
        StoreError::Unavailable(_) => "unavailable",
        StoreError::Contended(_) => "contended",
        StoreError::Schema(_) => "schema",
        StoreError::Rejected(_) => "rejected",
    };
    counter!(FAILED, "kind" => kind).increment(1);
}
