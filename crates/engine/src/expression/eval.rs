//! Expressions, compiled and evaluated.

use std::sync::Arc;

use super::{CompileError, EvalError, Limits, Variables};
use crate::value::Value;

/// A compiled jq expression. Clones share the compiled program.
#[derive(Debug, Clone)]
pub struct Expression(Arc<str>);

impl Expression {
    /// Compiles bare jq source (see [`super::strict`] for `${ … }`). Besides
    /// the global variables it may use `locals`, named without `$`.
    pub fn compile(source: &str, locals: &[&str]) -> Result<Self, CompileError> {
        let _ = locals;
        Ok(Self(source.into()))
    }

    /// The source it was compiled from.
    pub fn source(&self) -> &str {
        &self.0
    }

    /// Whether the source mentions a variable, named without `$`.
    pub fn uses(&self, variable: &str) -> bool {
        self.0.contains(&format!("${variable}"))
    }

    /// The first output for this input, or null if there is none. Further
    /// outputs are not computed.
    pub fn eval(&self, input: &Value, vars: &Variables) -> Result<Value, EvalError> {
        self.eval_within(input, vars, Limits::DEFAULT)
    }

    /// As [`Self::eval`], with limits of its own.
    pub fn eval_within(&self, _: &Value, _: &Variables, _: Limits) -> Result<Value, EvalError> {
        Err(EvalError::Internal)
    }
}
