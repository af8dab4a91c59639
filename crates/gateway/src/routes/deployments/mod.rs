//! `/api/deployments…`

mod create;
mod delete;
mod get;
mod list;
mod pause;
mod plan;
mod posted;
mod register_webhook;
mod resume;
mod rollback;
mod trigger;
mod update;
mod versions;

pub use create::create;
pub use delete::delete;
pub use get::get;
pub use list::list;
pub use pause::pause;
pub use plan::plan;
pub use register_webhook::register_webhook;
pub use resume::resume;
pub use rollback::rollback;
pub use trigger::trigger;
pub use update::update;
pub use versions::versions;
