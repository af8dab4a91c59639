//! Projects: folders of services, and who may name which folder.

mod git;
mod paths;
mod services;

pub(crate) use git::{GitError, GitSource, folder_of, is_checked_out};
pub(crate) use paths::{PathRefused, Roots};
pub(crate) use services::{FoundService, find_service, list_services};

/// Whether a text may be a project's key: it is part of addresses.
pub(crate) fn is_key(key: &str) -> bool {
    let inner = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=32).contains(&key.len())
        && key.starts_with(|c: char| c.is_ascii_uppercase())
        && key.bytes().all(inner)
}
