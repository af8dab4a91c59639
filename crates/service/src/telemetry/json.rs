//! Lines for machines.

use std::fmt::Write as _;

use millrace_types::Timestamp;

use super::fields::write_text;
use super::layer::Line;

/// Appends `line` as one JSON object and a line feed. Writing to a string
/// cannot fail, hence the ignored results.
pub(super) fn format(text: &mut String, line: &Line<'_>) {
    let _ = write!(
        text,
        "{{\"timestamp\":\"{}\",\"level\":\"{}\",\"target\":",
        Timestamp::now(),
        line.level
    );
    write_text(text, format_args!("{}", line.target));
    text.push_str(",\"message\":");
    write_text(text, format_args!("{}", line.message));
    if let Some(trace_id) = line.trace_id {
        text.push_str(",\"trace_id\":");
        write_text(text, format_args!("{trace_id}"));
    }
    if !line.fields.is_empty() {
        text.push_str(",\"fields\":{");
        for (index, (name, value)) in line.fields.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            write_text(text, format_args!("{name}"));
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
    }
    text.push_str("}\n");
}
