//! Maintenance in parts, none of which holds up the others.

use tracing::warn;

use crate::StoreError;

/// What a step of maintenance came to, each part of which was tried: whether
/// any has more left to do. A part that fails is passed over, and said in the
/// log, for as long as others have.
///
/// # Errors
/// The first failure, when no part has anything left that it can do.
pub fn all_parts(
    parts: impl IntoIterator<Item = Result<bool, StoreError>>,
) -> Result<bool, StoreError> {
    let mut more = false;
    let mut failed = Vec::new();
    for part in parts {
        match part {
            Ok(left) => more |= left,
            Err(error) => failed.push(error),
        }
    }
    let mut failed = failed.into_iter();
    let first = if more { None } else { failed.next() };
    for error in failed {
        warn!(%error, "a part of maintenance failed and is tried again later");
    }
    first.map_or(Ok(more), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_the_others_are_done() {
        let failed = |why: &str| Err(StoreError::Rejected(why.into()));
        assert!(!all_parts([Ok(false), Ok(false)]).unwrap());
        assert!(all_parts([Ok(true), Ok(false)]).unwrap());
        assert!(all_parts([failed("a"), Ok(true)]).unwrap());
        let told = all_parts([Ok(false), failed("first"), failed("second")]);
        assert!(told.unwrap_err().to_string().contains("first"));
    }
}
