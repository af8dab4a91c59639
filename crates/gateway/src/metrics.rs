//! What is counted of webhooks. Requests as such are counted where the router
//! is put together.

use metrics::{counter, describe_counter};

const WEBHOOKS: &str = "millrace_webhooks_total";

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Accepted,
    /// Known before: it got the first answer.
    Duplicate,
    /// With the name of its problem.
    Refused(&'static str),
}

/// Says what each one is.
pub fn describe() {
    describe_counter!(
        WEBHOOKS,
        "Deliveries to webhooks, by outcome (accepted, duplicate, refused) and, of those refused, the kind of problem."
    );
}

pub fn webhook(delivery: Delivery) {
    let (outcome, reason) = match delivery {
        Delivery::Accepted => ("accepted", ""),
        Delivery::Duplicate => ("duplicate", ""),
        Delivery::Refused(reason) => ("refused", reason),
    };
    counter!(WEBHOOKS, "outcome" => outcome, "reason" => reason).increment(1);
}
