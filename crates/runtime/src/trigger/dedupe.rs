//! The names of messages, kept apart by trigger: who may send to one webhook,
//! or start a deployment by hand, cannot use up a name of another webhook's
//! messages.

use millrace_types::TriggerId;

use crate::deployment::digest;

/// Longest key that the store takes, in bytes.
const MAX: usize = 255;

/// Starts the keys of a trigger's messages.
const TRIGGER: &str = "trg:";

/// Starts the keys of starts by hand that would else look like another's.
const MANUAL: &str = "man:";

/// Starts the keys of events.
const EVENT: &str = "evt:";

/// What no start by hand may begin with.
const RESERVED: [&str; 3] = [TRIGGER, EVENT, MANUAL];

/// The key under which the message `name` of a trigger (by hand without one)
/// is known within its deployment. Most names given by hand stand as they
/// are, and did so before there were prefixes.
pub(crate) fn key(trigger: Option<&TriggerId>, name: &str) -> String {
    match trigger {
        Some(id) => join(&trigger_prefix(TRIGGER, id), name),
        None if RESERVED.iter().any(|prefix| name.starts_with(prefix)) => join(MANUAL, name),
        None => name.to_owned(),
    }
}

/// The key under which an event is known to a trigger: by its source and id.
pub(crate) fn of_event(trigger: &TriggerId, source: &str, id: &str) -> String {
    join(
        &trigger_prefix(EVENT, trigger),
        &digest::parts(&[source, id]),
    )
}

fn trigger_prefix(kind: &str, id: &TriggerId) -> String {
    // Ids are not chosen by senders: 64 bits are enough to tell them apart.
    format!("{kind}{}:", &digest::text(&id.to_string())[..16])
}

/// A name that does not fit, in length or by its characters, is known by its digest, behind a `#` that no
/// other name may start with.
fn join(prefix: &str, name: &str) -> String {
    if prefix.len() + name.len() <= MAX
        && !name.starts_with('#')
        && !name.contains(char::is_control)
    {
        format!("{prefix}{name}")
    } else {
        format!("{prefix}#{}", digest::text(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_and_starts_by_hand_have_names_of_their_own() {
        let (one, other) = (TriggerId::new(), TriggerId::new());
        let of_one = key(Some(&one), "msg_1");
        assert_eq!(of_one, key(Some(&one), "msg_1"));
        assert_ne!(of_one, key(Some(&other), "msg_1"));
        assert_eq!(key(None, "msg_1"), "msg_1");
        assert_ne!(key(None, &of_one), of_one);
        assert_ne!(key(None, "man:x"), key(None, "x"));
        assert_ne!(key(None, "man:man:x"), key(None, "man:x"));
    }

    #[test]
    fn long_names_fit_and_stay_apart() {
        let id = TriggerId::new();
        let (long, longer) = ("x".repeat(254), "x".repeat(255));
        let keys = [key(Some(&id), &long), key(Some(&id), &longer)];
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| key.len() <= MAX));
        let digest = &keys[0][keys[0].find('#').unwrap()..];
        assert_ne!(key(Some(&id), digest), keys[0]);
    }
}
