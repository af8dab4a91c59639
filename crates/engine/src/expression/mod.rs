//! jq expressions in a sandbox.
//!
//! An [`Expression`] is compiled once and evaluated in microseconds, on
//! whatever thread asks. A [`Template`] is a JSON value in which whole strings
//! of the form `${ … }` are expressions and everything else is literal. Both
//! see their input as `.` and what the workflow knows as [`Variables`].
//!
//! An expression computes; it cannot reach the host (no environment, no files,
//! no modules, no process control), and it ends: see [`Limits`]. When a limit
//! is hit the evaluation is over, whatever `try` or `//` the author wrote.

mod arithmetic;
mod compile;
mod error;
mod eval;
pub(crate) mod meter;
mod native;
mod path;
mod prelude;
mod template;
mod val;
mod variables;
mod weave;

pub use error::{CompileError, EvalError};
pub use eval::Expression;
pub use meter::{Limit, Limits};
pub use template::Template;
pub use variables::Variables;

/// The jq source inside `${ … }`, if the whole string has that form.
///
/// Space around the braces is allowed, text is not: `a ${ .b }` is literal.
pub fn strict(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("${")?.strip_suffix('}')?;
    Some(inner.trim())
}

#[cfg(test)]
mod hazards;
#[cfg(test)]
mod tests;
