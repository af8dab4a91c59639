//! A workflow as the interpreter walks it: names resolved, expressions and
//! schemas compiled, nothing left to look up or to fail on by its shape.
//!
//! What a document says by reference (`use.retries`, `use.errors`, …) stands
//! here in place, compiled with the variables that are in scope where it is
//! used. Everything is cheap to clone or behind an `Arc`.

mod call;
mod event;
mod fault;
mod task;

use std::sync::Arc;

pub use call::{Authentication, Basic, Bearer, CallHttp, Credentials, Endpoint, HttpOutput, Uri};
pub use event::{Correlation, Emit, EventFilter, ForeachEvent, Listen, ReadAs, Take, Until};
pub use fault::{
    Backoff, Catch, ErrorDefinition, ErrorFilter, Jitter, Raise, RetryLimit, RetryPolicy, Try,
};
pub use task::{
    Call, FlowDirective, For, NamedTask, Set, Switch, SwitchCase, Task, TaskCommon, TaskKind,
    TaskList, Wait,
};

use super::duration::DurationSource;
use super::schema::Schema;
pub use crate::expression::{Expression, Template};

/// A compiled workflow document.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// What the document says of itself.
    pub info: DocumentInfo,
    /// Applied once to the input that the execution was started with.
    pub input: Input,
    /// Applied once to the output of the last task.
    pub output: Output,
    /// Names of the secrets that the document declares (`use.secrets`), sorted.
    pub secrets: Arc<[Arc<str>]>,
    /// How long the whole execution may take.
    pub timeout: Option<DurationSource>,
    /// The tasks of the document, under the pointer `/do`.
    pub do_: TaskList,
}

impl Workflow {
    /// The task list that `pointer` names, such as `/do` or
    /// `/do/0/tryGetPet/try`; `None` when the document has none there.
    pub fn list(&self, pointer: &str) -> Option<&TaskList> {
        self.do_.find_list(pointer)
    }

    /// The task that `pointer` names, such as `/do/0/tryGetPet/try/0/getPet`.
    pub fn task(&self, pointer: &str) -> Option<&NamedTask> {
        self.do_.find_task(pointer)
    }
}

/// What a document says of itself, and `$workflow.definition.document` shows.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentInfo {
    /// Version of the language, `1.0.x`.
    pub dsl: String,
    pub namespace: String,
    pub name: String,
    /// The author's version of the workflow, a semantic version.
    pub version: String,
    pub title: Option<String>,
    pub summary: Option<String>,
    pub tags: Option<serde_json::Map<String, serde_json::Value>>,
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// How raw input becomes `$input`: checked first, then transformed.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// Checked against the raw input.
    pub schema: Option<Schema>,
    /// Evaluated on the raw input.
    pub from: Option<Transform>,
}

/// How raw output becomes output: transformed first, then checked.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Checked against the transformed output.
    pub schema: Option<Schema>,
    /// Evaluated on the raw output.
    pub as_: Option<Transform>,
}

/// What replaces `$context`: transformed first, then checked.
#[derive(Debug, Clone, Default)]
pub struct Export {
    /// Checked against the new context.
    pub schema: Option<Schema>,
    /// Evaluated on the transformed output.
    pub as_: Option<Transform>,
}

/// A place that holds either one expression or a value with expressions in it.
#[derive(Debug, Clone)]
pub enum Transform {
    /// A string: jq, written bare or as `${ … }`.
    Expression(Expression),
    /// An object or array, whose strings may be `${ … }`.
    Template(Template),
}
