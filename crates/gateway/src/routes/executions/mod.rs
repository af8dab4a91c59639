//! `/api/executions…`

mod cancel;
mod get;
mod history;
mod list;
mod rerun;
mod stream;

pub use cancel::cancel;
pub use get::get;
pub use history::history;
pub use list::list;
pub use rerun::rerun;
pub use stream::stream;
