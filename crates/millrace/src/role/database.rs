//! Which database a process uses, and opening it. The adapters are named here
//! and nowhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use metrics::{describe_gauge, gauge};
use millrace_service::config::{Loaded, Origin};
use millrace_service::secret::SecretUrl;
use millrace_store::{GroupCommitConfig, SlotRules, Store, StoreError};
use millrace_store_postgres::{PostgresConfig, PostgresStore};
use millrace_store_sqlite::{SqliteConfig, SqliteStore};

/// The file in the data directory of `millrace dev`.
const FILE: &str = "millrace.db";

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("`database.url` is not set (DATABASE_URL, or --database-url)")]
    NotSet,
    #[error("`database.url`: {url} names no file; say sqlite:///path/to/file")]
    NoFile { url: SecretUrl },
    #[error("`database.url`: {scheme} is not supported, only postgres and sqlite")]
    Scheme { scheme: String },
    #[error("the database's tables are not up to date: run `millrace migrate` first")]
    Outdated,
    #[error("`database.url`: {0}")]
    Postgres(#[from] StoreError),
    #[error(transparent)]
    OpenSqlite(#[from] millrace_store_sqlite::OpenError),
    #[error(transparent)]
    MigrateSqlite(#[from] millrace_store_sqlite::MigrateError),
}

/// A database that can be opened.
#[derive(Debug, Clone, PartialEq)]
pub enum Database {
    Sqlite(PathBuf),
    Postgres(SecretUrl),
}

/// A database that is open.
#[derive(Debug, Clone)]
pub enum OpenDatabase {
    Sqlite(SqliteStore),
    Postgres(Box<PostgresStore>),
}

impl Database {
    /// What `database.url` names.
    pub fn of(loaded: &Loaded) -> Result<Self, DatabaseError> {
        let url = loaded
            .config
            .database
            .url
            .as_ref()
            .ok_or(DatabaseError::NotSet)?;
        match url.scheme() {
            "postgres" | "postgresql" => Ok(Self::Postgres(url.clone())),
            "sqlite" => sqlite_file(url),
            scheme => Err(DatabaseError::Scheme {
                scheme: scheme.to_owned(),
            }),
        }
    }

    /// The file in `data_dir`, whatever the environment and the file of
    /// settings say, unless a database was given as a flag.
    pub fn of_dev(loaded: &Loaded, data_dir: &Path) -> Result<Self, DatabaseError> {
        match loaded.origin("database.url") {
            Origin::Flag(_) => Self::of(loaded),
            _ => Ok(Self::Sqlite(data_dir.join(FILE))),
        }
    }

    /// Where the file lies; nothing for a server.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            // A bare name lies in the working directory.
            Self::Sqlite(path) => match path.parent()? {
                parent if parent.as_os_str().is_empty() => Some(Path::new(".")),
                parent => Some(parent),
            },
            Self::Postgres(_) => None,
        }
    }

    /// Connects, to a server with up to `max_connections` (a file needs few
    /// and ignores it). The schema is left as it is.
    pub async fn open(&self, max_connections: u32) -> Result<OpenDatabase, DatabaseError> {
        match self {
            Self::Sqlite(path) => Ok(OpenDatabase::Sqlite(
                SqliteStore::open(path, &SqliteConfig::default()).await?,
            )),
            Self::Postgres(url) => {
                let config = PostgresConfig {
                    max_connections,
                    ..PostgresConfig::new(url.expose())
                };
                let store = PostgresStore::connect(&config).await?;
                Ok(OpenDatabase::Postgres(Box::new(store)))
            }
        }
    }
}

impl OpenDatabase {
    /// Brings the schema up to date; returns the steps that this took, each
    /// with its number and what it is about.
    pub async fn migrate(&self) -> Result<Vec<(i64, String)>, DatabaseError> {
        match self {
            Self::Sqlite(store) => {
                let steps = store.migrate().await?;
                Ok(steps
                    .into_iter()
                    .map(|step| (step.version, step.description))
                    .collect())
            }
            Self::Postgres(store) => {
                let steps = store.migrate().await?;
                Ok(steps
                    .into_iter()
                    .map(|step| (step.version, step.description))
                    .collect())
            }
        }
    }

    /// Refuses a schema that lacks what this program relies on.
    pub async fn check_schema(&self) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(store) if store.schema_is_current().await? => Ok(()),
            Self::Sqlite(_) => Err(DatabaseError::Outdated),
            // Its error says which step is missing.
            Self::Postgres(store) => Ok(store.schema_is_current().await?),
        }
    }

    /// How writes are grouped: SQLite has one writer.
    pub fn commits(&self) -> GroupCommitConfig {
        match self {
            Self::Sqlite(_) => GroupCommitConfig {
                committers: 1,
                ..GroupCommitConfig::default()
            },
            // Larger batches cost the server less than more of them at once.
            Self::Postgres(_) => GroupCommitConfig {
                lanes: true,
                committers: 1,
                ..GroupCommitConfig::default()
            },
        }
    }

    /// As the store that a runtime works on.
    pub fn store(&self, rules: SlotRules) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone().with_slot_rules(rules)),
            Self::Postgres(store) => Arc::new((**store).clone().with_slot_rules(rules)),
        }
    }

    /// Enters how the connections stand, each time it is called.
    pub fn sampler(&self) -> impl Fn() + Send + 'static {
        let database = self.clone();
        describe_gauge!(
            "millrace_database_connections",
            "Connections to the database, by state."
        );
        describe_gauge!(
            "millrace_database_connections_max",
            "Connections to the database that may be open at once."
        );
        move || {
            let (open, idle, max) = match &database {
                Self::Sqlite(store) => store.connections(),
                Self::Postgres(store) => store.connections(),
            };
            let idle = idle.min(open);
            for (state, count) in [("idle", idle), ("used", open - idle)] {
                gauge!("millrace_database_connections", "state" => state).set(f64::from(count));
            }
            gauge!("millrace_database_connections_max").set(f64::from(max));
        }
    }

    /// Closes all connections once what is under way has ended.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// `sqlite:///absolute`, `sqlite://relative` and `sqlite:relative` are usual.
fn sqlite_file(url: &SecretUrl) -> Result<Database, DatabaseError> {
    let rest = url.expose().strip_prefix("sqlite:").unwrap_or_default();
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path.is_empty() || path.starts_with(':') {
        return Err(DatabaseError::NoFile { url: url.clone() });
    }
    Ok(Database::Sqlite(path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_service::config::Sources;

    fn with(environment: Option<&str>, flag: Option<&str>) -> Loaded {
        // No file of settings lies there.
        let mut sources = Sources {
            directory: "/nowhere".into(),
            ..Sources::default()
        };
        if let Some(url) = environment {
            sources.environment = [("DATABASE_URL", url)].into();
        }
        sources.flag("--database-url", "database.url", flag);
        sources.load().unwrap()
    }

    #[test]
    fn the_url_says_which_database_it_is() {
        for (url, path) in [
            ("sqlite:///var/lib/m.db", "/var/lib/m.db"),
            ("sqlite://m.db?mode=rwc", "m.db"),
            ("sqlite:m.db", "m.db"),
        ] {
            assert_eq!(
                Database::of(&with(None, Some(url))).unwrap(),
                Database::Sqlite(path.into())
            );
        }
        let postgres = Database::of(&with(Some("postgresql://db/x"), None)).unwrap();
        assert!(matches!(postgres, Database::Postgres(_)));
        for bad in [
            None,
            Some("sqlite::memory:"),
            Some("sqlite://"),
            Some("mysql://db/x"),
        ] {
            assert!(Database::of(&with(bad, None)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn dev_uses_its_own_file_unless_a_flag_says_otherwise() {
        let data_dir = Path::new("/data");
        let own = Database::Sqlite("/data/millrace.db".into());
        let url = "postgres://db/x";
        assert_eq!(Database::of_dev(&with(None, None), data_dir).unwrap(), own);
        assert_eq!(
            Database::of_dev(&with(Some(url), None), data_dir).unwrap(),
            own
        );
        let given = Database::of_dev(&with(None, Some(url)), data_dir).unwrap();
        assert!(matches!(given, Database::Postgres(_)));
    }
}
