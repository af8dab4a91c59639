//! Who calls, and whether they may.

mod token;

pub use token::{InvalidToken, KeyLookUp, KeyToken, LookUpFailed};
