//! Sorting and grouping. What the comparisons may cost is paid beforehand:
//! a sort is not to be left half-way.

use jaq_core::native::{Fun, run, v};
use jaq_core::{Bind, Exn, ValXs};

use super::{Data, once};
use crate::expression::meter::{self, Metered};
use crate::expression::val::{Fallible, collect, not_a};
use crate::value::{Measure, Value};

pub(super) fn funs() -> Vec<Fun<Data>> {
    let f = || [Bind::Fun(())].into();
    macro_rules! by {
        ($name:expr, $then:expr) => {
            run(($name, f(), |mut cv| {
                let (f, ctx) = cv.0.pop_fun();
                let keyed = keyed(&cv.1, |v| f.run((ctx.clone(), v)));
                Box::new(keyed.and_then($then).transpose().into_iter())
            }))
        };
    }
    vec![
        run(("sort", v(0), |cv| once(sort(&cv.1)))),
        by!("sort_by", sorted),
        by!("group_by", grouped),
        by!("min_by_or_empty", |keyed| Ok(least(keyed))),
        by!("max_by_or_empty", |keyed| Ok(greatest(keyed))),
    ]
}

/// An element and what to order it by.
type Keyed = Vec<(Vec<Value>, Value)>;
type Outcome<'a, T> = Result<T, Exn<'a, Value>>;

/// Pays for sorting `items` values that weigh so much together.
fn pay(items: usize, weight: u64) -> Metered {
    let rounds = u64::from(usize::BITS - items.leading_zeros());
    meter::spend((items as u64 + weight / 32).saturating_mul(rounds))
}

fn elements(value: &Value) -> Fallible<&[Value]> {
    value
        .as_array()
        .ok_or_else(|| not_a(value.clone(), "array"))
}

fn sort(value: &Value) -> Fallible {
    let items = elements(value)?;
    pay(items.len(), value.weight())?;
    meter::allocate(Measure::SLOT * items.len() as u64)?;
    let mut items = items.to_vec();
    items.sort();
    Ok(collect(items)?)
}

fn keyed<'a>(value: &Value, key: impl Fn(Value) -> ValXs<'a, Value>) -> Outcome<'a, Keyed> {
    let mut weight = 0_u64;
    let mut all = Vec::new();
    for item in elements(value)? {
        let mut keys = Vec::new();
        for k in key(item.clone()) {
            let k = k?;
            meter::allocate(2 * Measure::SLOT).map_err(jaq_core::Error::from)?;
            weight = weight.saturating_add(k.weight());
            keys.push(k);
        }
        meter::allocate(4 * Measure::SLOT).map_err(jaq_core::Error::from)?;
        all.push((keys, item.clone()));
    }
    pay(all.len(), weight).map_err(jaq_core::Error::from)?;
    Ok(all)
}

fn array<'a>(items: impl IntoIterator<Item = Value>) -> Outcome<'a, Option<Value>> {
    Ok(Some(collect(items).map_err(jaq_core::Error::from)?))
}

fn sorted<'a>(mut keyed: Keyed) -> Outcome<'a, Option<Value>> {
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    array(keyed.into_iter().map(|(_, item)| item))
}

fn grouped<'a>(mut keyed: Keyed) -> Outcome<'a, Option<Value>> {
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut groups: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
    for (key, item) in keyed {
        match groups.last_mut() {
            Some((last, group)) if *last == key => group.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let groups = groups.into_iter().map(|(_, group)| collect(group));
    array(
        groups
            .collect::<Metered<Vec<_>>>()
            .map_err(jaq_core::Error::from)?,
    )
}

/// The first of the least.
fn least(keyed: Keyed) -> Option<Value> {
    keyed
        .into_iter()
        .reduce(|a, b| if b.0 < a.0 { b } else { a })
        .map(|(_, item)| item)
}

/// The last of the greatest.
fn greatest(keyed: Keyed) -> Option<Value> {
    keyed
        .into_iter()
        .reduce(|a, b| if b.0 >= a.0 { b } else { a })
        .map(|(_, item)| item)
}
