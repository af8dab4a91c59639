//! Which levels are logged, changed while the process runs.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::Context;

/// Longest text that is taken.
const LONGEST: usize = 2000;

/// Libraries that are chatty at `info`; what `log.level` says of them counts
/// for more.
const QUIET: &str = "tokio_cron_scheduler=warn";

/// Lets through what is to be logged. It is asked once for each place in the
/// code that logs, and again after a change; in between it costs nothing. (The
/// `reload` layer of the library takes a lock for each span that is entered.)
#[derive(Debug, Clone)]
pub(super) struct Levels(Arc<RwLock<Targets>>);

impl Levels {
    pub(super) fn new(targets: Targets) -> Self {
        Self(Arc::new(RwLock::new(targets)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Targets> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, targets: Targets) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = targets;
        // Every place that logs asks again.
        tracing::callsite::rebuild_interest_cache();
    }
}

impl<S: Subscriber> Layer<S> for Levels {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        Layer::<S>::register_callsite(&*self.read(), metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        Layer::<S>::enabled(&*self.read(), metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Layer::<S>::max_level_hint(&*self.read())
    }
}

/// What a running process lets itself be told.
#[derive(Debug)]
struct Control {
    levels: Levels,
    text: Mutex<String>,
}

static CONTROL: OnceLock<Control> = OnceLock::new();

/// Why the levels stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    #[error("it is empty, or longer than {LONGEST} characters")]
    Length,
    /// A mistyped level would otherwise be read as the name of a target.
    #[error("`{0}` is neither a level (off, error, warn, info, debug, trace) nor target=level")]
    Directive(String),
    #[error("this process has no logs whose level could be changed")]
    NoLogs,
}

/// What `level` says, with what is quiet unless it is named.
fn targets(level: &str) -> Result<Targets, ParseError> {
    format!("{QUIET},{level}").parse()
}

/// From now on [`set_level`] changes `levels`; the first call counts.
pub(super) fn control(text: &str, levels: Levels) {
    CONTROL.get_or_init(|| Control {
        levels,
        text: Mutex::new(text.to_owned()),
    });
}

/// What is logged now, as `log.level` has it; `None` before
/// [`init`](super::init).
pub fn level() -> Option<String> {
    let control = CONTROL.get()?;
    let text = control.text.lock().unwrap_or_else(PoisonError::into_inner);
    Some(text.clone())
}

/// Changes what is logged, until the process ends: a level, or levels by
/// target, such as `info,millrace_runtime=debug`.
pub fn set_level(text: &str) -> Result<(), LevelError> {
    let text = text.trim();
    let targets = parse(text)?;
    let control = CONTROL.get().ok_or(LevelError::NoLogs)?;
    // Held over both, so that what is shown is what counts.
    let mut shown = control.text.lock().unwrap_or_else(PoisonError::into_inner);
    control.levels.change(targets);
    let before = std::mem::replace(&mut *shown, text.to_owned());
    drop(shown);
    tracing::warn!(
        before,
        after = text,
        "the log level is changed from {before} to {text}"
    );
    Ok(())
}

/// What a text says of levels, which is checked word by word.
pub(super) fn parse(text: &str) -> Result<Targets, LevelError> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST {
        return Err(LevelError::Length);
    }
    for directive in text.split(',').map(str::trim) {
        let wrong = || LevelError::Directive(directive.to_owned());
        let level = match directive.split_once('=') {
            Some((target, level)) if is_target(target.trim()) => level.trim(),
            Some(_) => return Err(wrong()),
            None => directive,
        };
        let known = ["off", "error", "warn", "info", "debug", "trace"];
        if !known.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(wrong());
        }
    }
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    targets(&compact).map_err(|_| LevelError::Directive(text.to_owned()))
}

fn is_target(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
    !text.is_empty() && text.chars().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn levels_and_levels_by_target_are_taken() {
        for good in [
            "info",
            "WARN",
            "info,millrace_runtime=debug",
            "off, a::b = trace",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let spaced = parse("off, a::b = trace").unwrap();
        assert!(spaced.would_enable("a::b", &tracing::Level::TRACE));
        for bad in [
            "",
            "debgu",
            "info,",
            "millrace_runtime",
            "=debug",
            "a b=info",
            "x=5",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn chatty_libraries_stay_quiet_unless_they_are_named() {
        let targets = parse("info").unwrap();
        assert!(!targets.would_enable("tokio_cron_scheduler", &tracing::Level::INFO));
        let targets = parse("info,tokio_cron_scheduler=debug").unwrap();
        assert!(targets.would_enable("tokio_cron_scheduler", &tracing::Level::DEBUG));
        assert!(targets.would_enable("millrace_runtime", &tracing::Level::INFO));
    }

    #[test]
    fn a_place_that_logs_asks_again_after_a_change() {
        let levels = Levels::new(targets("warn").unwrap());
        let subscriber = tracing_subscriber::registry().with(levels.clone());
        let _guard = tracing::subscriber::set_default(subscriber);
        let informs = || tracing::enabled!(tracing::Level::INFO);
        assert!(!informs());
        levels.change(targets("info").unwrap());
        assert!(informs());
        levels.change(targets("error").unwrap());
        assert!(!informs());
    }
}
