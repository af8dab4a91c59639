//! The Redis locks on a server that stops, hangs, forgets and lies about time.

use std::time::{Duration, Instant};

use millrace_locks::{
    AcquireError, DistributedLockManager, ExtendError, FencingToken, InvalidRedisConfig, LeaseTtl,
    LockKey, LockUnavailable, RedisLocks, RedisLocksConfig, ReleaseError,
};
use millrace_testkit::{PrivateRedis, eventually};
use millrace_types::ErrorKind;
use tokio::task::JoinSet;

/// The deadline of one call in these tests.
const DEADLINE: Duration = Duration::from_secs(2);
/// What a busy test machine may add to it.
const SLACK: Duration = Duration::from_secs(3);

fn locks(server: &PrivateRedis) -> RedisLocks {
    RedisLocks::new(&RedisLocksConfig::new(server.url())).unwrap()
}

fn key(text: &str) -> LockKey {
    text.parse().unwrap()
}

fn minute() -> LeaseTtl {
    Duration::from_mins(1).try_into().unwrap()
}

async fn token(locks: &RedisLocks, key_text: &str) -> FencingToken {
    locks
        .acquire(&key(key_text), minute())
        .await
        .unwrap()
        .token()
}

/// Runs until the server is back for this manager, and returns a token.
async fn recovered(locks: &RedisLocks, key_text: &str) -> FencingToken {
    eventually(Duration::from_secs(20), || async {
        locks
            .acquire(&key(key_text), minute())
            .await
            .map(|lease| lease.token())
    })
    .await
}

#[test]
fn the_default_deadline_is_two_seconds() {
    assert_eq!(RedisLocksConfig::new("redis://h").timeout, DEADLINE);
}

#[test]
fn a_wrong_setting_is_refused_at_once_and_shows_no_password() {
    let bad = RedisLocks::new(&RedisLocksConfig::new("redis://u:secret@:x")).unwrap_err();
    assert!(matches!(bad, InvalidRedisConfig::Url(_)), "{bad:?}");
    assert!(!format!("{bad} {bad:?}").contains("secret"));
    let none = RedisLocksConfig {
        connections: 0,
        ..RedisLocksConfig::new("redis://h")
    };
    assert!(matches!(
        RedisLocks::new(&none),
        Err(InvalidRedisConfig::NoConnections)
    ));
    let zero = RedisLocksConfig {
        timeout: Duration::ZERO,
        ..RedisLocksConfig::new("redis://h")
    };
    assert!(matches!(
        RedisLocks::new(&zero),
        Err(InvalidRedisConfig::NoTimeout)
    ));
    let fine = RedisLocksConfig::new("redis://u:secret@h");
    assert!(!format!("{fine:?} {:?}", RedisLocks::new(&fine).unwrap()).contains("secret"));
}

#[tokio::test]
async fn a_server_that_is_down_is_an_error_and_works_again_when_it_is_back() {
    let mut server = PrivateRedis::start().await;
    let locks = locks(&server);
    let mut lease = locks.acquire(&key("a"), minute()).await.unwrap();
    let first = lease.token();

    server.stop();
    let asked = Instant::now();
    let acquire = locks.acquire(&key("b"), minute()).await.unwrap_err();
    let extend = locks.extend(&mut lease, minute()).await.unwrap_err();
    let release = locks.release(lease).await.unwrap_err();
    let health = locks.health().await.unwrap_err();
    assert!(asked.elapsed() < DEADLINE + SLACK, "{:?}", asked.elapsed());
    for kind in [acquire.kind(), extend.kind(), release.kind(), health.kind()] {
        assert_eq!(kind, ErrorKind::Unavailable);
    }
    assert!(matches!(
        acquire,
        AcquireError::Unavailable {
            source: LockUnavailable::Unreachable(_),
            ..
        }
    ));

    server.restart().await;
    // Tokens grow over the loss of everything.
    assert!(recovered(&locks, "a").await > first);
    locks.health().await.unwrap();
}

#[tokio::test]
async fn a_manager_may_be_made_before_the_server_is_there() {
    let mut server = PrivateRedis::start().await;
    server.stop();
    let locks = locks(&server);
    assert_eq!(
        locks.health().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    server.restart().await;
    recovered(&locks, "a").await;
}

#[tokio::test]
async fn a_server_that_hangs_is_a_timeout_for_each_of_many_callers() {
    let server = PrivateRedis::start().await;
    let locks = std::sync::Arc::new(locks(&server));
    // Connections that stand, as in the middle of a busy day.
    let mut warm = JoinSet::new();
    for n in 0..16 {
        let locks = locks.clone();
        warm.spawn(async move { token(&locks, &format!("warm-{n}")).await });
    }
    let before = warm.join_all().await.into_iter().max().unwrap();

    server.freeze();
    let asked = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..50 {
        let locks = locks.clone();
        calls.spawn(async move {
            let asked = Instant::now();
            let error = locks
                .acquire(&key(&format!("k{n}")), minute())
                .await
                .unwrap_err();
            (error.kind(), asked.elapsed())
        });
    }
    for (kind, took) in calls.join_all().await {
        assert_eq!(kind, ErrorKind::Timeout);
        assert!(took < DEADLINE + SLACK, "{took:?}");
    }
    assert_eq!(locks.health().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(
        asked.elapsed() < 2 * (DEADLINE + SLACK),
        "{:?}",
        asked.elapsed()
    );

    server.thaw();
    assert!(recovered(&locks, "after").await > before);
}

#[tokio::test]
async fn a_holder_learns_of_a_flush_and_tokens_grow_over_it() {
    let server = PrivateRedis::start().await;
    let (here, there) = (locks(&server), locks(&server));
    let mut last = None;
    for _ in 0..20 {
        let mut lease = here.acquire(&key("a"), minute()).await.unwrap();
        assert!(Some(lease.token()) > last);
        server.flush().await;
        let second = there.acquire(&key("a"), minute()).await.unwrap();
        assert!(second.token() > lease.token());
        last = Some(second.token());

        let lost = here.extend(&mut lease, minute()).await;
        assert!(matches!(lost, Err(ExtendError::Lost { .. })), "{lost:?}");
        assert!(lease.remaining(Instant::now()).is_zero());
        let lost = here.release(lease).await;
        assert!(matches!(lost, Err(ReleaseError::Lost { .. })), "{lost:?}");
        there.release(second).await.unwrap();
    }
}

/// As if the server's clock had stood an hour ahead, and was then set right.
#[tokio::test]
async fn tokens_grow_when_the_servers_clock_is_set_back() {
    let server = PrivateRedis::start().await;
    let locks = locks(&server);
    let now = token(&locks, "a").await.get();
    let ahead = now + 3_600_000_000;
    let mut connection = server.connection().await.unwrap();
    let () = redis::cmd("SET")
        .arg("{millrace}:token")
        .arg(ahead)
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(
        token(&locks, "b").await.get(),
        ahead + 1,
        "the server remembers"
    );
    server.flush().await;
    assert_eq!(
        token(&locks, "c").await.get(),
        ahead + 2,
        "the client remembers"
    );
    assert_eq!(token(&locks, "d").await.get(), ahead + 3);
}

#[tokio::test]
async fn tokens_grow_within_one_microsecond() {
    let server = PrivateRedis::start().await;
    let locks = locks(&server);
    let mut tokens = Vec::new();
    for n in 0..200 {
        tokens.push(token(&locks, &format!("k{n}")).await);
        if n % 10 == 0 {
            server.flush().await;
        }
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

#[tokio::test]
async fn a_server_without_our_scripts_gets_them_again() {
    let server = PrivateRedis::start().await;
    let locks = locks(&server);
    let mut lease = locks.acquire(&key("a"), minute()).await.unwrap();
    let mut connection = server.connection().await.unwrap();
    for _ in 0..2 {
        let () = redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query_async(&mut connection)
            .await
            .unwrap();
        locks.extend(&mut lease, minute()).await.unwrap();
    }
    locks.release(lease).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_and_foreign_data_are_refusals() {
    let server = PrivateRedis::start().await;
    let url = server.url().replace("default:", "default:not");
    let stranger = RedisLocks::new(&RedisLocksConfig::new(url)).unwrap();
    let refused = stranger.health().await.unwrap_err();
    assert!(
        matches!(refused, LockUnavailable::Refused(_)),
        "{refused:?}"
    );

    let locks = locks(&server);
    let mut connection = server.connection().await.unwrap();
    let () = redis::cmd("SET")
        .arg("{millrace}:token")
        .arg("not a number")
        .query_async(&mut connection)
        .await
        .unwrap();
    let refused = locks.acquire(&key("a"), minute()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            AcquireError::Unavailable {
                source: LockUnavailable::Refused(_),
                ..
            }
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_lock_without_an_end_counts_as_held() {
    let server = PrivateRedis::start().await;
    let locks = locks(&server);
    let mut connection = server.connection().await.unwrap();
    let () = redis::cmd("SET")
        .arg("{millrace}:lock:a")
        .arg("by hand")
        .query_async(&mut connection)
        .await
        .unwrap();
    let refused = locks.acquire(&key("a"), minute()).await.unwrap_err();
    assert!(matches!(refused, AcquireError::Held { .. }), "{refused:?}");
}
