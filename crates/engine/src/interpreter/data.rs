//! How data is transformed, checked and measured on its way.

use std::time::Duration;

use millrace_types::Timestamp;

use super::fault::{Fault, Standard};
use super::machine::Machine;
use crate::expression::{EvalError, Expression, Template, Variables};
use crate::language::duration::{DurationSource, duration_from_value};
use crate::language::model::{Input, Output, Transform};
use crate::language::schema::Schema;
use crate::value::{self, Value};

impl Fault {
    /// What an expression that failed raises.
    fn of_expression(error: &EvalError, pointer: &str) -> Self {
        Self::new(Standard::Expression, pointer, error.to_string())
    }

    /// The error as expressions see it.
    pub(super) fn to_value(&self) -> Value {
        let text = |text: &Option<String>| match text {
            Some(text) => value::string(text.as_str()),
            None => Value::Null,
        };
        let members = [
            ("type", value::string(self.kind.as_str())),
            ("status", self.status.into()),
            ("title", text(&self.title)),
            ("detail", text(&self.detail)),
            ("instance", value::string(self.instance.as_str())),
        ];
        value::object(members.into_iter().filter(|(_, member)| !member.is_null()))
    }
}

/// `{iso8601, epoch: {seconds, milliseconds}}`.
pub(super) fn time_descriptor(at: Timestamp) -> Value {
    let millis = at.as_micros().div_euclid(1000);
    value::object([
        ("iso8601", value::string(at.to_string())),
        (
            "epoch",
            value::object([
                ("seconds", Value::from(millis.div_euclid(1000))),
                ("milliseconds", Value::from(millis)),
            ]),
        ),
    ])
}

pub(super) fn evaluate(
    expression: &Expression,
    input: &Value,
    scope: &Variables,
    pointer: &str,
) -> Result<Value, Fault> {
    expression
        .eval(input, scope)
        .map_err(|error| Fault::of_expression(&error, pointer))
}

/// Whether a condition holds, as jq understands it: anything but `false` and
/// `null`.
pub(super) fn holds(
    condition: &Expression,
    input: &Value,
    scope: &Variables,
    pointer: &str,
) -> Result<bool, Fault> {
    Ok(evaluate(condition, input, scope, pointer)?.is_truthy())
}

pub(super) fn render(
    template: &Template,
    input: &Value,
    scope: &Variables,
    pointer: &str,
) -> Result<Value, Fault> {
    template
        .eval(input, scope)
        .map_err(|error| Fault::of_expression(&error, pointer))
}

/// A template that has to give a string.
pub(super) fn render_text(
    template: &Template,
    input: &Value,
    scope: &Variables,
    pointer: &str,
) -> Result<String, Fault> {
    let rendered = render(template, input, scope, pointer)?;
    match rendered.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Fault::new(
            Standard::Expression,
            pointer,
            format!("a string was expected, and there is: {rendered}"),
        )),
    }
}

/// Bytes of one text of an error: it is stored with each line of the history
/// that tells of it.
const LONGEST_TEXT: usize = 16 * 1024;

pub(super) fn shorten(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.push('…');
    }
    text
}

pub(super) fn transform(
    transform: &Transform,
    input: &Value,
    scope: &Variables,
    pointer: &str,
) -> Result<Value, Fault> {
    match transform {
        Transform::Expression(expression) => evaluate(expression, input, scope, pointer),
        Transform::Template(template) => render(template, input, scope, pointer),
    }
}

pub(super) fn duration(
    source: &DurationSource,
    input: &Value,
    scope: &Variables,
    pointer: &str,
) -> Result<Duration, Fault> {
    match source {
        DurationSource::Fixed(duration) => Ok(*duration),
        DurationSource::Expression(expression) => {
            let given = evaluate(expression, input, scope, pointer)?;
            duration_from_value(&value::to_serde(&given))
                .map_err(|error| Fault::new(Standard::Expression, pointer, error.to_string()))
        }
    }
}

/// Checks `data` against a schema, where there is one. `what` names the data.
pub(super) fn validate(
    schema: Option<&Schema>,
    data: &Value,
    pointer: &str,
    what: &str,
) -> Result<(), Fault> {
    let Some(schema) = schema else {
        return Ok(());
    };
    let Err(violations) = schema.validate(&value::to_serde(data)) else {
        return Ok(());
    };
    let listed: Vec<String> = violations
        .iter()
        .map(|violation| match violation.pointer.as_str() {
            "" => violation.message.clone(),
            at => format!("{at}: {}", violation.message),
        })
        .collect();
    let detail = format!("the {what} does not fit its schema: {}", listed.join("; "));
    Err(Fault::new(Standard::Validation, pointer, shorten(detail)))
}

impl Machine {
    /// Refuses what is too large to be stored with each checkpoint.
    pub(super) fn check_size(&self, data: &Value, pointer: &str) -> Result<(), Fault> {
        if data.weight() <= self.limits.value_weight {
            return Ok(());
        }
        let limit = self.limits.value_weight;
        Err(Fault::new(
            Standard::Runtime,
            pointer,
            format!("a value may weigh at most {limit} bytes in memory"),
        ))
    }

    pub(super) fn workflow_input(&self, input: &Input, raw: Value) -> Result<Value, Fault> {
        const POINTER: &str = "/input";
        validate(input.schema.as_ref(), &raw, POINTER, "input")?;
        let Some(from) = &input.from else {
            return Ok(raw);
        };
        let given = transform(from, &raw, &self.workflow_scope(false), POINTER)?;
        self.check_size(&given, POINTER)?;
        Ok(given)
    }

    pub(super) fn workflow_output(&self, output: &Output, raw: Value) -> Result<Value, Fault> {
        const POINTER: &str = "/output";
        let given = match &output.as_ {
            None => raw,
            Some(as_) => transform(as_, &raw, &self.workflow_scope(true), POINTER)?,
        };
        self.check_size(&given, POINTER)?;
        validate(output.schema.as_ref(), &given, POINTER, "output")?;
        Ok(given)
    }
}
