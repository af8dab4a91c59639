//! Which stored trigger each trigger of a bundle goes on from.

use std::collections::{HashMap, HashSet};

use crate::NewTrigger;

/// What a stored trigger is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSlot<'a> {
    pub slot: &'a str,
    /// The trigger as JSON text.
    pub spec: &'a [u8],
}

/// A slot for each trigger: its name, or its kind and a number. One without a
/// name goes on from an equal one; where there is none, from the first of its
/// kind that is left, so that a change in place keeps the id, and removing one
/// changes nothing about the others.
pub fn trigger_slots(triggers: &[NewTrigger], stored: &[StoredSlot<'_>]) -> Vec<String> {
    let mut taken: HashSet<&str> = HashSet::new();
    let mut slots: Vec<Option<String>> = Vec::with_capacity(triggers.len());
    for trigger in triggers {
        slots.push(match &trigger.name {
            Some(name) => Some(format!("name:{name}")),
            None => stored
                .iter()
                .find(|old| {
                    nameless(old.slot, trigger).is_some()
                        && old.spec == trigger.spec_json.as_bytes()
                        && !taken.contains(old.slot)
                })
                .map(|old| {
                    taken.insert(old.slot);
                    old.slot.to_owned()
                }),
        });
    }
    let mut free = Free::of(stored, &taken);
    slots
        .into_iter()
        .zip(triggers)
        .map(|(slot, trigger)| slot.unwrap_or_else(|| free.next(trigger.kind.as_str())))
        .collect()
}

/// The number in the slot of a nameless trigger of this one's kind.
fn nameless(slot: &str, trigger: &NewTrigger) -> Option<u32> {
    let (kind, number) = slot.split_once(':')?;
    (kind == trigger.kind.as_str())
        .then(|| number.parse().ok())
        .flatten()
}

/// The numbers that are left, by kind: those of stored triggers first.
struct Free {
    left: HashMap<String, Vec<u32>>,
    used: HashSet<(String, u32)>,
}

impl Free {
    fn of(stored: &[StoredSlot<'_>], taken: &HashSet<&str>) -> Self {
        let mut free = Self {
            left: HashMap::new(),
            used: HashSet::new(),
        };
        for old in stored {
            let Some((kind, number)) = old.slot.split_once(':') else {
                continue;
            };
            let Ok(number) = number.parse() else {
                continue;
            };
            if kind == "name" {
                continue;
            }
            free.used.insert((kind.to_owned(), number));
            if !taken.contains(old.slot) {
                free.left.entry(kind.to_owned()).or_default().push(number);
            }
        }
        for numbers in free.left.values_mut() {
            // The smallest is last, where it is taken from.
            numbers.sort_unstable_by(|a, b| b.cmp(a));
        }
        free
    }

    fn next(&mut self, kind: &str) -> String {
        let number = self.left.get_mut(kind).and_then(Vec::pop).or_else(|| {
            (1..=u32::MAX).find(|number| !self.used.contains(&(kind.to_owned(), *number)))
        });
        let number = number.unwrap_or_default();
        self.used.insert((kind.to_owned(), number));
        format!("{kind}:{number}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_types::TriggerKind;

    fn trigger(name: Option<&str>, kind: TriggerKind, spec: &str) -> NewTrigger {
        NewTrigger {
            kind,
            name: name.map(Into::into),
            enabled: true,
            spec_json: spec.into(),
            route: None,
            secrets: None,
            event_type: None,
        }
    }

    fn of(specs: &[&str], stored: &[(&str, &str)]) -> Vec<String> {
        let triggers: Vec<_> = specs
            .iter()
            .map(|spec| trigger(None, TriggerKind::Webhook, spec))
            .collect();
        let stored: Vec<_> = stored
            .iter()
            .map(|(slot, spec)| StoredSlot {
                slot,
                spec: spec.as_bytes(),
            })
            .collect();
        trigger_slots(&triggers, &stored)
    }

    #[test]
    fn new_triggers_are_numbered_by_kind_or_known_by_name() {
        let triggers = [
            trigger(None, TriggerKind::Webhook, "a"),
            trigger(Some("x"), TriggerKind::Webhook, "b"),
            trigger(None, TriggerKind::Cron, "c"),
            trigger(None, TriggerKind::Webhook, "d"),
        ];
        let expected = ["webhook:1", "name:x", "cron:1", "webhook:2"];
        assert_eq!(trigger_slots(&triggers, &[]), expected);
    }

    #[test]
    fn one_that_is_equal_stays_wherever_it_stands() {
        let stored = [("webhook:1", "a"), ("webhook:2", "b"), ("cron:3", "b")];
        assert_eq!(of(&["b"], &stored), ["webhook:2"]);
        assert_eq!(of(&["b", "a"], &stored), ["webhook:2", "webhook:1"]);
        assert_eq!(
            of(&["b", "c", "d"], &stored),
            ["webhook:2", "webhook:1", "webhook:3"]
        );
        assert_eq!(of(&["a", "a"], &stored), ["webhook:1", "webhook:2"]);
    }

    #[test]
    fn one_that_changed_in_place_keeps_its_slot() {
        let stored = [("webhook:1", "a"), ("webhook:2", "b"), ("name:1", "c")];
        assert_eq!(of(&["x", "b"], &stored), ["webhook:1", "webhook:2"]);
        assert_eq!(
            of(&["x", "y", "z"], &stored),
            ["webhook:1", "webhook:2", "webhook:3"]
        );
    }
}
