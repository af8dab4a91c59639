//! `ANY /webhooks/{path…}`: the way in from the outside.
//!
//! ```text
//!  path ─► RouteCache ─miss─► ResolveWebhook (any runtime)
//!             │
//!             ▼
//!  body ─► judge: address, size, sender (raw) ─► rate ─► input ─► TriggerWorkflow ─► 202
//!             ▲                                                     │ stale-trigger
//!             └── resolve again ◄───────────────────────────────────┘ (once)
//! ```
//!
//! The execution's id is the same on every attempt. `/webhooks-test/{path…}`
//! goes the same way up to the last step, and starts nothing.

mod authenticate;
mod cache;
mod client;
mod delivery;
mod input;
mod path;
pub mod payload;
mod rate;
mod receive;
mod recorded;
mod resolve;
mod route;
mod try_out;

pub use cache::RouteCache;
pub use client::address as client_address;
pub use rate::{Rate, Rates, SharedRates};
pub use recorded::receive;
pub use try_out::try_out;
