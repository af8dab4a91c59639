//! `emit`: from the task to the event that it publishes.

use millrace_types::Timestamp;

use super::begin::Begun;
use super::data;
use super::event::{Detail, EventKind, EventName};
use super::fault::{Fault, Standard};
use super::frame::TaskFrame;
use super::identity::Identity;
use super::machine::Machine;
use super::scope::{Several, Stage};
use crate::event::{MAX_ATTRIBUTE, MAX_DEPTH, attribute_fault};
use crate::language::model::{Emit, FlowDirective};
use crate::value::{self, Value};

impl Machine {
    /// The event waits for the next checkpoint, which publishes it. Should
    /// that not come about, the task is done again and makes the event with
    /// the same id.
    pub(super) fn begin_emit(
        &mut self,
        id: u64,
        emit: &Emit,
        input: &Value,
        then: FlowDirective,
        now: Timestamp,
    ) -> Result<Begun, Fault> {
        let pointer = self.tree.task(id).map(TaskFrame::pointer);
        let pointer = pointer.as_deref().unwrap_or_default();
        let refuse = |detail: String| Fault::new(Standard::Validation, pointer, detail);
        let scope = self.scope(id, Stage::Body, &Several);
        let info = &self.program.workflow.info;
        let key = Identity::of(&self.about.execution_id, &self.tree, id).key();
        let source = format!("/{}/{}/{}", info.namespace, info.name, info.version);
        let mut members = vec![
            ("specversion", value::string("1.0")),
            ("id", value::string(key)),
            ("source", value::string(source)),
            ("type", Value::Null),
            ("time", value::string(now.to_string())),
        ];
        for (name, template) in emit.attributes.iter() {
            let given = data::render(template, input, &scope, pointer)?;
            check(name, &given).map_err(|why| refuse(format!("the attribute `{name}` {why}")))?;
            match members.iter_mut().find(|(known, _)| *known == &**name) {
                Some((_, value)) => *value = given,
                None => members.push((name, given)),
            }
        }
        if let Some(content) = &emit.data {
            if !members.iter().any(|(name, _)| *name == "datacontenttype") {
                members.push(("datacontenttype", value::string("application/json")));
            }
            members.push(("data", data::render(content, input, &scope, pointer)?));
        }
        let event = value::object(members);
        self.check_size(&event, pointer)?;
        if event.depth() > MAX_DEPTH {
            let detail =
                format!("an event has at most {MAX_DEPTH} arrays and objects inside each other");
            return Err(refuse(detail));
        }
        let detail = Detail {
            event: Some(EventName::of(&event)),
            ..Detail::default()
        };
        self.record(id, EventKind::EventEmitted, detail, now);
        self.emit(value::to_json(&event));
        Ok(Begun::Done(event, then))
    }
}

/// What the specification of events asks of an attribute.
fn check(name: &str, value: &Value) -> Result<(), String> {
    let is_needed = matches!(name, "id" | "source" | "type");
    if let Some(text) = value.as_str() {
        return match text.len() {
            0 if is_needed => Err("must not be empty".into()),
            1024.. if name == "type" => Err("has at most 1023 bytes".into()),
            length if length > MAX_ATTRIBUTE => Err(format!("has at most {MAX_ATTRIBUTE} bytes")),
            _ => attribute_fault(text).map_or(Ok(()), Err),
        };
    }
    let is_fine = match value {
        Value::Bool(_) => true,
        // As who publishes it reads it: 1.0 is no whole number.
        Value::Num(number) if value::is_integer(number) => value
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        _ => false,
    };
    if is_fine && !is_needed {
        Ok(())
    } else if is_needed {
        Err(data::shorten(format!("must be a string, and is: {value}")))
    } else {
        Err(data::shorten(format!(
            "must be a string, a boolean or a whole number of 32 bits, and is: {value}"
        )))
    }
}
