//! Connections, by the listener that took them.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const OPEN: &str = "millrace_connections_open";
const FULL: &str = "millrace_listener_full_total";
const FAILED: &str = "millrace_accept_errors_total";
const CUT: &str = "millrace_connections_cut_total";

pub(super) fn describe() {
    describe_gauge!(OPEN, "Connections that are open, by listener.");
    describe_counter!(
        FULL,
        "How often a listener had as many connections as it takes, so that callers had to wait."
    );
    describe_counter!(
        FAILED,
        "Connections that could not be taken, for want of file descriptors as a rule."
    );
    describe_counter!(
        CUT,
        "Connections that were cut, by listener and reason: header_timeout, handshake_timeout \
         or handshake."
    );
}

pub(crate) fn connection_opened(listener: &'static str) {
    gauge!(OPEN, "listener" => listener).increment(1.0);
}

pub(crate) fn connection_closed(listener: &'static str) {
    gauge!(OPEN, "listener" => listener).decrement(1.0);
}

pub(crate) fn listener_full(listener: &'static str) {
    counter!(FULL, "listener" => listener).increment(1);
}

pub(crate) fn accept_failed(listener: &'static str) {
    counter!(FAILED, "listener" => listener).increment(1);
}

pub(crate) fn connection_cut(listener: &'static str, why: &'static str) {
    counter!(CUT, "listener" => listener, "reason" => why).increment(1);
}
