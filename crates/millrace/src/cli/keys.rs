//! What the verbs of API keys take.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use millrace_service::config::Sources;
use millrace_types::Role;

use super::PageArgs;

/// Longest time that a key may be given.
const LONGEST: Duration = Duration::from_hours(24 * 36_500);
/// Longest name, in characters.
const LONGEST_NAME: usize = 100;

/// They work on the database, also while no server runs.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it, this once
    Create(KeyCreateArgs),
    /// List keys, the newest first; the keys themselves are not kept
    List(KeysListArgs),
    /// Make a key invalid for good
    Revoke(KeyRevokeArgs),
}

#[derive(Debug, Args)]
pub struct KeyCreateArgs {
    /// Whom or what it is for; no other valid key may have the same
    #[arg(long, value_parser = name)]
    pub name: String,
    /// viewer, operator, deployer or admin; each may do what those before it may
    #[arg(long, value_parser = role)]
    pub role: Role,
    /// How long it is valid, such as 90d or 12h [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    pub expires: Option<Duration>,
    /// Print it as JSON, with what else there is to say
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub database: KeyDatabaseArgs,
}

#[derive(Debug, Args)]
pub struct KeysListArgs {
    #[command(flatten)]
    pub page: PageArgs,
    /// Print them as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub database: KeyDatabaseArgs,
}

#[derive(Debug, Args)]
pub struct KeyRevokeArgs {
    /// The key's id, key_…
    pub id: String,
    #[command(flatten)]
    pub database: KeyDatabaseArgs,
}

/// Where the keys are.
#[derive(Debug, Args)]
pub struct KeyDatabaseArgs {
    /// Configuration file [default: millrace.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The database [default: that of the configuration, else that of `millrace dev`]
    #[arg(long, value_name = "URL", conflicts_with = "data_dir")]
    pub database_url: Option<String>,
    /// The data directory of `millrace dev`, whose database it is [default: ./.millrace]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
}

impl KeyDatabaseArgs {
    /// The layers of configuration, with the flags on top.
    pub fn sources(&self) -> Sources {
        let mut sources = Sources::of_process(self.config.clone());
        sources.flag("--database-url", "database.url", self.database_url.as_ref());
        sources.flag("--data-dir", "dev.data_dir", self.data_dir.as_ref());
        sources
    }
}

fn role(text: &str) -> Result<Role, String> {
    text.parse()
        .map_err(|_| format!("it is none of {}", Role::ALL.map(Role::as_str).join(", ")))
}

fn name(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length == 0 || length > LONGEST_NAME {
        return Err(format!("a name has 1 to {LONGEST_NAME} characters"));
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err("a name has no control characters, and no blank at its ends".to_owned());
    }
    Ok(text.to_owned())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let invalid = || {
        "it is not a duration in weeks, days, hours and minutes, such as 90d, 12h or 1d 12h"
            .to_owned()
    };
    let span: jiff::Span = text.parse().map_err(|_| invalid())?;
    // Months and years have no length of their own, and are refused here.
    let time = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| invalid())?;
    match Duration::try_from(time) {
        Ok(time) if !time.is_zero() && time <= LONGEST => Ok(time),
        _ => Err("it is not between a moment and a hundred years (36500d)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_in_days_and_hours() {
        let hours = |hours| Ok(Duration::from_hours(hours));
        for (text, hours) in [
            ("90d", hours(90 * 24)),
            ("12h", hours(12)),
            ("1d 12h", hours(36)),
            ("2w", hours(14 * 24)),
            ("P90D", hours(90 * 24)),
            ("36500d", hours(36_500 * 24)),
        ] {
            assert_eq!(lifetime(text), hours, "{text}");
        }
        for wrong in [
            "", "90", "d", "0d", "-1d", "1 month", "1y", "36501d", "soon",
        ] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_for_people_to_read() {
        assert_eq!(name("CI of the shop").as_deref(), Ok("CI of the shop"));
        for wrong in ["", " ci", "a\nb", "\u{1b}[2J", &"x".repeat(101)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }
}
