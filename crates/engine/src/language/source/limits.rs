//! How much of a document is read. All of it is far beyond what authors
//! write by hand, and small enough that one document cannot take the process
//! down.

/// Bytes of text: what the gateway lets through as well.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Lists and objects inside one another. The tree is walked recursively, so
/// this also bounds the stack.
pub const MAX_DEPTH: usize = 64;

/// Values in the tree, those that aliases repeat counted each time.
pub const MAX_NODES: usize = 50_000;

/// Bytes of keys and texts in the tree, repeated ones counted each time: a
/// few aliases to one long text must not grow without bound.
pub const MAX_TEXT: usize = 4 * MAX_BYTES;
