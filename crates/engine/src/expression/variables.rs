//! What an expression sees besides its input.

use std::sync::Arc;

use crate::value::Value;

/// The values of an evaluation's variables. What is unset is null.
///
/// The names are those of the language, without `$`; `locals` are those a task
/// adds, such as the `item` and `index` of a `for`.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// `$context`
    pub context: Value,
    /// `$input`
    pub input: Value,
    /// `$output`
    pub output: Value,
    /// `$secrets`
    pub secrets: Value,
    /// `$task`
    pub task: Value,
    /// `$workflow`
    pub workflow: Value,
    /// `$runtime`
    pub runtime: Value,
    /// `$authorization`
    pub authorization: Value,
    locals: Vec<(Arc<str>, Value)>,
}

impl Variables {
    /// The names every expression may use, without `$`.
    pub const GLOBAL: [&'static str; 8] = [
        "context",
        "input",
        "output",
        "secrets",
        "task",
        "workflow",
        "runtime",
        "authorization",
    ];

    /// Adds a local, named without `$`. It hides an earlier one of that name,
    /// and a global.
    pub fn set(&mut self, name: impl Into<Arc<str>>, value: Value) {
        self.locals.push((name.into(), value));
    }

    /// The same variables and one local more.
    #[must_use]
    pub fn with(mut self, name: impl Into<Arc<str>>, value: Value) -> Self {
        self.set(name, value);
        self
    }

    /// Locals that were added, in order.
    pub fn locals(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.locals.iter().map(|(name, value)| (&**name, value))
    }

    /// The value of a variable, named without `$`; null if there is none.
    pub fn get(&self, name: &str) -> Value {
        if let Some((_, value)) = self.locals.iter().rev().find(|(n, _)| **n == *name) {
            return value.clone();
        }
        match name {
            "context" => self.context.clone(),
            "input" => self.input.clone(),
            "output" => self.output.clone(),
            "secrets" => self.secrets.clone(),
            "task" => self.task.clone(),
            "workflow" => self.workflow.clone(),
            "runtime" => self.runtime.clone(),
            "authorization" => self.authorization.clone(),
            _ => Value::Null,
        }
    }
}
