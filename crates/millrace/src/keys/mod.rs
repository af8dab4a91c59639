//! `millrace keys …`: API keys, made and revoked on the database itself. There
//! is no other way to the first one, and no server has to run.

mod create;
mod list;
mod revoke;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use millrace_service::config::ConfigError;
use millrace_store::{ApiKeyRecord, ApiKeyStore, CreateApiKeyRefused, SlotRules, StoreError};
use millrace_types::{ApiKeyId, Timestamp};
use serde_json::{Value, json};

use crate::cli::{KeyDatabaseArgs, KeysCommand};
use crate::role::database::{Database, DatabaseError, OpenDatabase};
use crate::verb::{self, VerbError};

/// More would be idle.
const CONNECTIONS: u32 = 2;

/// Why a verb did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("`{0}` is not the id of a key: those start with {prefix}_", prefix = ApiKeyId::PREFIX)]
    NoId(String),
    /// Whoever types a whole key in the place of an id is not to find it
    /// repeated on a screen.
    #[error("this is neither the id of a key nor a key")]
    NoKey,
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(
        "there is no database yet: {path} is not there. Start `millrace dev` once, which makes \
         it. Or say --data-dir DIR if it keeps its data elsewhere, or --database-url URL for a \
         database that `millrace migrate` has made ready",
        path = .0.display()
    )]
    NoDevDatabase(PathBuf),
    #[error("there is no database: {} is not there; run `millrace migrate` first", .0.display())]
    NoDatabase(PathBuf),
    #[error(
        "the tables in {} are those of an older release: start `millrace dev` once, which brings \
         them up to date", .0.display()
    )]
    OutdatedDevDatabase(PathBuf),
    #[error(transparent)]
    Create(#[from] CreateApiKeyRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no key {id} in {database}")]
    NotFound { id: ApiKeyId, database: String },
    #[error("the system has no random bytes: {0}")]
    Random(String),
    #[error("the key {id} is made, but cannot be written ({reason}); so it is revoked")]
    NotShown { id: ApiKeyId, reason: io::Error },
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl VerbError for KeysError {
    fn output(&self) -> Option<&io::Error> {
        match self {
            Self::Output(error) => Some(error),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::NoId(_) | Self::NoKey => ExitCode::from(crate::USAGE),
            _ => ExitCode::FAILURE,
        }
    }
}

pub fn main(command: KeysCommand) -> ExitCode {
    verb::main(run(command))
}

async fn run(command: KeysCommand) -> Result<(), KeysError> {
    match command {
        KeysCommand::Create(args) => create::run(args).await,
        KeysCommand::List(args) => list::run(args).await,
        KeysCommand::Revoke(args) => revoke::run(args).await,
    }
}

/// The keys, and the database that they are in.
struct Keys {
    store: Arc<dyn ApiKeyStore>,
    database: OpenDatabase,
    /// As people are told of it.
    place: String,
}

impl Keys {
    /// Opens a database that is there, and up to date.
    async fn open(args: &KeyDatabaseArgs) -> Result<Self, KeysError> {
        let loaded = args.sources().load()?;
        // `millrace dev` heeds no configured database, either.
        let of_dev = args.data_dir.is_some() || loaded.config.database.url.is_none();
        let database = if of_dev {
            Database::of_dev(&loaded, &loaded.config.dev.data_dir)?
        } else {
            Database::of(&loaded)?
        };
        let place = match &database {
            Database::Sqlite(path) if !path.is_file() => {
                let path = path.clone();
                return Err(if of_dev {
                    KeysError::NoDevDatabase(path)
                } else {
                    KeysError::NoDatabase(path)
                });
            }
            Database::Sqlite(path) => path.display().to_string(),
            Database::Postgres(url) => url.to_string(),
        };
        let open = database.open(CONNECTIONS).await?;
        if let Err(error) = open.check_schema().await {
            return Err(match (error, database) {
                (DatabaseError::Outdated, Database::Sqlite(path)) if of_dev => {
                    KeysError::OutdatedDevDatabase(path)
                }
                (error, _) => error.into(),
            });
        }
        Ok(Self {
            store: open.store(SlotRules::default()),
            database: open,
            place,
        })
    }

    async fn close(self) {
        self.database.close().await;
    }
}

/// A key, without what nobody is told.
fn json(key: &ApiKeyRecord) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "role": key.role.as_str(),
        "state": key.state.as_str(),
        "createdAt": key.created_at,
        "expiresAt": key.expires_at,
        "revokedAt": key.revoked_at,
    })
}

/// A time as people read it, to the second.
struct Shown(Option<Timestamp>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self
            .0
            .and_then(|at| jiff::Timestamp::from_microsecond(at.as_micros()).ok());
        match time {
            Some(time) => write!(f, "{time:.0}"),
            None => f.write_str("-"),
        }
    }
}
