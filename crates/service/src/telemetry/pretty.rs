//! Lines for people.

use std::fmt::Write as _;

use millrace_types::Timestamp;
use tracing::Level;

use super::layer::Line;

const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";

const fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// Appends `line`: time, level, message, fields, target. Writing to a string
/// cannot fail, hence the ignored results.
pub(super) fn format(text: &mut String, line: &Line<'_>, colours: bool) {
    let (dim, level, reset) = if colours {
        (DIM, colour(line.level), RESET)
    } else {
        ("", "", "")
    };
    let now = Timestamp::now().to_string();
    // HH:MM:SS.mmm of an RFC 3339 time.
    let time = now.get(11..23).unwrap_or(&now);
    let _ = write!(
        text,
        "{dim}{time}{reset} {level}{:>5}{reset} {}",
        line.level, line.message
    );
    for (name, value) in line.fields {
        let _ = write!(text, " {dim}{name}={reset}{}", bare(value));
    }
    if let Some(trace_id) = line.trace_id {
        let _ = write!(text, " {dim}trace_id={trace_id}{reset}");
    }
    let _ = writeln!(text, " {dim}{}{reset}", line.target);
}

/// Without quotes when nothing inside needs them.
fn bare(json: &str) -> &str {
    json.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .filter(|text| !text.is_empty() && !text.contains([' ', '"', '\\', '=']))
        .unwrap_or(json)
}
