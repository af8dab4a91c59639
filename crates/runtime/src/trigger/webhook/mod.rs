//! Webhooks: what their authors may say of them, which of them a path leads
//! to, and the expressions that are evaluated for a delivery.
//!
//! Expressions run in the engine's sandbox, here and not in the gateway: they
//! are compiled when they are deployed, and again when they are first needed.

pub(crate) mod answer;
pub(crate) mod delivery;
pub(crate) mod options;
pub(crate) mod resolve;
pub(crate) mod rules;
