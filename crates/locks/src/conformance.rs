//! The suite that every implementation of the locks must pass.
//!
//! An implementation's test file says how its locks are made and how their
//! time passes ([`Subject`]), and names the suite once:
//!
//! ```text
//! millrace_locks::conformance_suite!(MySubject::new().await);
//! ```

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::task::JoinSet;

use crate::{
    AcquireError, DistributedLockManager, ExtendError, Lease, LeaseTtl, LockKey, ReleaseError,
};

/// An implementation under test, with nothing locked.
#[async_trait]
pub trait Subject: Debug + Send + Sync {
    /// The locks.
    fn locks(&self) -> Arc<dyn DistributedLockManager>;

    /// The same locks as another process sees them.
    fn elsewhere(&self) -> Arc<dyn DistributedLockManager>;

    /// Lets time pass until this lease has expired where the lock is kept.
    async fn until_expired(&self, lease: &Lease);

    /// The time that leases count by.
    fn now(&self) -> Instant;
}

/// A lease that outlasts every test.
fn long() -> LeaseTtl {
    Duration::from_mins(1)
        .try_into()
        .expect("a minute is a valid ttl")
}

/// A lease that a test waits out.
fn short() -> LeaseTtl {
    Duration::from_millis(40)
        .try_into()
        .expect("40 ms is a valid ttl")
}

fn key(text: &str) -> LockKey {
    LockKey::new(text).expect("the suite's keys are valid")
}

fn is_held(result: &Result<Lease, AcquireError>) -> bool {
    matches!(result, Err(AcquireError::Held { .. }))
}

pub async fn a_held_lock_is_refused_with_the_time_it_may_last(subject: &dyn Subject) {
    let (here, there) = (subject.locks(), subject.elsewhere());
    let key = key("a");
    let _lease = here.acquire(&key, long()).await.unwrap();
    for locks in [&here, &there] {
        match locks.acquire(&key, long()).await {
            Err(AcquireError::Held {
                key: named,
                remaining,
            }) => {
                assert_eq!(named, key);
                assert!(remaining > Duration::from_secs(1), "{remaining:?}");
                assert!(remaining <= long().get(), "{remaining:?}");
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

pub async fn a_released_lock_is_free(subject: &dyn Subject) {
    let (here, there) = (subject.locks(), subject.elsewhere());
    let key = key("a");
    let lease = here.acquire(&key, long()).await.unwrap();
    here.release(lease).await.unwrap();
    let lease = there.acquire(&key, long()).await.unwrap();
    assert!(is_held(&here.acquire(&key, long()).await));
    there.release(lease).await.unwrap();
}

pub async fn keys_do_not_disturb_each_other(subject: &dyn Subject) {
    let locks = subject.locks();
    let a = locks.acquire(&key("a"), long()).await.unwrap();
    let b = locks.acquire(&key("b"), long()).await.unwrap();
    locks.release(a).await.unwrap();
    assert!(is_held(&locks.acquire(&key("b"), long()).await));
    locks.release(b).await.unwrap();
}

pub async fn an_expired_lock_is_free(subject: &dyn Subject) {
    let key = key("a");
    let lease = subject.locks().acquire(&key, short()).await.unwrap();
    subject.until_expired(&lease).await;
    assert!(
        lease.remaining(subject.now()).is_zero(),
        "its holder may not rely on it longer"
    );
    subject.elsewhere().acquire(&key, long()).await.unwrap();
}

pub async fn an_expired_holder_cannot_extend(subject: &dyn Subject) {
    let locks = subject.locks();
    let key = key("a");
    let mut lease = locks.acquire(&key, short()).await.unwrap();
    let token = lease.token();
    subject.until_expired(&lease).await;
    // Neither while nobody holds it …
    match locks.extend(&mut lease, long()).await {
        Err(ExtendError::Lost {
            key: named,
            token: of,
        }) => assert_eq!((named, of), (key.clone(), token)),
        other => panic!("not refused: {other:?}"),
    }
    // … nor while another does, whose lease stays as it was.
    let other = subject.elsewhere().acquire(&key, long()).await.unwrap();
    let refused = locks.extend(&mut lease, long()).await;
    assert!(
        matches!(refused, Err(ExtendError::Lost { .. })),
        "{refused:?}"
    );
    subject.elsewhere().release(other).await.unwrap();
}

pub async fn an_expired_holder_cannot_release(subject: &dyn Subject) {
    let locks = subject.locks();
    let key = key("a");
    let lease = locks.acquire(&key, short()).await.unwrap();
    subject.until_expired(&lease).await;
    let refused = locks.release(lease).await;
    assert!(
        matches!(refused, Err(ReleaseError::Lost { .. })),
        "{refused:?}"
    );
}

pub async fn the_token_of_another_cannot_release(subject: &dyn Subject) {
    let (here, there) = (subject.locks(), subject.elsewhere());
    let key = key("a");
    let old = here.acquire(&key, short()).await.unwrap();
    subject.until_expired(&old).await;
    let new = there.acquire(&key, long()).await.unwrap();
    let refused = here.release(old).await;
    assert!(
        matches!(refused, Err(ReleaseError::Lost { .. })),
        "{refused:?}"
    );
    assert!(
        is_held(&here.acquire(&key, long()).await),
        "the new holder's lease still stands"
    );
    there.release(new).await.unwrap();
}

pub async fn an_extended_lease_lasts_longer_and_keeps_its_token(subject: &dyn Subject) {
    let locks = subject.locks();
    let key = key("a");
    let brief = LeaseTtl::try_from(Duration::from_secs(20)).unwrap();
    let mut lease = locks.acquire(&key, brief).await.unwrap();
    let (token, before) = (lease.token(), lease.expires_at());
    locks.extend(&mut lease, long()).await.unwrap();
    assert_eq!(lease.token(), token);
    assert!(lease.expires_at() > before + Duration::from_secs(30));
    match locks.acquire(&key, brief).await {
        Err(AcquireError::Held { remaining, .. }) => {
            assert!(remaining > brief.get(), "{remaining:?}");
        }
        other => panic!("not refused: {other:?}"),
    }
    locks.release(lease).await.unwrap();
}

pub async fn extending_can_make_a_lease_shorter(subject: &dyn Subject) {
    let locks = subject.locks();
    let key = key("a");
    let mut lease = locks.acquire(&key, long()).await.unwrap();
    locks.extend(&mut lease, short()).await.unwrap();
    assert!(lease.remaining(subject.now()) <= short().get());
    subject.until_expired(&lease).await;
    locks.acquire(&key, long()).await.unwrap();
}

pub async fn a_lease_counts_from_before_the_request(subject: &dyn Subject) {
    let before = subject.now();
    let lease = subject.locks().acquire(&key("a"), long()).await.unwrap();
    let after = subject.now();
    assert!(lease.expires_at() >= before + long().get());
    assert!(lease.expires_at() <= after + long().get());
}

pub async fn fifty_at_once_have_one_holder(subject: &dyn Subject) {
    let key = key("a");
    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let locks = if n % 2 == 0 {
            subject.locks()
        } else {
            subject.elsewhere()
        };
        let key = key.clone();
        tasks.spawn(async move { locks.acquire(&key, long()).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(|result| is_held(result)).count(), 49);
}

pub async fn there_are_never_two_holders(subject: &dyn Subject) {
    let key = key("a");
    let inside = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let locks = if n % 2 == 0 {
            subject.locks()
        } else {
            subject.elsewhere()
        };
        let (key, inside) = (key.clone(), inside.clone());
        tasks.spawn(async move {
            let mut tokens = Vec::new();
            while tokens.len() < 10 {
                let lease = match locks.acquire(&key, long()).await {
                    Ok(lease) => lease,
                    Err(AcquireError::Held { .. }) => {
                        tokio::task::yield_now().await;
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                assert!(!inside.swap(true, Ordering::SeqCst), "two holders at once");
                tokio::task::yield_now().await;
                inside.store(false, Ordering::SeqCst);
                tokens.push(lease.token());
                locks.release(lease).await.unwrap();
            }
            assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
            tokens
        });
    }
    let mut all = tasks.join_all().await.concat();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "a token was given twice");
}

pub async fn tokens_grow_over_release_expiry_keys_and_processes(subject: &dyn Subject) {
    let (here, there) = (subject.locks(), subject.elsewhere());
    let mut tokens = Vec::new();
    for round in 0..5 {
        let lease = here.acquire(&key("a"), long()).await.unwrap();
        tokens.push(lease.token());
        here.release(lease).await.unwrap();

        let lease = there.acquire(&key("a"), short()).await.unwrap();
        tokens.push(lease.token());
        subject.until_expired(&lease).await;

        let lease = here
            .acquire(&key(&format!("b{round}")), long())
            .await
            .unwrap();
        tokens.push(lease.token());
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

pub async fn a_healthy_server_says_so(subject: &dyn Subject) {
    let latency = subject.locks().health().await.unwrap();
    assert!(latency < Duration::from_secs(2), "{latency:?}");
}

/// Makes one test of each case of the suite. The expression makes a [`Subject`]
/// with nothing locked; it may await.
#[macro_export]
macro_rules! conformance_suite {
    ($subject:expr) => {
        $crate::conformance_suite!(@cases $subject;
            a_held_lock_is_refused_with_the_time_it_may_last
            a_released_lock_is_free
            keys_do_not_disturb_each_other
            an_expired_lock_is_free
            an_expired_holder_cannot_extend
            an_expired_holder_cannot_release
            the_token_of_another_cannot_release
            an_extended_lease_lasts_longer_and_keeps_its_token
            extending_can_make_a_lease_shorter
            a_lease_counts_from_before_the_request
            fifty_at_once_have_one_holder
            there_are_never_two_holders
            tokens_grow_over_release_expiry_keys_and_processes
            a_healthy_server_says_so
        );
    };
    (@cases $subject:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let subject = $subject;
                $crate::conformance::$case(&subject).await;
            }
        )*
    };
}
