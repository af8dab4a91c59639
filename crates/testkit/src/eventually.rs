//! Waiting for a condition, in real time.

use std::fmt::Debug;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long to wait between two looks. Short enough that waiting is not felt,
/// long enough that looking does not slow down what is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until `check` answers `Ok`, and returns that value.
/// An `Err` holds what was seen instead.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use std::sync::atomic::{AtomicU32, Ordering};
/// let looks = AtomicU32::new(0);
/// let seen = millrace_testkit::eventually(Duration::from_secs(5), || async {
///     let n = looks.fetch_add(1, Ordering::Relaxed);
///     if n >= 3 { Ok(n) } else { Err(n) }
/// })
/// .await;
/// assert_eq!(seen, 3);
/// # });
/// ```
///
/// # Panics
/// When that does not happen `within` this time, with the last value seen.
#[track_caller]
pub fn eventually<T, S, F, Fut>(within: Duration, mut check: F) -> impl Future<Output = T>
where
    S: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, S>>,
{
    let place = Location::caller();
    async move {
        let deadline = Instant::now() + within;
        let mut last: Option<S> = None;
        loop {
            match timeout_at(deadline, check()).await {
                Ok(Ok(value)) => return value,
                Ok(Err(seen)) => last = Some(seen),
                Err(_) => break,
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(PAUSE).await;
        }
        match last {
            Some(seen) => panic!("not within {within:?} (at {place}); last seen: {seen:#?}"),
            None => panic!("not within {within:?} (at {place}); the check itself never ended"),
        }
    }
}

/// Looks again and again until `look` answers `wanted`.
///
/// # Panics
/// When that does not happen `within` this time, with the last value seen.
#[track_caller]
pub fn eventually_eq<T, F, Fut>(
    within: Duration,
    wanted: T,
    mut look: F,
) -> impl Future<Output = ()>
where
    T: PartialEq + Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = T>,
{
    let place = Location::caller();
    async move {
        let deadline = Instant::now() + within;
        let mut last: Option<T> = None;
        loop {
            match timeout_at(deadline, look()).await {
                Ok(value) if value == wanted => return,
                Ok(value) => last = Some(value),
                Err(_) => break,
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(PAUSE).await;
        }
        panic!("not {wanted:?} within {within:?} (at {place}); last seen: {last:#?}");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn returns_the_value_that_came() {
        let looks = Cell::new(0);
        let value = eventually(Duration::from_secs(1), || async {
            looks.set(looks.get() + 1);
            if looks.get() == 5 {
                Ok("here")
            } else {
                Err(looks.get())
            }
        })
        .await;
        assert_eq!((value, looks.get()), ("here", 5));
    }

    #[tokio::test]
    #[should_panic(expected = "last seen: \"grey\"")]
    async fn shows_the_last_value_seen() {
        eventually(Duration::from_millis(50), || async { Err::<(), _>("grey") }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "the check itself never ended")]
    async fn a_check_that_hangs_is_bounded_too() {
        eventually(
            Duration::from_millis(50),
            std::future::pending::<Result<(), ()>>,
        )
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "not 3 within")]
    async fn eventually_eq_names_both_values() {
        eventually_eq(Duration::from_millis(50), 3, || async { 2 }).await;
    }
}
