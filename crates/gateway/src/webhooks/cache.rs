//! Resolved webhook paths, kept for a short time and up to a number. Only
//! paths that lead somewhere are kept: a webhook is live as soon as its
//! deployment is answered. The runtime refuses outdated revisions, so an old
//! entry costs one more call and never a wrong start.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::Method;

use super::route::Route;

/// Longer paths are not kept, which bounds the memory of the cache.
const MAX_PATH: usize = 512;

#[derive(Debug)]
pub struct RouteCache {
    ttl: Duration,
    size: usize,
    /// By path; few methods each.
    entries: RwLock<HashMap<Box<str>, Vec<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    method: Method,
    route: Arc<Route>,
    expires: Instant,
}

impl RouteCache {
    pub fn new(ttl: Duration, size: usize) -> Self {
        Self {
            ttl,
            size,
            entries: RwLock::default(),
        }
    }

    pub fn get(&self, method: &Method, path: &str) -> Option<Arc<Route>> {
        // Poisoning is of no concern here or below: no half-made change can
        // be seen between the calls made on the map.
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries
            .get(path)?
            .iter()
            .find(|entry| entry.method == *method)?;
        (entry.expires > Instant::now()).then(|| Arc::clone(&entry.route))
    }

    pub fn insert(&self, method: &Method, path: &str, route: Arc<Route>) {
        if path.len() > MAX_PATH || self.size == 0 {
            return;
        }
        let now = Instant::now();
        let entry = Entry {
            method: method.clone(),
            route,
            expires: now + self.ttl,
        };
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.size && !entries.contains_key(path) {
            make_room(&mut entries, self.size, now);
        }
        let methods = entries.entry(path.into()).or_default();
        methods.retain(|entry| entry.method != *method && entry.expires > now);
        methods.push(entry);
    }

    /// Drops what is kept for the path when it is still of `revision`; who
    /// has resolved it again in the meantime is not undone.
    pub fn forget(&self, method: &Method, path: &str, revision: u64) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(methods) = entries.get_mut(path) {
            methods.retain(|entry| entry.method != *method || entry.route.revision != revision);
            if methods.is_empty() {
                entries.remove(path);
            }
        }
    }

    pub fn clear(&self) {
        self.entries
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Drops what has expired, and if that is too little, an eighth of the rest,
/// whichever: the next request brings back what is in use.
fn make_room(entries: &mut HashMap<Box<str>, Vec<Entry>>, size: usize, now: Instant) {
    entries.retain(|_, methods| methods.iter().any(|entry| entry.expires > now));
    if entries.len() >= size {
        let mut excess = entries.len() - size + (size / 8).max(1);
        entries.retain(|_, _| {
            let stays = excess == 0;
            excess = excess.saturating_sub(1);
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use millrace_signature::AuthSpec;

    use super::super::route::{InputMode, Respond};
    use super::*;

    fn route(revision: u64) -> Arc<Route> {
        Arc::new(Route {
            trigger_id: String::new(),
            revision,
            deployment_id: String::new(),
            params: Box::default(),
            auth: AuthSpec::none(),
            input: InputMode::Body,
            respond: Respond::Accepted,
            path: String::new(),
            allow: None,
            rate: None,
            body_limit: None,
            expressions: false,
        })
    }

    #[test]
    fn an_entry_is_found_until_it_expires() {
        let lasting = RouteCache::new(Duration::from_mins(1), 8);
        lasting.insert(&Method::POST, "a", route(1));
        assert_eq!(lasting.get(&Method::POST, "a").unwrap().revision, 1);
        assert!(lasting.get(&Method::PUT, "a").is_none());
        assert!(lasting.get(&Method::POST, "b").is_none());
        let fleeting = RouteCache::new(Duration::ZERO, 8);
        fleeting.insert(&Method::POST, "a", route(1));
        assert!(fleeting.get(&Method::POST, "a").is_none());
    }

    #[test]
    fn only_the_stale_revision_is_forgotten() {
        let cache = RouteCache::new(Duration::from_mins(1), 8);
        cache.insert(&Method::POST, "a", route(2));
        cache.forget(&Method::POST, "a", 1);
        assert!(cache.get(&Method::POST, "a").is_some());
        cache.forget(&Method::POST, "a", 2);
        assert!(cache.get(&Method::POST, "a").is_none());
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let cache = RouteCache::new(Duration::from_mins(1), 16);
        for n in 0..1000 {
            cache.insert(&Method::POST, &n.to_string(), route(1));
            assert!(cache.get(&Method::POST, &n.to_string()).is_some());
            assert!(cache.entries.read().unwrap().len() <= 16);
        }
        cache.insert(&Method::POST, &"x".repeat(MAX_PATH + 1), route(1));
        assert!(
            cache
                .get(&Method::POST, &"x".repeat(MAX_PATH + 1))
                .is_none()
        );
    }
}
