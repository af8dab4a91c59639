//! `/api/deployments…`

mod create;
mod get;
mod list;
mod pause;
mod posted;
mod resume;
mod trigger;

pub use create::create;
pub use get::get;
pub use list::list;
pub use pause::pause;
pub use resume::resume;
pub use trigger::trigger;
