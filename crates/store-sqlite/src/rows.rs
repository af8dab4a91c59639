//! Many rows in one statement.
//!
//! A statement gets its rows as one JSON array, which it reads with
//! `json_each`, and their payloads as one blob beside it, of which each row
//! names a part by offset and length. So the text of a statement is the same
//! for any number of rows, and stays prepared; and payloads are never parsed.

use bytes::Bytes;
use serde::Serialize;

/// Rows on their way into a statement.
#[derive(Debug)]
pub struct Rows<T> {
    rows: Vec<T>,
    blob: Vec<u8>,
}

/// A part of the blob: the offset, counted from 1 as `substr` does, and the
/// length.
pub type Part = (usize, usize);

impl<T: Serialize> Rows<T> {
    pub const fn new() -> Self {
        Self {
            rows: Vec::new(),
            blob: Vec::new(),
        }
    }

    /// Takes a payload; the answer goes into its row.
    pub fn payload(&mut self, payload: &Bytes) -> Part {
        let part = (self.blob.len() + 1, payload.len());
        self.blob.extend_from_slice(payload);
        part
    }

    pub fn push(&mut self, row: T) {
        self.rows.push(row);
    }

    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows as a JSON array, and the blob.
    pub fn into_parameters(self) -> (String, Vec<u8>) {
        (json(&self.rows), self.blob)
    }
}

/// A JSON array for a statement's `json_each`.
pub fn json<T: Serialize>(rows: &[T]) -> String {
    serde_json::to_string(rows).expect("identifiers, numbers and texts always serialise")
}
