//! Follows the engines: which there are behind the configured names, and how
//! each of them is.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::EngineClient;
use super::member::{Change, Member};

/// How often names are looked up. An engine that is new gets work after that;
/// one that is gone is noticed by its silence.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);

/// Keeps the list of engines and what is known of each, until `stop`.
pub(crate) async fn follow(client: Arc<EngineClient>, stop: CancellationToken) {
    if client.places.is_empty() {
        return;
    }
    let mut watches = JoinSet::new();
    let mut failed = vec![false; client.places.len()];
    loop {
        for (index, place) in client.places.iter().enumerate() {
            match place.resolve().await {
                Ok(found) => {
                    failed[index] = false;
                    for member in update(&client, index, &found) {
                        let (client, stop) = (Arc::clone(&client), stop.clone());
                        watches.spawn(async move { watch(client, member, stop).await });
                    }
                }
                // What was known is as good as it gets.
                Err(error) if !failed[index] => {
                    failed[index] = true;
                    warn!(%error, "the engines behind {place} cannot be looked up");
                }
                Err(_) => {}
            }
        }
        while watches.try_join_next().is_some() {}
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(LOOK_UP_EVERY) => {}
        }
    }
    watches.join_all().await;
}

/// Makes the members of place `index` those at `found`; answers the new ones.
fn update(client: &EngineClient, index: usize, found: &[SocketAddr]) -> Vec<Arc<Member>> {
    let wanted: HashSet<_> = found.iter().copied().collect();
    let mut fresh = Vec::new();
    let mut changed = false;
    client.change_members(|members| {
        let mut missing = wanted.clone();
        for member in members.iter() {
            let Some((_, at)) = member.at.filter(|(place, _)| *place == index) else {
                continue;
            };
            missing.remove(&at);
            let left = !wanted.contains(&at);
            changed |= member.left.swap(left, Ordering::Relaxed) != left;
        }
        let place = &client.places[index];
        // Each once, in the order in which they were found.
        for address in found.iter().copied().filter(|at| missing.remove(at)) {
            match place.at(address) {
                Ok(transport) => {
                    let name = if place.is_name() {
                        format!("{address} ({place})")
                    } else {
                        address.to_string()
                    };
                    let member = Arc::new(Member::new(name, Some((index, address)), transport));
                    members.push(Arc::clone(&member));
                    fresh.push(member);
                }
                Err(error) => warn!(%error, "an engine cannot be called"),
            }
        }
    });
    if changed {
        client.settle();
    }
    fresh
}

/// Asks one engine how it is, again and again, until `stop` or until it has
/// left and nothing runs there any more.
async fn watch(client: Arc<EngineClient>, member: Arc<Member>, stop: CancellationToken) {
    let mut asked = false;
    loop {
        let seen = tokio::select! {
            () = stop.cancelled() => return,
            seen = member.ask() => seen,
        };
        let first = !std::mem::replace(&mut asked, true);
        let change = member.saw(seen);
        let name = &member.name;
        match change {
            Change::Up => info!("engine {name} takes work"),
            Change::Down => warn!("engine {name} takes no more work: {}", member.why()),
            Change::Lost => warn!(
                executions = member.running(),
                "engine {name} is lost: {}; what it ran goes on elsewhere",
                member.why()
            ),
            Change::None if first => warn!("engine {name} takes no work: {}", member.why()),
            Change::None => {}
        }
        if change != Change::None {
            client.settle();
        }
        if member.left.load(Ordering::Relaxed) && member.running() == 0 {
            client.change_members(|members| members.retain(|other| !Arc::ptr_eq(other, &member)));
            info!("engine {name} has left");
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = member.look.notified() => {}
            () = tokio::time::sleep(member.pause()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_service::transport::Identity;

    use super::super::member::Seen;
    use super::*;

    fn at(ports: &[u16]) -> Vec<SocketAddr> {
        let local = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
        ports.iter().map(local).collect()
    }

    fn client() -> EngineClient {
        let places = ["http://engines:1", "http://other:1"];
        EngineClient::remote(places, &Identity::default()).unwrap()
    }

    #[tokio::test]
    async fn engines_come_and_go_with_what_their_name_stands_for() {
        let client = client();
        assert!(!client.is_ready());
        assert!(client.pick().is_none(), "none is known yet");
        let first = update(&client, 0, &at(&[1, 2]));
        let other = update(&client, 1, &at(&[3]));
        assert_eq!((first.len(), other.len()), (2, 1));
        for member in first.iter().chain(&other) {
            assert_eq!(member.saw(Seen::Serving), Change::Up);
        }
        client.settle();
        assert!(client.is_ready());

        let turns: Vec<_> = (0..6).map(|_| client.pick().unwrap()).collect();
        for member in first.iter().chain(&other) {
            assert_eq!(member.running(), 2, "each has its share");
        }
        assert!(update(&client, 0, &at(&[2])).is_empty());
        assert_eq!(turns.len(), client.count() * 2, "what runs there may end");
        for _ in 0..4 {
            let next = client.pick().unwrap();
            assert_ne!(next.0.name, first[0].name, "one that left gets no work");
        }
        assert!(update(&client, 0, &at(&[1, 2])).is_empty());
        drop(turns);
        let back: HashSet<_> = (0..3)
            .map(|_| client.pick().unwrap().0.name.clone())
            .collect();
        assert!(back.contains(&first[0].name), "it is back: {back:?}");
    }

    #[tokio::test]
    async fn work_avoids_an_engine_that_is_busy_or_away() {
        let client = client();
        let members = update(&client, 0, &at(&[1, 2]));
        for member in &members {
            member.saw(Seen::Serving);
        }
        client.settle();
        let held: Vec<_> = (0..10).map(|_| client.pick().unwrap()).collect();
        assert_eq!(members[0].running(), 5);
        members[0].saw(Seen::Silent);
        client.settle();
        let lost = members[0].lost();
        for _ in 0..2 {
            assert_eq!(client.pick().unwrap().0.name, members[1].name);
            assert!(!lost.is_cancelled());
            members[0].saw(Seen::Silent);
        }
        assert!(lost.is_cancelled(), "what it ran goes on elsewhere");
        members[1].saw(Seen::Unreachable("gone".into()));
        client.settle();
        assert!(!client.is_ready());
        let said = client.none();
        assert!(
            said.message().contains("none of 2 workflow engines"),
            "{said}"
        );
        drop(held);
    }
}
