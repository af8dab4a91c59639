//! Computing and comparing HMACs.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::AuthError;
use crate::spec::Algorithm;

/// Which of the keys makes one of the given signatures of the message (in
/// parts). Every key is tried with every signature, and comparing takes the
/// same time wherever they differ.
pub(super) fn find<'k>(
    algorithm: Algorithm,
    keys: impl IntoIterator<Item = &'k [u8]>,
    message: &[&[u8]],
    signatures: &[Vec<u8>],
) -> Result<usize, AuthError> {
    let mut found = None;
    for (index, key) in keys.into_iter().enumerate() {
        let expected = match algorithm {
            Algorithm::Sha1 => compute::<Hmac<Sha1>>(key, message),
            Algorithm::Sha256 => compute::<Hmac<Sha256>>(key, message),
            Algorithm::Sha512 => compute::<Hmac<Sha512>>(key, message),
        };
        for signature in signatures {
            if bool::from(expected.ct_eq(signature)) {
                found = found.or(Some(index));
            }
        }
    }
    found.ok_or(AuthError::WrongSignature)
}

fn compute<M: Mac + KeyInit>(key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as Mac>::new_from_slice(key).expect("an HMAC takes a key of any length");
    for part in message {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}
