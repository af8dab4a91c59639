//! Names that may be repeated, as members of an object.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// An object made of pairs: one value stands for itself, several of one name
/// are an array. Names keep the order in which they came first.
#[derive(Debug, Default)]
pub struct Members {
    lists: Vec<(String, Vec<Value>)>,
    /// Where a name's list is: a body may hold very many names.
    at: HashMap<String, usize>,
}

impl Members {
    pub fn push(&mut self, name: String, value: Value) {
        match self.at.get(&name) {
            Some(at) => self.lists[*at].1.push(value),
            None => {
                self.at.insert(name.clone(), self.lists.len());
                self.lists.push((name, vec![value]));
            }
        }
    }

    pub fn into_object(self) -> Map<String, Value> {
        self.lists
            .into_iter()
            .map(|(name, mut values)| match values.pop() {
                Some(only) if values.is_empty() => (name, only),
                last => {
                    values.extend(last);
                    (name, Value::Array(values))
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_arrays_in_order() {
        let mut members = Members::default();
        for (name, value) in [("b", 1), ("a", 2), ("b", 3), ("b", 4)] {
            members.push(name.into(), value.into());
        }
        let object = Value::Object(members.into_object());
        assert_eq!(object.to_string(), r#"{"b":[1,3,4],"a":2}"#);
    }
}
