//! `millrace migrate`.

use millrace_service::config::Loaded;

use super::RoleError;
use super::database::Database;

/// Brings the schema of `database.url` up to date, and says what that took.
pub async fn run(loaded: &Loaded) -> Result<(), RoleError> {
    let database = Database::of(loaded)?
        .open(loaded.config.database.max_connections)
        .await?;
    let applied = database.migrate().await?;
    for (version, description) in &applied {
        println!("applied {version} {description}");
    }
    if applied.is_empty() {
        println!("up to date");
    }
    database.close().await;
    Ok(())
}
