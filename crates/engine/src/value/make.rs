//! Making values.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{Array, Measure, Num, Object, Text, Value};

/// An object of these members; of two with one key the later value stays.
pub fn object<K: Into<Text>, V: Into<Value>>(members: impl IntoIterator<Item = (K, V)>) -> Value {
    let members = members.into_iter().map(|(k, v)| (k.into(), v.into()));
    members.collect::<IndexMap<Text, Value>>().into()
}

/// An array of these elements.
pub fn array<V: Into<Value>>(items: impl IntoIterator<Item = V>) -> Value {
    items
        .into_iter()
        .map(Into::into)
        .collect::<Vec<Value>>()
        .into()
}

/// A string.
pub fn string(s: impl Into<Text>) -> Value {
    Value::Str(s.into())
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        let mut measure = Measure::default();
        for item in &items {
            measure.add(item);
        }
        Self::Arr(Arc::new(Array { items, measure }))
    }
}

impl From<IndexMap<Text, Value>> for Value {
    fn from(members: IndexMap<Text, Value>) -> Self {
        let mut measure = Measure::default();
        for (k, v) in &members {
            measure.add_member(k, v);
        }
        Self::Obj(Arc::new(Object { members, measure }))
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Self::Str(s.into())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Self::Str(s.into())
    }
}

impl From<isize> for Value {
    fn from(i: isize) -> Self {
        Self::Num(Num::Int(i))
    }
}

impl From<i64> for Value {
    fn from(i: i64) -> Self {
        Self::Num(Num::from_integral(i))
    }
}

impl From<u64> for Value {
    fn from(i: u64) -> Self {
        Self::Num(Num::from_integral(i))
    }
}

impl From<i32> for Value {
    fn from(i: i32) -> Self {
        i64::from(i).into()
    }
}

impl From<u32> for Value {
    fn from(i: u32) -> Self {
        i64::from(i).into()
    }
}

impl From<u16> for Value {
    fn from(i: u16) -> Self {
        i64::from(i).into()
    }
}

impl From<usize> for Value {
    fn from(i: usize) -> Self {
        Self::Num(Num::from_integral(i))
    }
}

impl From<f64> for Value {
    fn from(f: f64) -> Self {
        Self::Num(Num::Float(f))
    }
}

impl<V: Into<Value>> From<Option<V>> for Value {
    fn from(v: Option<V>) -> Self {
        v.map_or(Self::Null, Into::into)
    }
}
