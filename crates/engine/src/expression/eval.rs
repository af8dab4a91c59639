//! Expressions, compiled and evaluated.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jaq_core::{Ctx, Vars};

use super::compile::{Program, compile};
use super::native::Data;
use super::{CompileError, EvalError, Limits, Variables, meter};
use crate::value::Value;

/// Stack kept free below what an evaluation may use, for what happens between
/// two looks at it: a native filter, the drop of nested iterators.
const STACK_MARGIN: usize = 384 << 10;

/// Characters of a message that are kept.
const MAX_MESSAGE: usize = 500;

/// A compiled jq expression. Clones share the compiled program.
#[derive(Clone)]
pub struct Expression(Arc<Inner>);

struct Inner {
    source: Box<str>,
    program: Program,
}

impl Expression {
    /// Compiles bare jq source (see [`super::strict`] for `${ … }`). Besides
    /// the global variables it may use `locals`, named without `$`.
    pub fn compile(source: &str, locals: &[&str]) -> Result<Self, CompileError> {
        let program = compile(source, locals)?;
        Ok(Self(Arc::new(Inner {
            source: source.into(),
            program,
        })))
    }

    /// The source it was compiled from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Whether the source mentions a variable, named without `$`.
    pub fn uses(&self, variable: &str) -> bool {
        self.0.program.variables.iter().any(|name| name == variable)
    }

    /// The first output for this input, or null if there is none. Further
    /// outputs are not computed.
    pub fn eval(&self, input: &Value, vars: &Variables) -> Result<Value, EvalError> {
        self.eval_within(input, vars, Limits::DEFAULT)
    }

    /// As [`Self::eval`], with limits of its own. Inside of another evaluation
    /// on this thread that one's limits stay.
    pub fn eval_within(
        &self,
        input: &Value,
        vars: &Variables,
        limits: Limits,
    ) -> Result<Value, EvalError> {
        let running = meter::start(limits);
        let needed = limits.stack + STACK_MARGIN;
        let value = stacker::maybe_grow(needed, needed + (64 << 10), || {
            meter::bound_stack(limits.stack);
            // A panic in a filter of the library is to fail one expression,
            // not the engine.
            catch_unwind(AssertUnwindSafe(|| self.first(input, vars)))
        });
        let value = value.unwrap_or_else(|_| {
            tracing::error!(expression = %self.source(), "evaluating an expression panicked");
            Err(EvalError::Internal)
        });
        let value = meter::check().map_err(|_| meter::limit_hit()).and(value);
        drop(running);
        value
    }

    fn first(&self, input: &Value, vars: &Variables) -> Result<Value, EvalError> {
        let program = &self.0.program;
        let variables = Vars::new(program.variables.iter().map(|name| vars.get(name)));
        let ctx = Ctx::<Data>::new(&program.filter.lut, variables);
        let value = match program.filter.id.run((ctx, input.clone())).next() {
            None => Value::Null,
            Some(Ok(value)) => value,
            Some(Err(exception)) => match exception.get_err() {
                Ok(error) => {
                    let value = error.into_val();
                    // A text is the message; any other value is shown as JSON.
                    let message = match &value {
                        Value::Str(s) => s.chars().take(MAX_MESSAGE).collect(),
                        other => other.to_string(),
                    };
                    return Err(EvalError::Failed { message, value });
                }
                Err(_) => return Err(meter::limit_hit()),
            },
        };
        meter::made(value).map_err(|_| meter::limit_hit())
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source()).finish()
    }
}
