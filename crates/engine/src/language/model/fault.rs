//! Raising, catching and retrying.

use std::sync::Arc;

use serde_json::Value;

use super::{Expression, FlowDirective, TaskList, Template};
use crate::language::duration::DurationSource;
use crate::language::error_type::same_error_type;

/// Fails on purpose.
#[derive(Debug, Clone)]
pub struct Raise {
    pub error: ErrorDefinition,
}

/// An error as the document defines it; each template gives a string.
#[derive(Debug, Clone)]
pub struct ErrorDefinition {
    /// Gives a URI.
    pub type_: Template,
    pub status: u16,
    pub title: Option<Template>,
    pub detail: Option<Template>,
    /// The pointer of the raising task when not written.
    pub instance: Option<Template>,
}

/// Runs a list and handles its errors.
#[derive(Debug, Clone)]
pub struct Try {
    pub try_: TaskList,
    pub catch: Catch,
}

/// Which errors are caught, and what is done about them. Retry comes first;
/// `do_` runs once there is no retry left.
#[derive(Debug, Clone)]
pub struct Catch {
    /// `None` catches every error.
    pub errors: Option<ErrorFilter>,
    /// Variable that holds the error, without `$`; `error` when not written.
    pub as_: Arc<str>,
    pub when: Option<Expression>,
    pub except_when: Option<Expression>,
    pub retry: Option<Arc<RetryPolicy>>,
    pub do_: Option<TaskList>,
    /// Where to go on after a caught error; the task's own `then` when not
    /// written. Targets are siblings of the `try` task.
    pub then: Option<FlowDirective>,
}

/// Every property that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorFilter {
    /// Compared with [`same_error_type`].
    pub type_: Option<String>,
    pub status: Option<u16>,
    pub instance: Option<String>,
    pub title: Option<String>,
    pub detail: Option<String>,
}

impl ErrorFilter {
    /// Whether the filter lets through the error that `error` describes, an
    /// object with `type`, `status`, `title`, `detail` and `instance`.
    pub fn matches(&self, error: &Value) -> bool {
        let text = |key: &str| error.get(key).and_then(Value::as_str);
        let equal = |wanted: &Option<String>, key: &str| {
            wanted
                .as_deref()
                .is_none_or(|wanted| text(key) == Some(wanted))
        };
        self.type_
            .as_deref()
            .is_none_or(|wanted| text("type").is_some_and(|given| same_error_type(wanted, given)))
            && self.status.is_none_or(|wanted| {
                error.get("status").and_then(Value::as_u64) == Some(wanted.into())
            })
            && equal(&self.instance, "instance")
            && equal(&self.title, "title")
            && equal(&self.detail, "detail")
    }
}

/// Whether, when and how often a caught error is tried again.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    pub when: Option<Expression>,
    pub except_when: Option<Expression>,
    /// Base of the back-off; none at all when not written.
    pub delay: Option<DurationSource>,
    pub backoff: Backoff,
    pub jitter: Option<Jitter>,
    pub limit: RetryLimit,
}

/// How the delay grows from one attempt to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backoff {
    /// The delay each time.
    #[default]
    Constant,
    /// The delay doubles each time.
    Exponential,
    /// The delay grows by itself each time.
    Linear,
}

/// A random time between both, which is added to the delay.
#[derive(Debug, Clone)]
pub struct Jitter {
    pub from: DurationSource,
    pub to: DurationSource,
}

/// Each limit that is set ends the retries.
#[derive(Debug, Clone, Default)]
pub struct RetryLimit {
    /// How many times at most the list is tried again, the first run not
    /// counted.
    pub attempt_count: Option<u32>,
    /// How long one attempt may take.
    pub attempt_duration: Option<DurationSource>,
    /// How long all may take, from the start of the first attempt.
    pub duration: Option<DurationSource>,
}
