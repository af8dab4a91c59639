//! Secrets at rest: XChaCha20-Poly1305 under a key from configuration.
//!
//! A sealed text is `mrs1.<key id>.<base64url of nonce and ciphertext>`. The
//! nonce is random (24 bytes, so that it never repeats in practice). The
//! version, the key id and the caller's context are authenticated with it:
//! a text moved to another trigger does not open.

mod key;
mod secrets;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

pub use key::{InvalidKey, SealingKey};
pub use secrets::SealedSecrets;

/// Marks the format of a sealed text.
const VERSION: &str = "mrs1";

const NONCE: usize = 24;

/// The key that seals, and perhaps the one that sealed before it and still
/// opens. To rotate: make the new key current and the present one old, seal
/// anew what [`is_current`](Self::is_current) denies, then drop the old key.
#[derive(Debug, Clone)]
pub struct SealingKeys {
    current: SealingKey,
    old: Option<SealingKey>,
}

/// Why a secret was not sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the system gives no random bytes: {0}")]
    Randomness(String),
    /// Far beyond any secret (the cipher's bound is 256 GB).
    #[error("the text is too long to be sealed")]
    TooLong,
}

/// Why a sealed text does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("it is not a sealed text of this version")]
    Format,
    /// It was sealed by a key that is not configured here.
    #[error("it was sealed with the key `{0}`, which is not configured")]
    UnknownKey(String),
    /// It was changed, or belongs to another context.
    #[error("it was changed or belongs to something else")]
    Refused,
}

impl SealingKeys {
    /// An `old` key that equals the current one is ignored.
    pub fn new(current: SealingKey, old: Option<SealingKey>) -> Self {
        let old = old.filter(|old| old.id() != current.id());
        Self { current, old }
    }

    /// Encrypts. Only `open` with the same `context` gives the plain bytes
    /// back; the context is a trigger's id, say.
    pub fn seal(&self, plain: &[u8], context: &str) -> Result<String, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|why| SealError::Randomness(why.to_string()))?;
        let id = self.current.id();
        let payload = Payload {
            msg: plain,
            aad: &associated(id, context),
        };
        let ciphertext = cipher(&self.current)
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| SealError::TooLong)?;
        let sealed = [&nonce[..], &ciphertext].concat();
        Ok(format!("{VERSION}.{id}.{}", URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Decrypts what [`seal`](Self::seal) made under either key.
    pub fn open(&self, sealed: &str, context: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (id, data) = take_apart(sealed).ok_or(OpenError::Format)?;
        let key = std::iter::once(&self.current)
            .chain(&self.old)
            .find(|key| key.id() == id)
            .ok_or_else(|| OpenError::UnknownKey(id.to_owned()))?;
        let data = URL_SAFE_NO_PAD
            .decode(data)
            .map_err(|_| OpenError::Format)?;
        let (nonce, ciphertext) = data.split_first_chunk::<NONCE>().ok_or(OpenError::Format)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &associated(id, context),
        };
        cipher(key)
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| OpenError::Refused)
    }

    /// Whether the current key sealed this text; one that it did not is to be
    /// sealed anew before the old key is dropped.
    pub fn is_current(&self, sealed: &str) -> bool {
        take_apart(sealed).is_some_and(|(id, _)| id == self.current.id())
    }
}

fn take_apart(sealed: &str) -> Option<(&str, &str)> {
    let (id, data) = sealed
        .strip_prefix(VERSION)?
        .strip_prefix('.')?
        .split_once('.')?;
    let plausible = id.len() == key::ID_LENGTH && id.bytes().all(|b| b.is_ascii_hexdigit());
    plausible.then_some((id, data))
}

/// No part but the last can hold a stop, so no two contexts give the same.
fn associated(id: &str, context: &str) -> Vec<u8> {
    format!("{VERSION}.{id}.{context}").into_bytes()
}

fn cipher(key: &SealingKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*key.bytes()))
}
