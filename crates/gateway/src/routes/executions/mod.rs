//! `/api/executions…`

mod get;
mod history;
mod list;

pub use get::get;
pub use history::history;
pub use list::list;
