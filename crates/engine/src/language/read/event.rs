//! `listen` and `emit`.

use std::collections::HashMap;
use std::sync::Arc;

use super::fields::Fields;
use super::{Data, Place, Reader, Scope};
use crate::event::is_attribute_name;
use crate::expression::Variables;
use crate::language::model::{
    Correlation, Emit, EventFilter, Expression, ForeachEvent, Listen, ReadAs, Take, Template, Until,
};

/// Filters in one task at most: each is looked up by itself when an event
/// comes.
const MAX_FILTERS: usize = 16;

/// Attributes in one filter, or in one event, at most.
const MAX_ATTRIBUTES: usize = 32;

/// The ways to say which events are waited for.
const STRATEGIES: [&str; 3] = ["one", "any", "all"];

impl<'d> Reader<'d> {
    pub(super) fn listen(&mut self, fields: &mut Fields<'d>, scope: &Scope) -> Option<Listen> {
        let foreach = fields
            .take("foreach")
            .map(|place| self.foreach(&place, scope));
        let place = fields.take("listen")?;
        let mut fields = self.fields(&place)?;
        let to = fields
            .require(self, "to")
            .and_then(|place| self.strategy(&place, scope, true));
        let read = match fields.take("read") {
            None => Some(ReadAs::default()),
            Some(place) => self.read_as(&place),
        };
        fields.finish(self);
        let (take, filters, until) = to?;
        let listen = Listen {
            take,
            filters: filters.into(),
            until,
            read: read?,
            foreach: transposed(foreach)?,
        };
        self.check_correlations(&place, &listen);
        Some(listen)
    }

    fn foreach(&mut self, place: &Place<'d>, scope: &Scope) -> Option<ForeachEvent> {
        let mut fields = self.fields(place)?;
        let (item, at) = self.iteration_names(&mut fields, "item");
        let inner = scope.with(&[&item, &at]);
        let do_ = fields
            .take("do")
            .map(|place| self.task_list(&place, &inner));
        let output = fields
            .take("output")
            .map(|place| self.output(&place, &inner));
        let export = fields
            .take("export")
            .map(|place| self.export(&place, &inner));
        fields.finish(self);
        Some(ForeachEvent {
            item,
            at,
            do_: transposed(do_)?,
            output: output.unwrap_or_default(),
            export: export.unwrap_or_default(),
        })
    }

    /// What is left to the first event is left to it by all filters: what an
    /// event fixes is known by the correlation's name.
    fn check_correlations(&mut self, place: &Place<'d>, listen: &Listen) {
        let mut known: HashMap<&str, bool> = HashMap::new();
        for one in listen.all_filters().flat_map(|filter| &filter.correlate) {
            let is_open = one.expect.is_none();
            if *known.entry(&*one.name).or_insert(is_open) != is_open {
                let name = &one.name;
                let why = format!(
                    "the correlation `{name}` has `expect` in one filter and none in another; \
                     write it in all of them, or in none"
                );
                let to = place.descend("/to");
                return self.error(&to, why);
            }
        }
    }

    /// Which events start the workflow. Whoever deploys it makes a trigger of
    /// this; here it is checked, and nothing else.
    pub(super) fn schedule_on(&mut self, place: &Place<'d>) {
        let Some(mut fields) = self.fields(place) else {
            return;
        };
        for key in ["until", "read"] {
            fields.refuse(self, key, "");
        }
        let given = STRATEGIES.into_iter().filter(|key| fields.has(key));
        if given.count() != 1 {
            self.error_at_key(place, "this needs one of `one`, `any` and `all`");
        }
        for key in ["any", "all"] {
            let Some(place) = fields.take(key) else {
                continue;
            };
            let filters = self.items(&place).unwrap_or_default();
            if filters.len() > MAX_FILTERS {
                self.error(&place, format!("there are at most {MAX_FILTERS} filters"));
            } else if filters.is_empty() && key == "all" {
                self.error(&place, "`all` needs at least one filter");
            }
            for place in filters {
                self.start_filter(&place);
            }
        }
        if let Some(one) = fields.take("one") {
            self.start_filter(&one);
        }
        fields.finish(self);
    }

    /// A filter that is asked when nothing of an execution is known.
    fn start_filter(&mut self, place: &Place<'d>) {
        let Some(mut fields) = self.fields(place) else {
            return;
        };
        fields.refuse(self, "correlate", "");
        let with = fields.require(self, "with");
        fields.finish(self);
        let Some(with) = with else { return };
        let Some((attributes, data)) = self.event_properties(&with, &Scope::default(), true) else {
            return;
        };
        let unknown = "this has to be known before the workflow starts";
        for (name, value) in attributes {
            if value.literal().is_none() {
                let at = with.descend(&format!("/{name}"));
                self.error(&at, unknown);
            }
        }
        if let Some(Payload::Condition(condition)) = data
            && Variables::GLOBAL.iter().any(|name| condition.uses(name))
        {
            let at = with.descend("/data");
            self.error(&at, unknown);
        }
    }

    fn read_as(&mut self, place: &Place<'d>) -> Option<ReadAs> {
        match self.text(place)?.text.as_str() {
            "data" => Some(ReadAs::Data),
            "envelope" => Some(ReadAs::Envelope),
            "raw" => Some(ReadAs::Raw),
            other => {
                let hint = self.suggest(other, ["data", "envelope", "raw"]);
                self.error(
                    place,
                    format!(
                        "an event is read as `data`, `envelope` or `raw`, not as `{other}`{hint}"
                    ),
                );
                None
            }
        }
    }

    /// `one`, `any` or `all`; what ends another one has no `until` of its own.
    fn strategy(
        &mut self,
        place: &Place<'d>,
        scope: &Scope,
        is_outer: bool,
    ) -> Option<(Take, Vec<EventFilter>, Option<Until>)> {
        let mut fields = self.fields(place)?;
        let given: Vec<&str> = STRATEGIES
            .into_iter()
            .filter(|key| fields.has(key))
            .collect();
        let [kind] = *given.as_slice() else {
            self.error_at_key(place, "this needs one of `one`, `any` and `all`");
            for key in STRATEGIES.into_iter().chain(["until"]) {
                fields.take(key);
            }
            fields.finish(self);
            return None;
        };
        let read = match kind {
            "one" => fields
                .take("one")
                .and_then(|place| self.event_filter(&place, scope))
                .map(|filter| (Take::Any, vec![filter])),
            "any" => fields
                .take("any")
                .and_then(|place| self.event_filters(&place, scope))
                .map(|mut filters| {
                    if filters.is_empty() {
                        // None of them means every event.
                        filters.push(EventFilter::default());
                    }
                    (Take::Any, filters)
                }),
            _ if !is_outer => {
                fields.refuse(self, "all", "what ends a `listen` is `one` or `any`");
                None
            }
            _ => {
                let place = fields.take("all")?;
                let filters = self.event_filters(&place, scope);
                if filters.as_ref().is_some_and(Vec::is_empty) {
                    self.error(&place, "`all` needs at least one filter");
                }
                filters.map(|filters| (Take::All, filters))
            }
        };
        let mut complete = true;
        let until = match fields.take("until") {
            Some(place) if kind != "any" || !is_outer => {
                self.error_at_key(&place, "`until` stands beside `any` only");
                None
            }
            Some(place) => {
                let until = self.until(&place, scope);
                complete = until.is_some();
                until
            }
            None => None,
        };
        fields.finish(self);
        let (take, filters) = read?;
        complete.then_some((take, filters, until))
    }

    fn until(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Until> {
        if let Data::Mapping(_) = &place.node.data {
            let (_, filters, _) = self.strategy(place, scope, false)?;
            return Some(Until::Event(filters.into()));
        }
        self.expression(place, scope).map(Until::Condition)
    }

    fn event_filters(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Vec<EventFilter>> {
        let items = self.items(place)?;
        if items.len() > MAX_FILTERS {
            self.error(place, format!("there are at most {MAX_FILTERS} filters"));
            return None;
        }
        let count = items.len();
        let filters: Vec<_> = items
            .iter()
            .filter_map(|place| self.event_filter(place, scope))
            .collect();
        (filters.len() == count).then_some(filters)
    }

    fn event_filter(&mut self, place: &Place<'d>, scope: &Scope) -> Option<EventFilter> {
        let mut fields = self.fields(place)?;
        let with = fields
            .require(self, "with")
            .and_then(|place| self.event_properties(&place, scope, true));
        let correlate = match fields.take("correlate") {
            None => Some(Vec::new()),
            Some(place) => self.correlations(&place, scope),
        };
        fields.finish(self);
        let (attributes, data) = with?;
        Some(EventFilter {
            attributes,
            data: data.and_then(|data| match data {
                Payload::Condition(condition) => Some(condition),
                Payload::Content(_) => None,
            }),
            correlate: correlate?,
        })
    }

    fn correlations(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Vec<Correlation>> {
        let Data::Mapping(entries) = &place.node.data else {
            self.wrong_type(place, "an object");
            return None;
        };
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            let place = place.child(entry);
            let Some(mut fields) = self.fields(&place) else {
                continue;
            };
            let from = fields
                .require(self, "from")
                .and_then(|place| self.expression(&place, scope));
            let expect = fields
                .take("expect")
                .map(|place| self.template(&place, scope));
            fields.finish(self);
            if let (Some(from), Some(expect)) = (from, transposed(expect)) {
                let name = entry.key.as_str().into();
                found.push(Correlation { name, from, expect });
            }
        }
        (found.len() == entries.len()).then_some(found)
    }

    pub(super) fn emit(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Emit> {
        let mut fields = self.fields(place)?;
        let event = fields.require(self, "event");
        fields.finish(self);
        let event = event?;
        let mut fields = self.fields(&event)?;
        let with = fields.require(self, "with");
        fields.finish(self);
        let with = with?;
        let (attributes, data) = self.event_properties(&with, scope, false)?;
        if !attributes.iter().any(|(name, _)| &**name == "type") {
            self.error_at_key(&with, "`type` is missing here");
            return None;
        }
        Some(Emit {
            attributes: attributes.into(),
            data: data.and_then(|data| match data {
                Payload::Content(content) => Some(content),
                Payload::Condition(_) => None,
            }),
        })
    }

    /// The attributes of an event, and its data: a condition in a filter.
    #[expect(clippy::type_complexity, reason = "two parts of one object")]
    fn event_properties(
        &mut self,
        place: &Place<'d>,
        scope: &Scope,
        is_filter: bool,
    ) -> Option<(Vec<(Arc<str>, Template)>, Option<Payload>)> {
        let Data::Mapping(entries) = &place.node.data else {
            self.wrong_type(place, "an object");
            return None;
        };
        if entries.is_empty() {
            self.error(place, "at least one property is needed here");
            return None;
        }
        if entries.len() > MAX_ATTRIBUTES {
            self.error(
                place,
                format!("there are at most {MAX_ATTRIBUTES} properties"),
            );
            return None;
        }
        let mut attributes = Vec::with_capacity(entries.len());
        let mut data = None;
        let mut complete = true;
        for entry in entries {
            let place = place.child(entry);
            if entry.key == "data" {
                data = if is_filter {
                    self.expression(&place, scope).map(Payload::Condition)
                } else {
                    self.template(&place, scope).map(Payload::Content)
                };
                complete &= data.is_some();
            } else if let Some(value) = self.attribute(&entry.key, &place, scope) {
                attributes.push((entry.key.as_str().into(), value));
            } else {
                complete = false;
            }
        }
        complete.then_some((attributes, data))
    }

    fn attribute(&mut self, name: &str, place: &Place<'d>, scope: &Scope) -> Option<Template> {
        if name == "specversion" || name == "data_base64" {
            self.error_at_key(place, format!("`{name}` cannot be given here"));
            return None;
        }
        if !is_attribute_name(name) {
            self.error_at_key(
                place,
                format!("`{name}` is not the name of an attribute: lower-case letters and digits"),
            );
            return None;
        }
        match &place.node.data {
            Data::Text(_) | Data::Bool(_) | Data::Number(_) => self.template(place, scope),
            _ => {
                self.wrong_type(place, "a text, a number or a boolean");
                None
            }
        }
    }
}

/// `None` where something was given that cannot be read.
#[expect(clippy::option_option, reason = "not given, given wrongly, given")]
fn transposed<T>(given: Option<Option<T>>) -> Option<Option<T>> {
    match given {
        None => Some(None),
        Some(None) => None,
        Some(Some(read)) => Some(Some(read)),
    }
}

enum Payload {
    /// What a filter asks of the data.
    Condition(Expression),
    /// The data of an event.
    Content(Template),
}
