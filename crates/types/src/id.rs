//! Identifiers: a three-letter prefix that says of what, an underscore, and
//! 26 characters of Crockford's base 32 (lower case) that carry a UUID of
//! version 7 (RFC 9562). Their text order is the order of their creation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const BODY: usize = 26;

/// A text that is not an identifier of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an identifier of the form {prefix}_ and 26 characters")]
pub struct InvalidId {
    prefix: &'static str,
    text: String,
}

fn encode(uuid: Uuid) -> [u8; BODY] {
    let mut rest = uuid.as_u128();
    let mut out = [b'0'; BODY];
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    out
}

fn decode(text: &str) -> Option<Uuid> {
    let bytes = text.as_bytes();
    // 26 characters hold 130 bits: the first may not exceed 7.
    if bytes.len() != BODY || bytes[0] > b'7' {
        return None;
    }
    let mut value: u128 = 0;
    for byte in bytes {
        let digit = ALPHABET.iter().position(|c| c == byte)?;
        value = (value << 5) | digit as u128;
    }
    Some(Uuid::from_u128(value))
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What every identifier of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier, later in order than any that this process
            /// has made before.
            #[expect(clippy::new_without_default, reason = "each is different, so there is no default")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The 128 bits that the text stands for.
            pub const fn as_u128(self) -> u128 {
                self.0.as_u128()
            }

            /// The identifier with these bits.
            pub const fn from_u128(bits: u128) -> Self {
                Self(Uuid::from_u128(bits))
            }

            /// The time of its making, to the millisecond, by the clock of
            /// the process that made it.
            pub fn minted_at(self) -> Timestamp {
                let millis = self.0.as_u128() >> 80;
                Timestamp::from_micros(i64::try_from(millis).unwrap_or(i64::MAX / 1000) * 1000)
            }

            /// The smallest identifier minted at or after `at`: a bound for
            /// range scans by time.
            pub fn lower_bound(at: Timestamp) -> Self {
                let millis = u128::try_from(at.as_micros().max(0) / 1000).unwrap_or(0);
                Self(Uuid::from_u128((millis & 0xffff_ffff_ffff) << 80))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let body = encode(self.0);
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(std::str::from_utf8(&body).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(Self)
                    .ok_or_else(|| InvalidId { prefix: $prefix, text: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier!(/** A workflow: a document with namespace and name. */ WorkflowId, "wfl");
identifier!(/** A deployment: a workflow made live. */ DeploymentId, "dep");
identifier!(/** A trigger of a deployment. */ TriggerId, "trg");
identifier!(/** One run of a workflow. */ ExecutionId, "exe");
identifier!(/** One life of a runtime process. */ IncarnationId, "inc");
identifier!(/** A project of services. */ ProjectId, "prj");
identifier!(/** One deployed service. */ WorkloadId, "wkl");
identifier!(/** One process of a workload. */ InstanceId, "ins");
identifier!(/** A key by which callers of the API prove who they are. */ ApiKeyId, "key");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_identifier_are_one_to_one() {
        for _ in 0..1000 {
            let id = ExecutionId::new();
            let text = id.to_string();
            assert_eq!(text.len(), 30);
            assert_eq!(text.parse::<ExecutionId>().unwrap(), id);
        }
    }

    #[test]
    fn text_order_is_the_order_of_making() {
        let made: Vec<String> = (0..1000).map(|_| ExecutionId::new().to_string()).collect();
        assert!(made.is_sorted());
    }

    #[test]
    fn what_is_not_an_identifier_is_refused() {
        let good = ExecutionId::new().to_string();
        let upper = good.to_uppercase();
        let other = good.replace("exe_", "dep_");
        for bad in [
            "",
            "exe_",
            "exe_1",
            upper.as_str(),
            other.as_str(),
            "exe_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "exe_0000000000000000000000000é",
        ] {
            assert!(bad.parse::<ExecutionId>().is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn minting_time_is_read_back_and_bounds_ranges() {
        let before = Timestamp::now();
        let id = ExecutionId::new();
        assert!(id.minted_at().as_micros() / 1000 >= before.as_micros() / 1000);
        assert!(ExecutionId::lower_bound(before) <= id);
        assert_eq!(
            ExecutionId::lower_bound(id.minted_at()).minted_at(),
            id.minted_at()
        );
    }
}
