//! Who calls, and whether they may.

mod peer;
mod token;

pub use peer::VerifiedPeer;
pub use token::{InvalidToken, KeyLookUp, KeyToken, LookUpFailed};
