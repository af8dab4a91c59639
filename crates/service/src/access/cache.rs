//! What was learnt of keys of late, so that not every request asks. One
//! question at a time about each key, bounded in all directions.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use millrace_types::ApiKey;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::{KeyLookUp, KeyToken, LookUpFailed};

/// Keys that are remembered, and as many that are none: those may be made up,
/// and must not drive out the others.
const MOST: usize = 10_000;
/// How long it is remembered that there is no such key.
const NONE_FOR: Duration = Duration::from_secs(1);
/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions at once; further ones wait, within their patience.
const AT_ONCE: usize = 64;

type Digest = [u8; 32];
type Answer = Result<Option<Arc<ApiKey>>, LookUpFailed>;

/// Answers of a [`KeyLookUp`], believed for a while.
pub(super) struct KeyCache {
    look_up: Arc<dyn KeyLookUp>,
    ttl: Duration,
    at_once: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Until when each is believed. The time counts from the question, not
    /// from the answer: what was revoked in between must not live longer.
    keys: HashMap<Digest, (Arc<ApiKey>, Instant)>,
    none: HashMap<Digest, Instant>,
    asked: HashMap<Digest, Asked>,
}

#[derive(Clone)]
struct Asked {
    since: Instant,
    answer: Shared<BoxFuture<'static, Answer>>,
}

impl KeyCache {
    pub(super) fn new(look_up: Arc<dyn KeyLookUp>, ttl: Duration) -> Self {
        Self {
            look_up,
            ttl,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            kept: Mutex::default(),
        }
    }

    /// The key that `token` is, as far as it was known `ttl` ago; it may have
    /// expired since.
    pub(super) async fn resolve(&self, token: KeyToken) -> Answer {
        let digest = *token.digest();
        let asked = {
            let now = Instant::now();
            let mut kept = self.kept();
            if let Some((key, until)) = kept.keys.get(&digest)
                && *until > now
            {
                return Ok(Some(Arc::clone(key)));
            }
            if kept.none.get(&digest).is_some_and(|until| *until > now) {
                return Ok(None);
            }
            kept.ask(digest, now, || self.ask(token))
        };
        let answer = asked.answer.await;
        self.learn(digest, asked.since, &answer);
        answer
    }

    fn ask(&self, token: KeyToken) -> Shared<BoxFuture<'static, Answer>> {
        let (look_up, at_once) = (Arc::clone(&self.look_up), Arc::clone(&self.at_once));
        let asking = async move {
            // Never closed.
            let _turn = at_once.acquire_owned().await;
            look_up.look_up(&token).await
        };
        async move {
            let answer = timeout(PATIENCE, asking).await;
            let late = || LookUpFailed(format!("no answer within {PATIENCE:?}"));
            answer
                .unwrap_or_else(|_| Err(late()))
                .map(|key| key.map(Arc::new))
        }
        .boxed()
        .shared()
    }

    /// The first of those that wait takes the answer down.
    fn learn(&self, digest: Digest, since: Instant, answer: &Answer) {
        let mut kept = self.kept();
        if kept
            .asked
            .get(&digest)
            .is_none_or(|asked| asked.since != since)
        {
            return;
        }
        kept.asked.remove(&digest);
        let now = Instant::now();
        match answer {
            Ok(Some(key)) => {
                make_room(&mut kept.keys, |(_, until)| *until > now);
                kept.keys
                    .insert(digest, (Arc::clone(key), since + self.ttl));
            }
            Ok(None) => {
                kept.keys.remove(&digest);
                make_room(&mut kept.none, |until| *until > now);
                kept.none.insert(digest, since + self.ttl.min(NONE_FOR));
            }
            // The next one asks anew.
            Err(_) => {}
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Joins those who ask already. A question that all have dropped stands
    /// still: after a while, a new one is put.
    fn ask(
        &mut self,
        digest: Digest,
        now: Instant,
        ask: impl FnOnce() -> Shared<BoxFuture<'static, Answer>>,
    ) -> Asked {
        if let Some(asked) = self.asked.get(&digest)
            && asked.since + PATIENCE > now
        {
            return asked.clone();
        }
        if self.asked.len() >= MOST {
            self.asked.retain(|_, asked| asked.since + PATIENCE > now);
        }
        let asked = Asked {
            since: now,
            answer: ask(),
        };
        self.asked.insert(digest, asked.clone());
        asked
    }
}

/// Drops what no longer counts once there are too many, and if that is not
/// enough, any.
fn make_room<T>(map: &mut HashMap<Digest, T>, counts: impl Fn(&T) -> bool) {
    if map.len() < MOST {
        return;
    }
    map.retain(|_, value| counts(value));
    if map.len() >= MOST
        && let Some(any) = map.keys().next().copied()
    {
        map.remove(&any);
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache")
            .field("look_up", &self.look_up)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use millrace_types::Role;
    use tokio::sync::Notify;

    use super::*;

    /// Knows every key, or none; answers when it is told to.
    #[derive(Debug, Default)]
    struct Asked {
        count: AtomicUsize,
        revoked: AtomicBool,
        fails: AtomicBool,
        go: Notify,
        waits: bool,
    }

    impl KeyLookUp for Asked {
        fn look_up<'a>(
            &'a self,
            token: &'a KeyToken,
        ) -> BoxFuture<'a, Result<Option<ApiKey>, LookUpFailed>> {
            Box::pin(async move {
                self.count.fetch_add(1, Ordering::SeqCst);
                if self.waits {
                    self.go.notified().await;
                }
                if self.fails.load(Ordering::SeqCst) {
                    return Err(LookUpFailed("down".to_owned()));
                }
                let key = ApiKey {
                    id: token.id(),
                    name: "ci".to_owned(),
                    role: Role::Viewer,
                    expires_at: None,
                };
                Ok(Some(key).filter(|_| !self.revoked.load(Ordering::SeqCst)))
            })
        }
    }

    fn cache(asked: &Arc<Asked>) -> KeyCache {
        KeyCache::new(Arc::clone(asked) as _, Duration::from_secs(5))
    }

    fn token() -> KeyToken {
        KeyToken::mint().unwrap().1
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_key_is_believed_for_the_cache_time_and_no_longer() {
        let asked = Arc::new(Asked::default());
        let (cache, token) = (cache(&asked), token());
        assert!(cache.resolve(token).await.unwrap().is_some());
        asked.revoked.store(true, Ordering::SeqCst);
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert!(cache.resolve(token).await.unwrap().is_some());
        assert_eq!(asked.count.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(cache.resolve(token).await.unwrap().is_none());
        // That there is none is remembered too, more shortly.
        assert!(cache.resolve(token).await.unwrap().is_none());
        assert_eq!(asked.count.load(Ordering::SeqCst), 2);
        tokio::time::advance(NONE_FOR).await;
        assert!(cache.resolve(token).await.unwrap().is_none());
        assert_eq!(asked.count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn many_who_present_one_key_put_one_question() {
        let asked = Arc::new(Asked {
            waits: true,
            ..Asked::default()
        });
        let (cache, token) = (cache(&asked), token());
        let all = futures::future::join_all((0..50).map(|_| cache.resolve(token)));
        asked.go.notify_one();
        assert!(
            all.await
                .into_iter()
                .all(|answer| answer.unwrap().is_some())
        );
        assert_eq!(asked.count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failed_question_is_put_anew() {
        let asked = Arc::new(Asked::default());
        asked.fails.store(true, Ordering::SeqCst);
        let (cache, token) = (cache(&asked), token());
        assert!(cache.resolve(token).await.is_err());
        asked.fails.store(false, Ordering::SeqCst);
        assert!(cache.resolve(token).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_without_an_answer_ends_and_one_that_was_dropped_is_put_anew() {
        let asked = Arc::new(Asked {
            waits: true,
            ..Asked::default()
        });
        let (cache, token) = (cache(&asked), token());
        assert!(cache.resolve(token).await.is_err());
        // One who goes away, and one who comes much later.
        let gone = timeout(Duration::from_secs(1), cache.resolve(token)).await;
        assert!(gone.is_err());
        tokio::time::advance(PATIENCE).await;
        asked.go.notify_one();
        assert!(cache.resolve(token).await.unwrap().is_some());
        assert_eq!(asked.count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn what_is_made_up_is_bounded_and_drives_no_key_out() {
        let asked = Arc::new(Asked::default());
        let (cache, known) = (cache(&asked), token());
        assert!(cache.resolve(known).await.unwrap().is_some());
        asked.revoked.store(true, Ordering::SeqCst);
        for n in 0..=MOST {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_le_bytes());
            let made_up = KeyToken::from_parts(known.id(), digest);
            assert!(cache.resolve(made_up).await.unwrap().is_none());
        }
        assert!(cache.kept().none.len() <= MOST);
        assert!(cache.kept().asked.is_empty());
        assert!(cache.resolve(known).await.unwrap().is_some());
    }
}
