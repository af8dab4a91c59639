//! The secrets of one trigger, sealed together.

use std::fmt;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{OpenError, SealError, SealingKeys};
use crate::Secret;
use crate::verify::encoding;

/// Secrets as they may be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecrets {
    /// Different each time; see [`SealingKeys::open_secrets`].
    pub text: String,
    /// Equal for equal secrets, context and key, in lower-case hexadecimal.
    /// Who does not hold the key learns nothing from it but that.
    pub fingerprint: String,
}

impl fmt::Debug for SealedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSecrets({})", self.fingerprint)
    }
}

impl SealingKeys {
    /// Seals secrets under the current key. They open with the same `context`
    /// only.
    pub fn seal_secrets(
        &self,
        secrets: &[Secret],
        context: &str,
    ) -> Result<SealedSecrets, SealError> {
        let plain = join(secrets);
        Ok(SealedSecrets {
            text: self.seal(&plain, context)?,
            fingerprint: self.fingerprint(&plain, context),
        })
    }

    /// Opens what [`seal_secrets`](Self::seal_secrets) made, under either key.
    pub fn open_secrets(&self, sealed: &str, context: &str) -> Result<Vec<Secret>, OpenError> {
        let plain = self.open(sealed, context)?;
        split(&plain).ok_or(OpenError::Format)
    }

    fn fingerprint(&self, plain: &[u8], context: &str) -> String {
        // A key of its own: the sealing key is used for one purpose.
        let key = Zeroizing::new(<[u8; 32]>::from(
            Sha256::new()
                .chain_update(b"millrace secret fingerprint key\0")
                .chain_update(self.current.bytes())
                .finalize(),
        ));
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key[..])
            .expect("an HMAC takes keys of any length");
        mac.update(&(plain.len() as u64).to_be_bytes());
        mac.update(plain);
        mac.update(context.as_bytes());
        encoding::to_hex(&mac.finalize().into_bytes())
    }
}

/// Each secret after its length in four bytes.
fn join(secrets: &[Secret]) -> Zeroizing<Vec<u8>> {
    let length = secrets.iter().map(|secret| 4 + secret.bytes().len()).sum();
    // Of the full size at once: growing would leave copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(length));
    for secret in secrets {
        let length = u32::try_from(secret.bytes().len()).unwrap_or(u32::MAX);
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(secret.bytes());
    }
    plain
}

fn split(mut plain: &[u8]) -> Option<Vec<Secret>> {
    let mut secrets = Vec::new();
    while !plain.is_empty() {
        let (length, rest) = plain.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (secret, rest) = rest.split_at_checked(length)?;
        secrets.push(Secret::new(std::str::from_utf8(secret).ok()?));
        plain = rest;
    }
    Some(secrets)
}
