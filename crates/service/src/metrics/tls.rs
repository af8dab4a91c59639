//! Certificates, by the setting that names them.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const ENDS: &str = "millrace_tls_certificate_expiry_timestamp_seconds";
const READ: &str = "millrace_tls_reloads_total";

pub(super) fn describe() {
    describe_gauge!(
        ENDS,
        "When the certificate in use ends, in seconds since 1970."
    );
    describe_counter!(
        READ,
        "Files of certificates that were read again, by outcome: read or failed."
    );
}

pub(crate) fn certificate_ends(certificate: &'static str, at: i64) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact for the next 285 million years"
    )]
    gauge!(ENDS, "certificate" => certificate).set(at as f64);
}

pub(crate) fn certificate_read(certificate: &'static str, read: bool) {
    let outcome = if read { "read" } else { "failed" };
    counter!(READ, "certificate" => certificate, "outcome" => outcome).increment(1);
}
