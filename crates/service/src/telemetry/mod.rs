//! Logs: one line per event on standard error, as JSON or, on a terminal, for
//! people. Each carries the `trace_id` of the request it belongs to.
//!
//! ```json
//! {"timestamp":"…Z","level":"INFO","target":"millrace_runtime::…","message":"…","trace_id":"…","fields":{…}}
//! ```
//!
//! Fields are those of the event and of the spans around it, the innermost
//! first; those whose name says that they are secret are masked.

mod fields;
mod json;
mod layer;
mod pretty;

use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};
pub use layer::{LogLayer, Style};

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the value of `log.level` is not usable: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    #[error("logging was set up before")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Libraries that are chatty at `info`; what `log.level` says of them counts
/// for more.
const QUIET: &str = "tokio_cron_scheduler=warn";

/// Sends the logs of this process to standard error, those of panics too.
/// To be called once, at its start.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    let levels: Targets = format!("{QUIET},{}", config.level).parse()?;
    let terminal = io::stderr().is_terminal();
    let style = match config.format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto if !terminal => Style::Json,
        LogFormat::Auto | LogFormat::Pretty => Style::Pretty { colours: terminal },
    };
    tracing_subscriber::registry()
        .with(levels)
        .with(LogLayer::new(style, io::stderr))
        .try_init()?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
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
