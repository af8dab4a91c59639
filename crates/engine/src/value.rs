//! The value a workflow computes with: JSON, shared and measured.
//!
//! Cloning is a reference count. Object keys keep their order, integers and
//! decimals keep their digits, however many. Every array and object knows how
//! deep it is and what it would weigh if nothing in it were shared, so that the
//! sandbox of [`crate::expression`] can refuse a value that is too deep or too
//! large the moment it is made, before anything walks over it.
//!
//! There are no byte strings, no keys but strings and no text but UTF-8: what
//! is not JSON cannot be held.

mod json;
mod make;
mod number;
mod serde;
mod text;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::expression::meter;

pub use jaq_json::Num;
pub use json::{InvalidJson, from_json, to_json};
pub use make::{array, object, string};
pub use serde::{from_serde, to_serde};
pub use text::Text;

pub(crate) use number::{as_f64, as_index, is_integer, parse as parse_number};

/// How many arrays and objects may lie inside each other.
///
/// Below the 128 at which `serde_json` and other readers of our JSON stop.
pub const MAX_DEPTH: u16 = 120;

/// One JSON value. Cheap to clone, `Send` and `Sync`.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, exact where it was written exactly.
    Num(Num),
    /// A string.
    Str(Text),
    /// An array.
    Arr(Arc<Array>),
    /// An object; its keys keep the order of their first insertion.
    Obj(Arc<Object>),
}

/// The elements of an array, and their measure.
#[derive(Clone, Debug, Default)]
pub struct Array {
    pub(crate) items: Vec<Value>,
    pub(crate) measure: Measure,
}

/// The members of an object, and their measure.
#[derive(Clone, Debug, Default)]
pub struct Object {
    pub(crate) members: IndexMap<Text, Value>,
    pub(crate) measure: Measure,
}

/// What the children of an array or object come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measure {
    /// Bytes the children would take in memory if nothing were shared.
    pub(crate) weight: u64,
    /// Depth of the deepest child; never shrinks while the container lives.
    pub(crate) depth: u16,
}

impl Measure {
    /// Bytes taken by a value itself, before what it points to.
    pub(crate) const SLOT: u64 = 16;
    /// Bytes taken by an object's member, before its key's text and its value.
    pub(crate) const MEMBER: u64 = 48;

    pub(crate) fn add(&mut self, child: &Value) {
        self.weight = self.weight.saturating_add(child.weight());
        self.depth = self.depth.max(child.depth());
    }

    pub(crate) fn add_member(&mut self, key: &Text, child: &Value) {
        self.add(child);
        self.weight = self.weight.saturating_add(Self::member(key));
    }

    pub(crate) fn remove(&mut self, child: &Value) {
        self.weight = self.weight.saturating_sub(child.weight());
    }

    pub(crate) fn remove_member(&mut self, key: &Text, child: &Value) {
        self.remove(child);
        self.weight = self.weight.saturating_sub(Self::member(key));
    }

    fn member(key: &Text) -> u64 {
        Self::MEMBER + key.len() as u64
    }
}

impl Array {
    /// The elements in order.
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

impl Object {
    /// The members in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.members.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// The member called `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.members.get(key)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl Value {
    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The number as an integer, if it is one and fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Num(n) => as_index(n).and_then(|i| i64::try_from(i).ok()),
            _ => None,
        }
    }

    /// The number as floating point, rounded where it must be.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Num(n) => Some(as_f64(n)),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Arr(a) => Some(&a.items),
            _ => None,
        }
    }

    /// The members, if it is an object.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Obj(o) => Some(o),
            _ => None,
        }
    }

    /// The member called `key`; none if it has no such member or is no object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object()?.get(key)
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// What jq holds for true: everything but `null` and `false`.
    pub fn is_truthy(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    /// jq's name of its type: `null`, `boolean`, `number`, `string`, `array`, `object`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Num(_) => "number",
            Self::Str(_) => "string",
            Self::Arr(_) => "array",
            Self::Obj(_) => "object",
        }
    }

    /// Bytes it would take in memory if nothing in it were shared.
    pub fn weight(&self) -> u64 {
        let heap = match self {
            Self::Null | Self::Bool(_) => 0,
            Self::Num(n) => number::heap(n),
            Self::Str(s) => 48 + s.len() as u64,
            Self::Arr(a) => 64 + a.measure.weight,
            Self::Obj(o) => 96 + o.measure.weight,
        };
        Measure::SLOT.saturating_add(heap)
    }

    /// How many arrays and objects lie inside each other; 0 for a scalar.
    pub fn depth(&self) -> u16 {
        match self {
            Self::Arr(a) => a.measure.depth.saturating_add(1),
            Self::Obj(o) => o.measure.depth.saturating_add(1),
            _ => 0,
        }
    }

    /// Rank of the type in jq's order of all values.
    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(false) => 1,
            Self::Bool(true) => 2,
            Self::Num(_) => 3,
            Self::Str(_) => 4,
            Self::Arr(_) => 5,
            Self::Obj(_) => 6,
        }
    }
}

/// The member called `key`; none if it has no such member or is no object.
pub fn get<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    value.get(key)
}

/// The text, if it is a string.
pub fn as_str(value: &Value) -> Option<&str> {
    value.as_str()
}

/// What jq holds for true: everything but `null` and `false`.
pub fn is_truthy(value: &Value) -> bool {
    value.is_truthy()
}

/// jq's name of the value's type.
pub fn type_name(value: &Value) -> &'static str {
    value.type_name()
}

/// Inside of an evaluation, comparing is paid for like everything else. It is
/// done even when it cannot be: an order that is not one would break a sort.
fn pay_to_compare(x: &Value, y: &Value) {
    let steps = match (x, y) {
        (Value::Str(x), Value::Str(y)) => 1 + x.len().min(y.len()) as u64 / 64,
        (Value::Obj(x), Value::Obj(y)) => 1 + (x.len() + y.len()) as u64,
        _ => 1,
    };
    let _ = meter::spend(steps);
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        pay_to_compare(self, other);
        match (self, other) {
            (Self::Num(x), Self::Num(y)) => x == y,
            (Self::Str(x), Self::Str(y)) => x == y,
            (Self::Arr(x), Self::Arr(y)) => Arc::ptr_eq(x, y) || x.items == y.items,
            (Self::Obj(x), Self::Obj(y)) => Arc::ptr_eq(x, y) || x.members == y.members,
            _ => self.rank() == other.rank(),
        }
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// jq's order: `null`, `false`, `true`, numbers, strings, arrays, objects.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        pay_to_compare(self, other);
        match (self, other) {
            (Self::Num(x), Self::Num(y)) => x.cmp(y),
            (Self::Str(x), Self::Str(y)) => x.as_str().cmp(y.as_str()),
            (Self::Arr(x), Self::Arr(y)) if Arc::ptr_eq(x, y) => Ordering::Equal,
            (Self::Arr(x), Self::Arr(y)) => x.items.cmp(&y.items),
            (Self::Obj(x), Self::Obj(y)) if Arc::ptr_eq(x, y) => Ordering::Equal,
            (Self::Obj(x), Self::Obj(y)) => cmp_objects(x, y),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// Objects compare by their sorted keys first, then by the values in that order.
fn cmp_objects(x: &Object, y: &Object) -> Ordering {
    let sorted = |o: &Object| {
        let mut members: Vec<_> = o
            .members
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        members.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        members
    };
    let (x, y) = (sorted(x), sorted(y));
    let keys = |m: &[(Text, Value)]| m.iter().map(|(k, _)| k.clone()).collect::<Vec<_>>();
    keys(&x).cmp(&keys(&y)).then_with(|| {
        let values = |m: Vec<(Text, Value)>| m.into_iter().map(|(_, v)| v);
        values(x).cmp(values(y))
    })
}

/// For messages: JSON, cut after some 200 bytes. [`to_json`] writes all of it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        json::write_short(self, f)
    }
}

#[cfg(test)]
mod tests;
