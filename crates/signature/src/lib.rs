//! Who sent this webhook? The schemes by which a sender proves itself, and
//! the sealing of the secrets that this needs.
//!
//! Everything here is pure: no network, no file, no clock (the time is a
//! parameter), no task. The one exception is the system's randomness, for new
//! keys and nonces.
//!
//! ```text
//! trigger JSON "auth" ──AuthSpec::parse──► AuthSpec ──split──► Scheme (listed, stored) + Secrets
//!                                            ▲                                        │
//!                                            │ join                    SealingKeys::seal_secrets
//!                                            │                                        ▼
//!                       Scheme (stored) + Secrets ◄──open_secrets───────────── sealed texts
//!
//! request + AuthSpec + now ──verify──► Verified { message_id }  or  AuthError (for the log alone)
//! ```
//!
//! - [`AuthSpec`] is a [`Scheme`], which anyone may see, and its active
//!   [`Secret`]s, at most two so that a secret can be rotated without a gap.
//!   A secret is masked wherever it could be printed or serialised.
//! - [`verify()`] judges one request. Comparisons take the same time wherever
//!   the difference is, every secret is tried, and where a scheme signs a time,
//!   that time must lie within the tolerance. What went wrong is in
//!   [`AuthError`] for the log; the sender learns [`AuthError::OUTWARD`] only.
//! - [`dedupe_key`] finds the name that a sender gave to its message.
//! - [`SealingKeys`] encrypts secrets for storage, bound to their trigger's public
//!   specification, and tells equal ones by a keyed fingerprint.
//!
//! Not here: looking up the webhook, limits, IP lists, and remembering which
//! messages were seen.

mod dedupe;
mod finding;
pub mod seal;
mod secret;
pub mod spec;
pub mod verify;

pub use dedupe::dedupe_key;
pub use finding::Finding;
pub use seal::{OpenError, SealError, SealedSecrets, SealingKey, SealingKeys};
pub use secret::Secret;
pub use spec::{AuthSpec, JoinError, Scheme};
pub use verify::{AuthError, RequestParts, Verified, verify};
