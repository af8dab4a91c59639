//! Logs: one line per event on standard error, as JSON or, on a terminal, for
//! people. Each carries the `trace_id` of the request it belongs to. Where it
//! is configured, lines also go to a file, and traces to a collector.
//!
//! ```json
//! {"timestamp":"…Z","level":"INFO","target":"millrace_runtime::…","message":"…","trace_id":"…","fields":{…}}
//! ```
//!
//! Fields are those of the event and of the spans around it, the innermost
//! first; those whose name says that they are secret are masked.

mod archive;
mod fields;
mod file;
mod json;
mod layer;
mod level;
pub(crate) mod otlp;
mod pretty;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::{LogConfig, LogFormat, OtlpConfig};
pub use file::{LogFile, Rotation};
pub use layer::{LogLayer, Style};
use level::Levels;
pub use level::{LevelError, level, set_level};
pub use otlp::{OtlpError, flush};

/// A file that is smaller, or younger, is not worth an archive.
const SMALLEST_FILE: u64 = 4096;
const YOUNGEST_FILE: Duration = Duration::from_secs(1);

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("`log.level`: {0}")]
    Level(#[from] LevelError),
    #[error("`log.file`: {} cannot be written: {reason}", path.display())]
    File { path: PathBuf, reason: io::Error },
    #[error("`log.file_max_size`: it is less than {SMALLEST_FILE} bytes")]
    Size,
    #[error("`log.file_max_age`: it is less than {YOUNGEST_FILE:?}")]
    Age,
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    #[error("logging was set up before")]
    Twice(#[from] TryInitError),
}

/// Sends the logs of this process to standard error, those of panics too; and,
/// where they are configured, to a file, and traces to a collector. To be
/// called once, at its start, by a process that has `role`; [`flush`] at its end.
pub fn init(
    config: &LogConfig,
    otlp: &OtlpConfig,
    role: &'static str,
) -> Result<(), TelemetryError> {
    let levels = Levels::new(level::parse(&config.level)?);
    let terminal = io::stderr().is_terminal();
    let style = match config.format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto if !terminal => Style::Json,
        LogFormat::Auto | LogFormat::Pretty => Style::Pretty { colours: terminal },
    };
    let log = LogLayer::new(style, io::stderr).with_file(file(config)?);
    tracing_subscriber::registry()
        .with(levels.clone())
        .with(log)
        .try_init()?;
    level::control(&config.level, levels);
    std::panic::set_hook(Box::new(log_panic));
    otlp::start(otlp, role)?;
    Ok(())
}

fn file(config: &LogConfig) -> Result<Option<LogFile>, TelemetryError> {
    let Some(path) = &config.file else {
        return Ok(None);
    };
    if config.file_max_size < SMALLEST_FILE {
        return Err(TelemetryError::Size);
    }
    if config.file_max_age < YOUNGEST_FILE {
        return Err(TelemetryError::Age);
    }
    let rotation = Rotation {
        max_size: config.file_max_size,
        max_age: config.file_max_age,
        keep: usize::try_from(config.file_keep).unwrap_or(usize::MAX),
    };
    let file = LogFile::open(path, rotation);
    file.map(Some).map_err(|reason| TelemetryError::File {
        path: path.clone(),
        reason,
    })
}

/// The standard hook would put lines that are not JSON between ours.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("without a message");
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured)
        .then(|| tracing::field::display(backtrace));
    tracing::error!(
        location = panic.location().map(tracing::field::display),
        thread = std::thread::current().name(),
        backtrace,
        "panicked: {message}"
    );
}
