//! The filters of a `listen`, and what its first event fixes for the others.
//!
//! Whoever keeps the listeners asks their filters. A filter that leaves a
//! value to the first event likes more than the task takes: it is asked once
//! more here, in the order in which the events came, and what the first one
//! has is stored with it. From then on the listeners are narrower.

use serde_json::{Map, Value as Json};

use super::data;
use super::fault::{Fault, Standard};
use super::frame::{Body, Frame, Items, ListenBody, TaskFrame};
use super::listen::{Listener, ListenerFilter, Received};
use super::machine::Machine;
use super::scope::{Several, Stage};
use crate::event::{Correlation, Filter, LARGEST_FIXED, attribute_fault};
use crate::expression::{Expression, Variables};
use crate::language::model::{EventFilter, Listen};
use crate::value::{self, Value};

/// Bytes that a filter may have with all that it compares events to.
const LARGEST_FILTER: usize = 64 * 1024;

/// Bytes that the type of the events may have: they are looked up by it.
const LONGEST_TYPE: usize = 1024;

/// Bytes around a value that is fixed later: its key.
const KEY: usize = 16;

impl ListenerFilter {
    pub(super) fn of(filter: &Filter) -> Self {
        let event_type = filter.with.get("type").and_then(Json::as_str);
        Self {
            event_type: event_type.unwrap_or_default().to_owned(),
            filter: serde_json::to_string(filter).expect("text and JSON are always JSON"),
        }
    }
}

impl Machine {
    /// A filter with all that it compares events to.
    pub(super) fn listener_filter(
        &self,
        id: u64,
        filter: &EventFilter,
        input: &Value,
    ) -> Result<Filter, Fault> {
        let pointer = self.tree.task(id).map(TaskFrame::pointer);
        let pointer = pointer.as_deref().unwrap_or_default();
        let refuse = |detail: String| Fault::new(Standard::Expression, pointer, detail);
        let scope = self.scope(id, Stage::Body, &Several);
        let mut made = Filter::default();
        for (name, template) in &filter.attributes {
            let value = data::render(template, input, &scope, pointer)?;
            let value = value::to_serde(&value);
            if !matches!(value, Json::String(_) | Json::Bool(_) | Json::Number(_)) {
                let why = format!("the attribute `{name}` cannot equal: {value}");
                return Err(refuse(data::shorten(why)));
            }
            if let Some(why) = value.as_str().and_then(attribute_fault) {
                return Err(refuse(format!("the attribute `{name}` {why}")));
            }
            made.with.insert(name.to_string(), value);
        }
        match made.with.get("type") {
            Some(Json::String(text)) if text.is_empty() || text.len() > LONGEST_TYPE => {
                let why = format!("the type of an event has 1 to {LONGEST_TYPE} bytes");
                return Err(refuse(why));
            }
            None | Some(Json::String(_)) => {}
            Some(other) => return Err(refuse(format!("no event is of the type {other}"))),
        }
        if let Some(condition) = &filter.data {
            made.data = Some(condition.source().to_owned());
            capture(condition, &scope, &mut made.variables);
        }
        for correlation in &filter.correlate {
            let expect = match &correlation.expect {
                None => None,
                Some(expect) => {
                    let expect = data::render(expect, input, &scope, pointer)?;
                    Some(value::to_serde(&expect))
                }
            };
            made.correlate.push(Correlation {
                name: expect.is_none().then(|| correlation.name.to_string()),
                from: correlation.from.source().to_owned(),
                expect,
            });
            capture(&correlation.from, &scope, &mut made.variables);
        }
        let size = ListenerFilter::of(&made).filter.len();
        let size = size + made.open().count() * (LARGEST_FIXED + KEY);
        if size > LARGEST_FILTER {
            return Err(refuse(format!(
                "a filter may have {LARGEST_FILTER} bytes with the variables that it names, and \
                 has {size}; compare with `correlate` and `expect` instead"
            )));
        }
        Ok(made)
    }

    /// Keeps the filters of listeners below the task, since they are asked
    /// again when the document's expressions may see other values.
    pub(super) fn keep_filters(
        &mut self,
        id: u64,
        filters: Vec<(u64, Vec<Filter>)>,
    ) -> Option<u64> {
        if filters.is_empty() {
            return None;
        }
        let kept = serde_json::to_value(filters).expect("text and JSON are always JSON");
        let items = value::from_serde(&kept);
        Some(self.tree.insert(Frame::Items(Items { parent: id, items })))
    }

    /// Filters that were kept, with the listeners they are of.
    pub(super) fn kept_filters(&self, body: &ListenBody) -> Vec<(u64, Vec<Filter>)> {
        let kept = match body.filters.and_then(|id| self.tree.get(id)) {
            Some(Frame::Items(kept)) => value::to_serde(&kept.items),
            _ => return Vec::new(),
        };
        // What is unreadable was not written here, and likes nothing more.
        serde_json::from_value(kept).unwrap_or_default()
    }

    /// What an event has of that which is left to the first one, and not yet
    /// fixed; `None` for an event that does not fit what is.
    pub(super) fn correlated(
        &self,
        body: &ListenBody,
        listen: &Listen,
        one: &Received,
    ) -> Option<Map<String, Json>> {
        let kept = self.kept_filters(body);
        let Some((_, filters)) = kept.into_iter().find(|(of, _)| *of == one.listener) else {
            return Some(Map::new());
        };
        filters.into_iter().find_map(|mut filter| {
            filter.fix(&body.fixed);
            let asked = filter.ask(&one.event, |source, _| listen.expression(source));
            asked.ok().flatten()
        })
    }

    /// Fixes what an event has for all that come after it.
    pub(super) fn fix(&mut self, id: u64, body: &mut ListenBody, found: Map<String, Json>) {
        if found.is_empty() {
            return;
        }
        let mut narrower = Vec::new();
        for (listener, mut filters) in self.kept_filters(body) {
            let concerns = |filter: &Filter| filter.open().any(|name| found.contains_key(name));
            if body.has(listener) && filters.iter().any(concerns) {
                for filter in &mut filters {
                    filter.fix(&body.fixed);
                    filter.fix(&found);
                }
                narrower.push((listener, filters));
            }
        }
        body.fixed.extend(found);
        self.set_body(id, Body::Listening(body.clone()));
        for (listener, filters) in narrower {
            self.narrow_listener(listener, &filters);
        }
    }

    fn narrow_listener(&mut self, id: u64, filters: &[Filter]) {
        let filters = filters.iter().map(ListenerFilter::of).collect();
        if let Some(listener) = self.set_listeners.get_mut(&id) {
            listener.filters = filters;
            return;
        }
        let listener = Listener {
            id,
            once: false,
            filters,
        };
        self.narrow_listeners.insert(id, listener);
    }
}

/// A listener that another execution had set, with what was fixed since.
pub(super) fn register(
    id: u64,
    takes_one: bool,
    mut filters: Vec<Filter>,
    fixed: &Map<String, Json>,
) -> Listener {
    let is_open = filters.iter().any(Filter::is_open);
    for filter in &mut filters {
        filter.fix(fixed);
    }
    Listener {
        id,
        once: takes_one && !is_open,
        filters: filters.iter().map(ListenerFilter::of).collect(),
    }
}

/// The values of the variables that an expression names.
fn capture(expression: &Expression, scope: &Variables, into: &mut Map<String, Json>) {
    let globals = Variables::GLOBAL
        .into_iter()
        .filter(|name| *name != "secrets");
    let locals: Vec<&str> = scope.locals().map(|(name, _)| name).collect();
    for name in globals.chain(locals) {
        if expression.uses(name) && !into.contains_key(name) {
            into.insert(name.to_owned(), value::to_serde(&scope.get(name)));
        }
    }
}
