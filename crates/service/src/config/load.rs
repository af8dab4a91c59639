//! Puts the layers on top of each other.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::origin::{ConfigError, Origin};
use super::settings::{ALIASES, closest, set};
use super::value::Raw;
use super::{Config, print};

const PREFIX: &str = "MILLRACE_";
/// Stands between the levels of a key in a variable's name.
const LEVEL: &str = "__";
/// Read when it exists and no other file is named.
const DEFAULT_FILE: &str = "millrace.toml";

/// The variables of a process, or those that a test gives.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Those of this process; what is not UTF-8 is left out.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        )
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(
            variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        )
    }
}

/// What the layers above the defaults are read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`: must exist. Without it, `millrace.toml` in `directory` is
    /// read if it exists.
    pub file: Option<PathBuf>,
    /// The working directory when empty.
    pub directory: PathBuf,
    pub environment: Environment,
    /// Name, key and value of each flag; see [`Sources::flag`].
    pub flags: Vec<(&'static str, &'static str, String)>,
}

impl Sources {
    /// Of this process, with the file that `--config` names.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self {
            file,
            environment: Environment::of_process(),
            ..Self::default()
        }
    }

    /// Sets `key` by the flag called `name`, if it was given.
    pub fn flag(&mut self, name: &'static str, key: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.flags.push((name, key, value.to_string()));
        }
    }

    /// The configuration that results, or the first error.
    pub fn load(self) -> Result<Loaded, ConfigError> {
        let mut loaded = Loaded {
            config: Config::default(),
            origins: BTreeMap::new(),
        };
        match &self.file {
            Some(path) => loaded.file(path, &read(path)?)?,
            None => {
                let path = self.directory.join(DEFAULT_FILE);
                match read(&path) {
                    Ok(text) => loaded.file(&path, &text)?,
                    Err(ConfigError::Read { source, .. })
                        if source.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        loaded.environment(&self.environment)?;
        for (name, key, value) in self.flags {
            loaded.set(key, &Raw::Text(value), Origin::Flag(name))?;
        }
        Ok(loaded)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

/// A configuration that knows where each of its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Where the value of `key` came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// The effective configuration as TOML with the origin of each value in a
    /// comment; secrets are masked.
    pub fn to_toml(&self) -> String {
        print::to_toml(self)
    }

    fn set(&mut self, key: &str, raw: &Raw, origin: Origin) -> Result<(), ConfigError> {
        match set(&mut self.config, key, raw) {
            Some(Ok(())) => {
                self.origins.insert(key.to_owned(), origin);
                Ok(())
            }
            Some(Err(reason)) => Err(ConfigError::Invalid {
                key: key.to_owned(),
                origin,
                reason,
            }),
            None => Err(ConfigError::UnknownKey {
                key: key.to_owned(),
                origin,
                suggestion: closest(key).map(str::to_owned),
            }),
        }
    }

    fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let document = DeTable::parse(text).map_err(|error| {
            let (line, column) = place(text, error.span().map_or(0, |span| span.start));
            let message = error.message().to_owned();
            ConfigError::Syntax {
                path: path.to_owned(),
                line,
                column,
                message,
            }
        })?;
        self.table(path, text, "", document.get_ref())
    }

    fn table(
        &mut self,
        path: &Path,
        text: &str,
        prefix: &str,
        table: &DeTable<'_>,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = match prefix {
                "" => name.get_ref().to_string(),
                prefix => format!("{prefix}.{}", name.get_ref()),
            };
            let origin = || Origin::File {
                path: path.to_owned(),
                line: place(text, name.span().start).0,
            };
            if let DeValue::Table(inner) = value.get_ref() {
                if super::settings::KEYS.contains(&key.as_str()) {
                    let reason = "it is a table, not a value".to_owned();
                    return Err(ConfigError::Invalid {
                        key,
                        origin: origin(),
                        reason,
                    });
                }
                self.table(path, text, &key, inner)?;
            } else {
                let raw = raw(value.get_ref());
                self.set(&key, &raw, origin())?;
            }
        }
        Ok(())
    }

    fn environment(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        // A name that other programs share counts for less than our own.
        for (name, key) in ALIASES {
            if let Some((_, value)) = environment.0.iter().find(|(given, _)| given == name)
                && !value.is_empty()
            {
                self.set(
                    key,
                    &Raw::Text(value.clone()),
                    Origin::Variable((*name).to_owned()),
                )?;
            }
        }
        for (name, value) in &environment.0 {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let origin = || Origin::Variable(name.clone());
            if rest.contains(LEVEL) {
                let key = rest.to_ascii_lowercase().replace(LEVEL, ".");
                self.set(&key, &Raw::Text(value.clone()), origin())?;
            } else if let Some(meant) = meant_with_levels(rest) {
                return Err(ConfigError::UnknownKey {
                    key: name.clone(),
                    origin: origin(),
                    suggestion: Some(meant),
                });
            }
        }
        Ok(())
    }
}

/// The variable that `MILLRACE_GATEWAY_LISTEN` was meant to be. Only settings
/// that exist: platforms put variables such as `MILLRACE_GATEWAY_PORT` into
/// the environment, which are no settings and no mistakes.
fn meant_with_levels(rest: &str) -> Option<String> {
    let flat = rest.to_ascii_lowercase();
    let key = super::settings::KEYS
        .iter()
        .find(|key| key.replace('.', "_") == flat)?;
    Some(format!(
        "{PREFIX}{}",
        key.to_ascii_uppercase().replace('.', LEVEL)
    ))
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::Array(items) => {
            Raw::List(items.iter().map(|item| scalar(item.get_ref())).collect())
        }
        value => Raw::Text(scalar(value)),
    }
}

fn scalar(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.to_string(), |number| number.to_string()),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        // No setting is made of these; this fits none of them.
        DeValue::Array(_) => "[…]".to_owned(),
        DeValue::Table(_) => "{…}".to_owned(),
    }
}

/// Line and column of the byte at `offset`, both 1-based, in characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}
