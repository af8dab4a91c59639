//! The key under which secrets are sealed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::SealError;
use crate::verify::encoding;

const LENGTH: usize = 32;

/// Hex digits in a key's id.
pub(super) const ID_LENGTH: usize = 16;

/// 32 random bytes with a name derived from them, so that every process that
/// holds the key calls it the same. `Debug` shows the name alone.
#[derive(Clone)]
pub struct SealingKey {
    bytes: Zeroizing<[u8; LENGTH]>,
    id: String,
}

/// A text that is not a sealing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealing key is the base64 of 32 random bytes, such as `openssl rand -base64 32` prints")]
pub struct InvalidKey;

impl SealingKey {
    /// A new key from the system's randomness.
    pub fn generate() -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        getrandom::fill(&mut bytes[..]).map_err(|why| SealError::Randomness(why.to_string()))?;
        Ok(Self::from_bytes(bytes))
    }

    /// Reads a key from configuration: base64 in either alphabet, with or
    /// without padding; white space around it (of a file) is ignored. A key of
    /// equal bytes is a placeholder and refused.
    pub fn from_base64(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        let bytes = encoding::base64(text)
            .or_else(|| encoding::base64_url(text))
            .map(Zeroizing::new)
            .ok_or(InvalidKey)?;
        let bytes: [u8; LENGTH] = bytes.as_slice().try_into().map_err(|_| InvalidKey)?;
        if bytes.iter().all(|b| *b == bytes[0]) {
            return Err(InvalidKey);
        }
        Ok(Self::from_bytes(Zeroizing::new(bytes)))
    }

    /// The key as [`from_base64`](Self::from_base64) reads it, to be written
    /// to a file that its owner alone may read.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(&self.bytes[..]))
    }

    /// The key's name, which tells nothing of the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn bytes(&self) -> &[u8; LENGTH] {
        &self.bytes
    }

    fn from_bytes(bytes: Zeroizing<[u8; LENGTH]>) -> Self {
        let digest = Sha256::new()
            .chain_update(b"millrace sealing key id\0")
            .chain_update(&bytes[..])
            .finalize();
        let (name, _) = digest.split_at(ID_LENGTH / 2);
        let id = encoding::to_hex(name);
        Self { bytes, id }
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.id)
    }
}
