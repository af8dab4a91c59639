//! The members of a JSON object, each as the text it was written as.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One member of an object.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    pub key: Cow<'a, str>,
    /// The key as written, with its quotes.
    pub key_text: &'a str,
    pub value: &'a RawValue,
}

/// The members of an object in written order, duplicates included.
#[derive(Debug, Clone)]
pub struct Members<'a>(pub Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
                    let key_text = key.get();
                    members.push(Member {
                        key: decode(key_text).map_err(A::Error::custom)?,
                        key_text,
                        value,
                    });
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn decode(key_text: &str) -> serde_json::Result<Cow<'_, str>> {
    if key_text.contains('\\') {
        serde_json::from_str::<String>(key_text).map(Cow::Owned)
    } else {
        Ok(Cow::Borrowed(key_text.trim_matches('"')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_order_and_text() {
        let members: Members<'_> =
            serde_json::from_str(r#"{"z": 1.50, "\u0061" : [ 1 ], "z": "x"}"#).unwrap();
        let seen: Vec<(&str, &str)> = members
            .0
            .iter()
            .map(|m| (m.key.as_ref(), m.value.get()))
            .collect();
        assert_eq!(seen, [("z", "1.50"), ("a", "[ 1 ]"), ("z", "\"x\"")]);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(serde_json::from_str::<Members<'_>>("[1]").is_err());
    }
}
