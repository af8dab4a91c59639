//! Events that start something together: one for each filter of a trigger.

use std::time::Duration;

use bytes::Bytes;
use millrace_types::{ExecutionId, TriggerId};

use crate::{Admission, AdmissionRefused, StoreError, WriteDone, WriteRefused};

/// Filters that one trigger may have.
pub const MOST_FILTERS: u32 = 64;

/// Events that wait for one trigger at most, and their bytes. Each filter has
/// the same share of both, so that events for the one do not keep out those for
/// another.
pub const MOST_WAITING: usize = 1_000;
pub const MOST_WAITING_BYTES: u64 = 32 << 20;

/// Bytes of the events that start one execution together; of one event it is
/// its filter's share.
pub const MOST_INPUT_BYTES: u64 = 8 << 20;

/// An event for a trigger that wants one for each of its filters. It is kept
/// until the others are there; then the first that came for each filter, one
/// event for several if it fits them, start an execution in the transaction
/// that takes the last of them in. Those that came later wait for the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathering {
    pub trigger: TriggerId,
    /// As the caller knows it.
    pub revision: u64,
    /// What tells the trigger's filters from others, 255 bytes at most: what
    /// waits for others is forgotten.
    pub wants: String,
    /// How many filters the trigger has.
    pub filters: u32,
    /// Those that the event fits, the first as the lowest bit.
    pub fits: u64,
    /// What tells the event from all others; 255 bytes at most.
    pub key: String,
    /// JSON text.
    pub event: Bytes,
    /// For how long an event is known again once it has started something.
    pub keep: Duration,
    /// What it starts; its input becomes an array of the events, in the order
    /// in which they came.
    pub admission: Admission,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gathered {
    /// It is part of what started this execution, now or before.
    Started(ExecutionId),
    /// It waits for others.
    Waits,
    /// As much waits already for each filter that it fits as may, or the event
    /// is too large: it is not kept. An event that completes what waits is
    /// never one too many.
    Full,
    /// Nothing was started. An input whose concurrency key cannot be evaluated
    /// is gone, anything else has not changed.
    Refused(AdmissionRefused),
}

impl Gathered {
    /// What became of the event whose admission came to this.
    ///
    /// # Errors
    /// `Rejected` for what no admission comes to.
    pub fn by(admission: Result<WriteDone, WriteRefused>) -> Result<Self, StoreError> {
        match admission {
            Ok(WriteDone::Admitted(admitted)) => Ok(Self::Started(admitted.id)),
            Err(WriteRefused::Admission(refused)) => Ok(Self::Refused(refused)),
            Ok(_) => Err(StoreError::Rejected("an admission was not answered".into())),
            Err(refused) => Err(StoreError::Rejected(refused.to_string())),
        }
    }

    /// Whether it stays stored. What is refused leaves no trace, unless it
    /// would be refused for ever.
    pub const fn is_kept(&self) -> bool {
        match self {
            Self::Refused(refused) => matches!(refused, AdmissionRefused::KeyFailed(..)),
            _ => true,
        }
    }

    /// The execution that it has started.
    pub const fn execution(&self) -> Option<ExecutionId> {
        match self {
            Self::Started(id) => Some(*id),
            _ => None,
        }
    }
}

/// An event that waits, in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Grows.
    pub number: i64,
    pub fits: u64,
    pub bytes: u64,
}

impl Gathering {
    /// Whether it may be kept with those that wait. One that completes them
    /// always may: of a filter that it fits none waits.
    pub fn has_room(&self, waiting: &[Waiting]) -> bool {
        let (filters, bytes) = (self.filters.max(1), self.event.len() as u64);
        if bytes > MOST_INPUT_BYTES / u64::from(filters) {
            return false;
        }
        let most = MOST_WAITING / filters as usize;
        let most_bytes = MOST_WAITING_BYTES / u64::from(filters);
        let fits = |of: u64, filter: u32| (of >> filter) & 1 == 1;
        let mut own = (0..self.filters).filter(|filter| fits(self.fits, *filter));
        own.any(|filter| {
            let same = || waiting.iter().filter(|one| fits(one.fits, filter));
            let held: u64 = same().map(|one| one.bytes).sum();
            same().count() < most && held.saturating_add(bytes) <= most_bytes
        })
    }

    /// The event itself, once it is stored under this number.
    pub fn waits_as(&self, number: i64) -> Waiting {
        Waiting {
            number,
            fits: self.fits,
            bytes: self.event.len() as u64,
        }
    }

    /// Numbers of the events that start something, in their order; `None`
    /// while a filter has none.
    pub fn complete(&self, waiting: &[Waiting]) -> Option<Vec<i64>> {
        let mut chosen = Vec::new();
        for filter in 0..self.filters {
            let first = waiting.iter().find(|one| (one.fits >> filter) & 1 == 1)?;
            chosen.push(first.number);
        }
        chosen.sort_unstable();
        chosen.dedup();
        Some(chosen)
    }
}

/// The input of what these events start.
pub fn input_of(events: &[impl AsRef<[u8]>]) -> Bytes {
    let mut input = vec![b'['];
    for (place, event) in events.iter().enumerate() {
        if place > 0 {
            input.push(b',');
        }
        input.extend_from_slice(event.as_ref());
    }
    input.push(b']');
    input.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TriggerRef;
    use millrace_types::{DeploymentId, TriggerKind};

    fn gathering(filters: u32) -> Gathering {
        let trigger = TriggerId::new();
        Gathering {
            trigger,
            revision: 1,
            wants: "a and b".into(),
            filters,
            fits: 1,
            key: "k".into(),
            event: Bytes::from_static(b"{}"),
            keep: Duration::from_hours(24),
            admission: Admission {
                id: ExecutionId::new(),
                deployment_id: DeploymentId::new(),
                trigger: TriggerRef {
                    kind: TriggerKind::Event,
                    id: Some((trigger, 1)),
                },
                input: Bytes::new(),
                dedupe: None,
                owner: None,
                traceparent: None,
                rerun_of: None,
            },
        }
    }

    fn waiting(number: i64, fits: u64) -> Waiting {
        Waiting {
            number,
            fits,
            bytes: 10,
        }
    }

    #[test]
    fn the_first_for_each_filter_start_something() {
        let two = gathering(2);
        assert_eq!(two.complete(&[]), None);
        assert_eq!(two.complete(&[waiting(1, 1), waiting(2, 1)]), None);
        let all = [waiting(1, 0b10), waiting(2, 0b10), waiting(3, 0b01)];
        assert_eq!(two.complete(&all), Some(vec![1, 3]));
        assert_eq!(two.complete(&[waiting(4, 0b11)]), Some(vec![4]));
    }

    #[test]
    fn what_waits_is_bounded_for_each_filter() {
        let share = MOST_WAITING / 8;
        let mut one = gathering(8);
        assert!(one.has_room(&vec![waiting(1, 0b01); share - 1]));
        let full = vec![waiting(1, 0b01); share];
        assert!(!one.has_room(&full));
        one.fits = 0b11;
        assert!(one.has_room(&full), "there is room for the second filter");
        one.fits = 0b01;
        let mut large = waiting(1, 0b01);
        large.bytes = MOST_WAITING_BYTES / 8 - 1;
        assert!(!one.has_room(&[large]));
        one.event = vec![b' '; 1 + (1 << 20)].into();
        assert!(!one.has_room(&[]), "eight such are too much");
    }

    #[test]
    fn what_is_missing_finds_room_however_much_waits() {
        let one = gathering(2);
        let full = vec![waiting(1, 0b10); MOST_WAITING];
        assert!(one.has_room(&full));
        let other = Gathering { fits: 0b10, ..one };
        assert!(!other.has_room(&full));
    }

    #[test]
    fn the_input_is_an_array_of_the_events() {
        let input = input_of(&[&br#"{"a":1}"#[..], b"{}"]);
        assert_eq!(&input[..], br#"[{"a":1},{}]"#);
    }
}
