//! Notices that files have changed.

use std::convert::Infallible;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Tls, TlsError};
use crate::metrics;

/// How often files are looked at. They are read when two looks in a row find
/// the same change: whoever replaces several takes a moment.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long before the end of a certificate it is said that it ends.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What tells one state of files from another. Links are followed: a mounted
/// secret is replaced by turning a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<[i128; 4]>>);

impl<'a> FromIterator<&'a PathBuf> for Stamp {
    fn from_iter<I: IntoIterator<Item = &'a PathBuf>>(paths: I) -> Self {
        let stamp = |path: &PathBuf| {
            let found = std::fs::metadata(path).ok()?;
            let nanos = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
            Some([
                i128::from(found.dev()) << 64 | i128::from(found.ino()),
                nanos(found.mtime(), found.mtime_nsec()),
                nanos(found.ctime(), found.ctime_nsec()),
                i128::from(found.size()),
            ])
        };
        Self(paths.into_iter().map(stamp).collect())
    }
}

/// How near the end of a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Far,
    Near,
    Passed,
}

impl End {
    fn of(not_after: Timestamp, now: Timestamp) -> Self {
        match not_after.duration_since(now) {
            left if left.is_negative() => Self::Passed,
            left if left < SOON => Self::Near,
            _ => Self::Far,
        }
    }
}

impl Tls {
    /// Reads the files again whenever they change, until `stop`.
    pub async fn follow(self, stop: CancellationToken) -> Result<(), Infallible> {
        if self.0.files.is_empty() {
            return Ok(());
        }
        let mut read = self.0.first.clone();
        let mut changed = None;
        let mut end = End::Far;
        loop {
            end = self.tell_end(end);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let tls = self.clone();
            let look = move || tls.0.files.stamp();
            let Ok(seen) = tokio::task::spawn_blocking(look).await else {
                continue;
            };
            if seen == read {
                changed = None;
            } else if changed.as_ref() == Some(&seen) {
                self.reload().await;
                read = seen;
                changed = None;
            } else {
                changed = Some(seen);
            }
        }
    }

    async fn reload(&self) {
        let tls = self.clone();
        let load = move || -> Result<(), TlsError> {
            tls.replace(tls.0.files.load()?);
            Ok(())
        };
        let name = self.0.files.name();
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(())) => {
                metrics::certificate_read(name, true);
                let until = self.current().not_after;
                tracing::info!(
                    until = until.map(tracing::field::display),
                    "the certificate of `{name}` and what belongs to it was read again"
                );
            }
            Ok(Err(error)) => {
                metrics::certificate_read(name, false);
                tracing::error!(%error, "what was read before stays in use: {error}");
            }
            // Reading has no reason to panic, and what was there is kept.
            Err(_) => {}
        }
    }

    /// Says when the certificate ends, and that it does when that comes near.
    fn tell_end(&self, before: End) -> End {
        let Some(until) = self.current().not_after else {
            return End::Far;
        };
        let name = self.0.files.name();
        metrics::certificate_ends(name, until.as_second());
        let end = End::of(until, Timestamp::now());
        match end {
            End::Near if before != End::Near => {
                tracing::warn!(%until, "the certificate of `{name}` ends soon, on {until}");
            }
            End::Passed if before != End::Passed => {
                tracing::warn!(%until, "the certificate of `{name}` has ended on {until}");
            }
            _ => {}
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_seen_to_come() {
        let until: Timestamp = "2030-01-31T00:00:00Z".parse().unwrap();
        for (now, end) in [
            ("2030-01-01T00:00:00Z", End::Far),
            ("2030-01-30T00:00:00Z", End::Near),
            ("2030-01-31T00:00:01Z", End::Passed),
        ] {
            assert_eq!(End::of(until, now.parse().unwrap()), end, "{now}");
        }
    }
}
