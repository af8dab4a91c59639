//! An API key as its holder presents it: `mlr_`, the 26 characters of its
//! identifier, an underscore, and 256 random bits in URL-safe base 64. What is
//! kept of it is the SHA-256 of the whole text: as nobody can guess that many
//! bits, a slow hash would protect nothing more.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::BoxFuture;
use millrace_types::{ApiKey, ApiKeyId};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::secret::Secret;

const PREFIX: &str = KeyToken::PREFIX;
const SECRET_BYTES: usize = 32;

/// A text that is no API key at all, whatever is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an API key: those start with {PREFIX}")]
pub struct InvalidToken;

/// What a caller presents, taken apart. Does not show the secret.
#[derive(Clone, Copy)]
pub struct KeyToken {
    id: ApiKeyId,
    digest: [u8; 32],
}

impl KeyToken {
    /// What every key begins with.
    pub const PREFIX: &'static str = "mlr_";

    /// A new key: the text for its holder, shown once, and what to keep.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn mint() -> Result<(Secret<String>, Self), getrandom::Error> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        let id = ApiKeyId::new();
        let body = id.to_string();
        let body = body.trim_start_matches(ApiKeyId::PREFIX);
        let text = format!("{PREFIX}{}_{}", &body[1..], URL_SAFE_NO_PAD.encode(secret));
        let token = Self::new(id, &text);
        Ok((Secret::new(text), token))
    }

    /// Takes apart what a caller presents.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let rest = text.strip_prefix(PREFIX).ok_or(InvalidToken)?;
        let (body, secret) = rest.split_once('_').ok_or(InvalidToken)?;
        let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| InvalidToken)?;
        if secret.len() != SECRET_BYTES {
            return Err(InvalidToken);
        }
        let id = format!("{}_{body}", ApiKeyId::PREFIX);
        let id = id.parse().map_err(|_| InvalidToken)?;
        Ok(Self::new(id, text))
    }

    /// Of a caller elsewhere, who has presented it there.
    pub const fn from_parts(id: ApiKeyId, digest: [u8; 32]) -> Self {
        Self { id, digest }
    }

    fn new(id: ApiKeyId, text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes()).into();
        Self { id, digest }
    }

    /// Which key it claims to be.
    pub const fn id(&self) -> ApiKeyId {
        self.id
    }

    /// SHA-256 of the whole text: what is stored, and what tells right from wrong.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether it is the key of which `stored` was kept. Takes the same time
    /// wherever they differ.
    pub fn matches(&self, stored: &[u8]) -> bool {
        self.digest.as_slice().ct_eq(stored).into()
    }
}

impl fmt::Debug for KeyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyToken").field(&self.id).finish()
    }
}

/// Whether a key is valid cannot be told now.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the key cannot be looked up: {0}")]
pub struct LookUpFailed(pub String);

/// Those who know which keys there are: a database, or a runtime that is asked.
pub trait KeyLookUp: Send + Sync + fmt::Debug {
    /// The key that `token` is, if there is such a key and it is neither
    /// revoked nor expired. Its digest has been compared in constant time.
    fn look_up<'a>(
        &'a self,
        token: &'a KeyToken,
    ) -> BoxFuture<'a, Result<Option<ApiKey>, LookUpFailed>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_key_is_known_again_and_any_other_is_not() {
        let (text, kept) = KeyToken::mint().unwrap();
        let presented = KeyToken::parse(text.expose()).unwrap();
        assert_eq!(presented.id(), kept.id());
        assert!(presented.matches(kept.digest()));
        let (other, _) = KeyToken::mint().unwrap();
        assert!(
            !KeyToken::parse(other.expose())
                .unwrap()
                .matches(kept.digest())
        );
        let secret = &text.expose()[PREFIX.len() + 27..];
        assert!(!format!("{presented:?}").contains(secret));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (text, _) = KeyToken::mint().unwrap();
        let text = text.expose();
        for wrong in [
            "",
            "mlr_",
            "mlr_x_y",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}A"),
        ] {
            assert_eq!(KeyToken::parse(wrong).unwrap_err(), InvalidToken, "{wrong}");
        }
    }
}
