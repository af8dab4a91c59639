//! How compiling and evaluating can fail.

use super::meter::Limit;
use crate::value::Value;

/// Why a source is not an expression we run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// What is wrong, for the author.
    pub message: String,
    /// Where, in bytes from the start of the source, if it is at one place.
    pub offset: Option<usize>,
}

impl CompileError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            offset: None,
        }
    }

    pub(super) fn at(offset: usize, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            offset: Some(offset),
        }
    }
}

/// Why an evaluation has no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// The expression failed, by itself or with `error(…)`.
    #[error("{message}")]
    Failed {
        /// What happened, for the author; long values are cut.
        message: String,
        /// What `error(…)` was given, or the message.
        value: Value,
    },
    /// The expression asked for more than it may have.
    #[error("the expression was stopped: {0}")]
    Limit(#[from] Limit),
    /// Our own mistake; details went to the log.
    #[error("the expression could not be evaluated")]
    Internal,
}
