//! Events: what a task waits for, and what it publishes.

use std::sync::Arc;

use super::{Export, Expression, Output, TaskList, Template};

/// Waits for events. `one` is `any` of one filter.
#[derive(Debug, Clone)]
pub struct Listen {
    pub take: Take,
    /// At least one.
    pub filters: Arc<[EventFilter]>,
    /// For `any` only: goes on taking events until then.
    pub until: Option<Until>,
    pub read: ReadAs,
    pub foreach: Option<ForeachEvent>,
}

/// What is done with each event, one after the other, in the order in which
/// they come.
#[derive(Debug, Clone)]
pub struct ForeachEvent {
    /// Variable that holds what was read of the event, without `$`; `item`
    /// when not written.
    pub item: Arc<str>,
    /// Variable that holds the index, without `$`; `index` when not written.
    pub at: Arc<str>,
    /// Begins with the item; without it, the item is the output.
    pub do_: Option<TaskList>,
    /// Of one event: what the task's output has of it.
    pub output: Output,
    /// After each event.
    pub export: Export,
}

impl Listen {
    /// Its filters and those that end it.
    pub fn all_filters(&self) -> impl Iterator<Item = &EventFilter> {
        let until = match &self.until {
            Some(Until::Event(filters)) => Some(filters),
            _ => None,
        };
        self.filters
            .iter()
            .chain(until.into_iter().flat_map(|filters| filters.iter()))
    }

    /// Whether it takes more than one event.
    pub fn takes_more(&self) -> bool {
        self.until.is_some() || (self.take == Take::All && self.filters.len() > 1)
    }

    /// The expression of a filter that has this source.
    pub fn expression(&self, source: &str) -> Option<Expression> {
        let mut expressions = self.all_filters().flat_map(|filter| {
            let correlate = filter.correlate.iter().map(|one| &one.from);
            filter.data.iter().chain(correlate)
        });
        let found = expressions.find(|expression| expression.source() == source);
        found.cloned()
    }
}

/// How many of the filters want an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// One event that any of them likes.
    Any,
    /// One event for each of them.
    All,
}

/// When a task that takes any number of events has enough.
#[derive(Debug, Clone)]
pub enum Until {
    /// Evaluated after each event, on the array of what was read so far.
    Condition(Expression),
    /// An event that one of these likes; it is not read.
    Event(Arc<[EventFilter]>),
}

/// Which events are meant. One without anything likes all.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Attributes by name, with what they have to equal; worked out when the
    /// task begins.
    pub attributes: Vec<(Arc<str>, Template)>,
    /// Evaluated on the event's data.
    pub data: Option<Expression>,
    pub correlate: Vec<Correlation>,
}

/// Something of an event that has to equal something of the execution.
#[derive(Debug, Clone)]
pub struct Correlation {
    /// The same in all filters of a task that leave the value to the first
    /// event.
    pub name: Arc<str>,
    /// Evaluated on the whole event.
    pub from: Expression,
    /// Worked out when the task begins; `None` leaves it to the first event.
    pub expect: Option<Template>,
}

/// What is read of an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadAs {
    #[default]
    Data,
    /// All of it.
    Envelope,
    /// Its data as text.
    Raw,
}

/// Publishes an event.
#[derive(Debug, Clone)]
pub struct Emit {
    /// Attributes in written order, without `data`.
    pub attributes: Arc<[(Arc<str>, Template)]>,
    pub data: Option<Template>,
}
