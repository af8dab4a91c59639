//! What is counted of the ways that batches go.

use metrics::{counter, describe_counter};

const PLAIN: &str = "millrace_postgres_plain_batches_total";

/// Says what each one is. Called by whoever connects.
pub(crate) fn describe() {
    describe_counter!(
        PLAIN,
        "Batches of checkpoints alone or ends alone that were tried as one statement: those that \
         were applied so, and those of which each write had to be judged."
    );
}

pub(crate) fn plain(applied: bool) {
    let came_to = if applied { "applied" } else { "judged" };
    counter!(PLAIN, "outcome" => came_to).increment(1);
}
