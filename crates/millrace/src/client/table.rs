//! Columns that line up.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;

/// Rows of text under a header; the last column is not padded.
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(header: [&str; N]) -> Self {
        Self {
            rows: vec![header.map(str::to_owned)],
        }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                line.push_str(cell);
                // Two blanks between columns; what is left over is cut off below.
                let gap = width - cell.chars().count() + 2;
                line.extend(std::iter::repeat_n(' ', gap));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `text` without what would drive a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A member as a cell: `-` when it is not there.
pub fn cell(value: &Value) -> String {
    let text: Cow<'_, str> = match value {
        Value::Null => "-".into(),
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    };
    printable(&text)
}

/// A time as a cell, to the second.
pub fn time(value: &Value) -> String {
    value
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok())
        .map_or_else(|| cell(value), |time| format!("{time:.0}"))
}

/// How long it took from one time to the other.
pub fn took(from: &Value, to: &Value) -> String {
    let parse = |value: &Value| {
        value
            .as_str()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
    };
    match (parse(from), parse(to)) {
        (Some(from), Some(to)) => {
            let millis = to.duration_since(from).as_millis();
            if millis < 10_000 {
                format!("{millis} ms")
            } else {
                format!(
                    "{:#}",
                    jiff::SignedDuration::from_secs(to.duration_since(from).as_secs())
                )
            }
        }
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_line_up_and_nothing_drives_the_terminal() {
        let mut table = Table::new(["ID", "NAME"]);
        table.row(["a".into(), "é\u{1b}[2J".into()]);
        table.row(["longer".into(), "-".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ID      NAME\na       é\u{fffd}[2J\nlonger  -\n"
        );
    }

    #[test]
    fn durations_are_short() {
        let start = json!("2026-12-01T09:00:00Z");
        assert_eq!(took(&start, &json!("2026-12-01T09:00:00.25Z")), "250 ms");
        assert_eq!(took(&start, &json!("2026-12-01T09:01:30.5Z")), "1m 30s");
        assert_eq!(took(&start, &Value::Null), "-");
    }
}
