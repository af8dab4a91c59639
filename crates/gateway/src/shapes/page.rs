use serde::Serialize;

use super::optional;
use crate::problem::Problem;

/// One page of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    items: Vec<T>,
    /// Cursor of the page after this; `null` on the last.
    next: Option<String>,
}

impl<T> Page<T> {
    pub fn of<M>(
        messages: Vec<M>,
        next_cursor: String,
        shape: impl Fn(M) -> Result<T, Problem>,
    ) -> Result<Self, Problem> {
        let items = messages.into_iter().map(shape).collect::<Result<_, _>>()?;
        Ok(Self {
            items,
            next: optional(next_cursor),
        })
    }
}
