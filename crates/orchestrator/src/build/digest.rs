use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::Plan;

/// Of all that a build depends on: the command, and each file by its name and
/// its content.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Digest(String);

impl Digest {
    pub fn of(plan: &Plan, files: &BTreeMap<String, [u8; 32]>) -> Self {
        let mut digest = Sha256::new();
        let mut add = |bytes: &[u8]| {
            digest.update(bytes.len().to_le_bytes());
            digest.update(bytes);
        };
        add(&plan.command.len().to_le_bytes());
        for word in &plan.command {
            add(word.as_bytes());
        }
        for (path, content) in files {
            add(path.as_bytes());
            add(content);
        }
        Self(hex(&digest.finalize()))
    }

    /// A name for `text` that any file system takes.
    pub fn name(text: &[u8]) -> String {
        hex(&Sha256::digest(text)[..16])
    }
}

/// `bytes` in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
