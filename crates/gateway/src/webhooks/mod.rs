//! `ANY /webhooks/{path…}`: the way in from the outside.
//!
//! ```text
//!  path ─► RouteCache ─miss─► ResolveWebhook (any runtime)
//!             │
//!             ▼
//!  body ─► authenticate (raw) ─► input ─► TriggerWorkflow, same execution id on every attempt ─► 202
//!             ▲                                    │ stale-trigger
//!             └── resolve again ◄──────────────────┘ (once)
//! ```

mod authenticate;
mod cache;
mod input;
mod path;
pub mod payload;
mod receive;
mod route;

pub use cache::RouteCache;
pub use receive::receive;
