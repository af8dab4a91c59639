//! Who calls, and whether they may.
//!
//! ```text
//!  request ──► Guard ──► who: nobody │ key (KeyCache ──► KeyLookUp) │ internal (token, certificate)
//!                │
//!                └─────► table: what the route or RPC needs ──► let through │ Denied
//! ```

mod cache;
mod grpc;
mod guard;
mod peer;
pub mod table;
mod token;

pub use grpc::{GuardLayer, Guarded};
pub use guard::{Caller, Denied, Guard, KEY_HEADER, strip};
pub use peer::VerifiedPeer;
pub use token::{InvalidToken, KeyLookUp, KeyToken, LookUpFailed};
