//! Tells authors how to quote an expression that YAML misreads.

use crate::language::diagnostic::shortened;

/// How many lines above a fault an unquoted expression may have started.
const LINES_ABOVE: usize = 4;

/// How many characters of the author's text are shown in quotes.
const MAX_SHOWN: usize = 200;

/// When an unquoted `${ … }` stands on line `line` (counted from 1) or a
/// little above, or an unquoted value with a `: ` in it on the line itself, a
/// sentence that says how to quote it.
pub fn hint(text: &str, line: u32) -> Option<String> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let from = line.saturating_sub(LINES_ABOVE);
    let lines: Vec<&str> = text.lines().skip(from).take(line - from + 1).collect();
    if let Some(expression) = lines.iter().rev().find_map(|line| unquoted(line)) {
        return Some(format!(
            "An expression that holds `: `, ` #`, `{{` or quotes must be quoted as a whole: {}",
            quoted(expression)
        ));
    }
    let (_, value) = lines.get(line - from)?.split_once(": ")?;
    let plain = !value
        .trim_start()
        .starts_with(['\'', '"', '[', '{', '|', '>', '&', '*']);
    (plain && value.contains(": ")).then(|| {
        format!(
            "A value that holds `: ` must be quoted as a whole: {}",
            quoted(value)
        )
    })
}

/// The text in YAML's single quotes.
pub fn quoted(text: &str) -> String {
    let text = shortened(text.trim().to_owned(), MAX_SHOWN);
    format!("'{}'", text.replace('\'', "''"))
}

/// The unquoted expression on a line, up to the line's end.
fn unquoted(line: &str) -> Option<&str> {
    let at = line.find("${")?;
    let before = line[..at].trim_end();
    let opens_a_value = before.is_empty() || before.ends_with([':', '-', ',', '[', '{']);
    opens_a_value.then(|| line[at..].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_shows_the_expression_in_quotes() {
        let hint = hint("set:\n  a: ${ {a: 'x'} }\n", 2).expect("a hint");
        assert!(hint.ends_with("as a whole: '${ {a: ''x''} }'"), "{hint}");
    }

    #[test]
    fn values_with_a_colon_are_shown_in_quotes() {
        let hint = hint("  - when: .a == \"x: y\"\n", 1).expect("a hint");
        assert!(hint.ends_with("as a whole: '.a == \"x: y\"'"), "{hint}");
    }

    #[test]
    fn there_is_no_hint_without_an_unquoted_expression() {
        assert_eq!(hint("a: '${ .x }'\nb: [\n", 2), None);
        assert_eq!(hint("a: 'b: c'\n", 1), None);
        assert_eq!(hint("", 7), None);
    }
}
