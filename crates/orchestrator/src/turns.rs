//! One at a time, for each of many things.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Lock<V> = Arc<tokio::sync::Mutex<V>>;

/// Turns at things that are named by `K`. What those who wait have to tell
/// each other is a `V`, which is gone once nobody waits.
pub(crate) struct Turns<K, V = ()>(Mutex<HashMap<K, Lock<V>>>);

impl<K, V> Default for Turns<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K, V> fmt::Debug for Turns<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl<K: Eq + Hash + Clone, V: Default> Turns<K, V> {
    /// Waits for it; those who have waited longer come first.
    pub(crate) async fn wait(&self, key: K) -> Turn<'_, K, V> {
        // Takes the place in the map back, also when nobody waits to the end.
        let place = self.place(key);
        let held = Arc::clone(&place.lock).lock_owned().await;
        Turn { held, place }
    }

    /// `None` when somebody else has it.
    pub(crate) fn take(&self, key: K) -> Option<Turn<'_, K, V>> {
        let place = self.place(key);
        let held = Arc::clone(&place.lock).try_lock_owned().ok()?;
        Some(Turn { held, place })
    }

    fn place(&self, key: K) -> Place<'_, K, V> {
        let lock = Arc::clone(self.map().entry(key.clone()).or_default());
        Place {
            turns: self,
            key,
            lock,
        }
    }
}

impl<K, V> Turns<K, V> {
    fn map(&self) -> MutexGuard<'_, HashMap<K, Lock<V>>> {
        // Entries are put in and taken out as wholes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when it is dropped.
pub(crate) struct Turn<'a, K: Eq + Hash, V = ()> {
    // Let go of before the place is.
    held: OwnedMutexGuard<V>,
    place: Place<'a, K, V>,
}

impl<K: Eq + Hash, V> Turn<'_, K, V> {
    pub(crate) const fn key(&self) -> &K {
        &self.place.key
    }
}

impl<K: Eq + Hash, V> Deref for Turn<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.held
    }
}

impl<K: Eq + Hash, V> DerefMut for Turn<'_, K, V> {
    fn deref_mut(&mut self) -> &mut V {
        &mut self.held
    }
}

struct Place<'a, K: Eq + Hash, V> {
    turns: &'a Turns<K, V>,
    key: K,
    lock: Lock<V>,
}

impl<K: Eq + Hash, V> Drop for Place<'_, K, V> {
    fn drop(&mut self) {
        let mut map = self.turns.map();
        // That of the map, and this one: clones are made under its lock.
        if Arc::strong_count(&self.lock) <= 2 {
            map.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_has_the_turn_and_nothing_is_kept_of_those_who_had_it() {
        let turns: Turns<u8, u32> = Turns::default();
        let mut first = turns.wait(1).await;
        assert!(turns.take(1).is_none());
        assert_eq!(turns.take(2).map(|turn| *turn.key()), Some(2));
        *first = 7;
        let mut second = Box::pin(turns.wait(1));
        assert!(second.as_mut().now_or_never().is_none());
        let third = Box::pin(turns.wait(1));
        drop(first);
        assert_eq!(*second.await, 7);
        drop(third);
        assert_eq!(turns.map().len(), 0);
        assert_eq!(turns.take(1).map(|turn| *turn), Some(0));
    }
}
