//! Times that a sender has signed.

use std::time::Duration;

use http::HeaderName;
use millrace_types::Timestamp;

use super::AuthError;
use super::header::malformed;

/// Checks a time in whole seconds since the Unix epoch against now. Exactly
/// the tolerance is still in time.
pub(super) fn check(
    text: &str,
    header: &HeaderName,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), AuthError> {
    // Twelve digits reach the year 33658 and cannot overflow below.
    let plain = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let seconds: i64 = text
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| malformed(header, "holds no time in seconds since 1970"))?;
    let signed = Timestamp::from_micros(seconds * 1_000_000);
    let age = now.saturating_since(signed);
    let ahead = signed.saturating_since(now);
    if age > tolerance {
        Err(AuthError::TooOld { age, tolerance })
    } else if ahead > tolerance {
        Err(AuthError::TooNew { ahead, tolerance })
    } else {
        Ok(())
    }
}
