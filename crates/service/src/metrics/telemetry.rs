//! What becomes of logs and traces themselves.

use metrics::{counter, describe_counter};

const FILE_ERRORS: &str = "millrace_log_file_errors_total";
const EXPORTS: &str = "millrace_otlp_exports_total";

pub(super) fn describe() {
    describe_counter!(
        FILE_ERRORS,
        "Log lines that the log file did not take, and archives that could not be begun."
    );
    describe_counter!(
        EXPORTS,
        "Batches of spans for the collector, by whether they were sent or failed."
    );
}

pub(crate) fn log_file_failed() {
    counter!(FILE_ERRORS).increment(1);
}

pub(crate) fn exported(sent: bool) {
    let outcome = if sent { "sent" } else { "failed" };
    counter!(EXPORTS, "outcome" => outcome).increment(1);
}
