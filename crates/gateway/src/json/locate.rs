//! Places in a text: offsets, lines and columns, and what a pointer points at.

use serde_json::value::RawValue;

use super::Members;

/// A place as an editor shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
}

/// Line and column of the byte at `offset`; of the end when it lies beyond.
pub fn position(text: &str, offset: usize) -> Position {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let lines = before.bytes().filter(|byte| *byte == b'\n').count();
    let columns = before[line_start..].chars().count();
    Position {
        line: u32::try_from(lines + 1).unwrap_or(u32::MAX),
        column: u32::try_from(columns + 1).unwrap_or(u32::MAX),
    }
}

/// Where `part`, a slice of `whole`, starts in it.
pub fn offset_of(whole: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// The offset of what `pointer` (RFC 6901) points at in a JSON text, or of
/// the innermost value around it that exists.
pub fn locate(text: &str, pointer: &str) -> usize {
    let mut at = text.trim_start();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        match child(at, &token) {
            Some(value) => at = value,
            None => break,
        }
    }
    offset_of(text, at)
}

fn child<'a>(value: &'a str, token: &str) -> Option<&'a str> {
    if value.starts_with('{') {
        let members: Members<'a> = serde_json::from_str(value).ok()?;
        let member = members.0.into_iter().find(|member| member.key == token)?;
        Some(member.value.get())
    } else if value.starts_with('[') {
        let items: Vec<&'a RawValue> = serde_json::from_str(value).ok()?;
        items
            .get(token.parse::<usize>().ok()?)
            .map(|item| item.get())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_followed_as_far_as_it_goes() {
        let text = "{\n  \"a/b\": [1, {\"c\": true}],\n  \"d\": null\n}";
        let at = |pointer: &str| &text[locate(text, pointer)..];
        assert!(at("/a~1b/1/c").starts_with("true"));
        assert!(at("/a~1b/1/x/y").starts_with("{\"c\""));
        assert!(at("/a~1b/9").starts_with("[1"));
        assert!(at("/d/e").starts_with("null"));
        assert_eq!(locate(text, ""), 0);
        assert_eq!(
            position(text, locate(text, "/d")),
            Position { line: 3, column: 8 }
        );
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(position("äb\nöx", 2), Position { line: 1, column: 2 });
        assert_eq!(position("äb\nöx", 6), Position { line: 2, column: 2 });
        assert_eq!(position("", 10), Position { line: 1, column: 1 });
    }
}
