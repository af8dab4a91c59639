//! Executions by what their error says.

use millrace_store::{ExecutionFilter, ExecutionRecord, PageRequest, Store, StoreError};

/// Executions that one search looks at. What it has not found by then is for
/// the next page: the answer carries a cursor, even with nothing found.
pub(crate) const BUDGET: u32 = 5000;
/// Read at once.
const CHUNK: u32 = 500;

/// A page of executions, and how many were looked at for it.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub items: Vec<ExecutionRecord>,
    pub next: Option<String>,
    pub scanned: u32,
}

/// Those whose error contains `text`, whatever the case of its letters;
/// newest first.
pub(crate) async fn by_error(
    store: &dyn Store,
    mut filter: ExecutionFilter,
    text: &str,
    page: &PageRequest,
) -> Result<Found, StoreError> {
    filter.unsuccessful = true;
    let needle = needle(text);
    let mut found = Found {
        next: page.cursor.clone(),
        ..Found::default()
    };
    // Chunks that come back short, because rows had to be checked one by one,
    // count in full.
    for _ in 0..BUDGET / CHUNK {
        let request = PageRequest {
            cursor: found.next.take(),
            limit: CHUNK,
        };
        let chunk = store.list_executions(&filter, &request).await?;
        let last = chunk.items.len().saturating_sub(1);
        for (at, record) in chunk.items.into_iter().enumerate() {
            found.scanned += 1;
            let id = record.id;
            if !says(&record, &needle) {
                continue;
            }
            found.items.push(record);
            if found.items.len() == page.limit as usize {
                if at < last || chunk.next.is_some() {
                    found.next = Some(id.to_string());
                }
                return Ok(found);
            }
        }
        found.next = chunk.next;
        if found.next.is_none() {
            break;
        }
    }
    Ok(found)
}

/// As it stands within JSON text, where quotes and line breaks are escaped.
fn needle(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_lowercase()
}

fn says(record: &ExecutionRecord, needle: &str) -> bool {
    record
        .error
        .as_ref()
        .and_then(|error| std::str::from_utf8(error).ok())
        .is_some_and(|error| contains(error, needle))
}

/// Engines may escape more than has to be, such as all that is not ASCII: what
/// they wrote is then read, and written as the needle is.
fn contains(error: &str, needle: &str) -> bool {
    if error.to_lowercase().contains(needle) {
        return true;
    }
    let escapes = error.contains("\\u") || error.contains("\\/");
    escapes
        && serde_json::from_str::<serde_json::Value>(error)
            .is_ok_and(|value| value.to_string().to_lowercase().contains(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_looked_for_as_json_writes_them() {
        assert_eq!(needle("No \"Route\"\n"), r#"no \"route\"\n"#);
    }

    #[test]
    fn texts_are_found_however_their_json_escapes_them() {
        // As Python's json.dumps, and PHP's json_encode, write it.
        let escaped = r#"{"title":"Stra\u00dfe \ud83d\ude80","detail":"GET a\/b: \u001b"}"#;
        for text in ["straße 🚀", "STRASSE", "get a/b: \u{1b}", "nowhere"] {
            let expected = !matches!(text, "STRASSE" | "nowhere");
            assert_eq!(contains(escaped, &needle(text)), expected, "{text}");
        }
    }
}
