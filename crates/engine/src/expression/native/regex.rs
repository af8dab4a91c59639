//! Regular expressions. The engine never backtracks, but its time grows with
//! the size of the compiled pattern times the text, and once more with every
//! match: hence patterns and texts are bounded, and searches paid for.

use std::cell::RefCell;

use jaq_core::Bind;
use jaq_core::native::{Fun, run};
use regex::{Captures, Regex, RegexBuilder};

use super::{Data, failed, once};
use crate::expression::meter::{self, Metered};
use crate::expression::val::{Fallible, collect, gather, not_a, text};
use crate::value::{Text, Value};

/// Bytes of text that may be searched.
const MAX_TEXT: usize = 128 << 10;
/// Bytes of a compiled pattern that is cheap to search with.
const SMALL: usize = 16 << 10;
/// Bytes of any compiled pattern.
const LARGE: usize = 128 << 10;

pub(super) fn funs() -> Vec<Fun<Data>> {
    let two = || [Bind::Var(()), Bind::Var(())].into();
    macro_rules! search {
        ($name:expr, $gaps:expr, $matches:expr) => {
            run(($name, two(), |mut cv| {
                let flags = cv.0.pop_var();
                let pattern = cv.0.pop_var();
                once(search(&cv.1, &pattern, &flags, $gaps, $matches))
            }))
        };
    }
    vec![
        search!("matches", false, true),
        search!("split_matches", true, true),
        search!("split_", true, false),
    ]
}

/// A compiled pattern and what a byte of text costs with it.
#[derive(Clone)]
struct Pattern {
    regex: Regex,
    cost: u64,
}

/// Patterns compiled by the evaluation that runs on this thread. They go with
/// it: what an evaluation costs is not to depend on what ran before.
#[derive(Default)]
struct Compiled {
    evaluation: u64,
    patterns: Vec<(String, String, Pattern)>,
}

thread_local! {
    static COMPILED: RefCell<Compiled> = RefCell::default();
}

fn string(value: &Value) -> Fallible<&str> {
    value.as_str().ok_or_else(|| not_a(value.clone(), "string"))
}

fn compiled(pattern: &str, flags: &str) -> Fallible<Pattern> {
    meter::spend(20 + pattern.len() as u64 / 16)?;
    COMPILED.with_borrow_mut(|compiled| {
        if compiled.evaluation != meter::evaluation() {
            *compiled = Compiled {
                evaluation: meter::evaluation(),
                ..Compiled::default()
            };
        }
        let mut known = compiled.patterns.iter();
        if let Some((_, _, found)) = known.find(|(p, f, _)| p == pattern && f == flags) {
            return Ok(found.clone());
        }
        let new = compile(pattern, flags)?;
        if compiled.patterns.len() < 16 {
            compiled
                .patterns
                .push((pattern.to_owned(), flags.to_owned(), new.clone()));
        }
        Ok(new)
    })
}

fn compile(pattern: &str, flags: &str) -> Fallible<Pattern> {
    if pattern.len() > 4096 {
        return Err(failed("invalid regex: longer than 4096 bytes"));
    }
    meter::spend(10_000 + pattern.len() as u64 * 50)?;
    meter::allocate(LARGE as u64)?;
    let mut builder = RegexBuilder::new(pattern);
    builder.nest_limit(64).dfa_size_limit(1 << 20);
    for flag in flags.chars() {
        match flag {
            'g' | 'n' => &mut builder,
            'i' => builder.case_insensitive(true),
            'm' => builder.multi_line(true),
            's' => builder.dot_matches_new_line(true),
            'p' => builder.multi_line(true).dot_matches_new_line(true),
            'l' => builder.swap_greed(true),
            'x' => builder.ignore_whitespace(true),
            other => return Err(failed(format!("invalid regex flag: {other}"))),
        };
    }
    if let Ok(regex) = builder.size_limit(SMALL).build() {
        return Ok(Pattern { regex, cost: 1 });
    }
    meter::spend(50_000)?;
    let regex = builder.size_limit(LARGE).build();
    let regex = regex.map_err(|e| failed(format!("invalid regex: {e}")))?;
    Ok(Pattern { regex, cost: 16 })
}

/// The matches (arrays of their groups), the text between them, or both in turn.
fn search(value: &Value, pattern: &Value, flags: &Value, gaps: bool, matches: bool) -> Fallible {
    let (s, flags) = (string(value)?, string(flags)?);
    let pattern = compiled(string(pattern)?, flags)?;
    let (global, skip_empty) = (flags.contains('g'), flags.contains('n'));
    if s.len() > MAX_TEXT {
        let message = format!("text of more than {MAX_TEXT} bytes cannot be searched by regex");
        return Err(failed(message));
    }
    meter::spend(s.len() as u64 * 4 * pattern.cost)?;

    let mut out = Vec::new();
    let mut end = 0;
    let mut places = Places {
        s,
        byte: 0,
        character: 0,
    };
    for groups in pattern.regex.captures_iter(s) {
        let Some(whole) = groups.get(0) else { continue };
        // The search for the next match may look at all of the rest.
        meter::spend(20 + (s.len() - whole.start()) as u64 / 16 * pattern.cost)?;
        if skip_empty && whole.is_empty() {
            continue;
        }
        if gaps {
            out.push(text(&s[end..whole.start()])?);
            end = whole.end();
        }
        if matches {
            out.push(describe(&groups, &pattern.regex, &mut places)?);
        }
        if !global {
            break;
        }
    }
    if gaps {
        out.push(text(&s[end..])?);
    }
    Ok(collect(out)?)
}

/// Counts characters up to a byte, going on from the last one asked for.
struct Places<'s> {
    s: &'s str,
    byte: usize,
    character: usize,
}

impl Places<'_> {
    fn character(&mut self, byte: usize) -> usize {
        if byte < self.byte {
            return self.s[..byte].chars().count();
        }
        self.character += self.s[self.byte..byte].chars().count();
        self.byte = byte;
        self.character
    }
}

/// All groups of a match. One that took no part has no string, as in jq.
fn describe(groups: &Captures, regex: &Regex, places: &mut Places) -> Metered<Value> {
    let mut all = Vec::new();
    for (group, name) in groups.iter().zip(regex.capture_names()) {
        let (offset, length, string) = match group {
            Some(m) => {
                let length = m.as_str().chars().count();
                meter::spend(4 + m.len() as u64 / 32)?;
                (
                    places.character(m.start()).into(),
                    length.into(),
                    text(m.as_str())?,
                )
            }
            None => (Value::from(-1_isize), 0_usize.into(), Value::Null),
        };
        let members = [("offset", offset), ("length", length), ("string", string)];
        let name = name.map(|name| ("name", Value::from(name)));
        let members = members
            .into_iter()
            .chain(name)
            .map(|(k, v)| (Text::from(k), v));
        all.push(gather(members.collect())?);
    }
    collect(all)
}
