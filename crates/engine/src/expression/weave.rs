//! Weaves ticks into a parsed program, and refuses what ticks cannot contain.
//!
//! A program can only go on by entering a definition, an argument, the body of
//! a fold, or what follows a comma; and by operations on values, which count
//! for themselves. So `f` becomes `!tick | f` at these places. A tick looks at
//! fuel and stack, ends the evaluation by an exception that jaq does not let
//! programs catch, and leaves tail calls tail calls.

use std::collections::BTreeSet;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::path::{Part, Path};

use super::native::{FOLD, RECURSE, TICK};

/// Why a program is refused although jaq would take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nested too deeply to be compiled.
    Deep,
    /// A recursive call with a filter as argument. Each would hold on to the
    /// one before, and dropping them overflows the stack.
    RecursiveFilterArgument,
}

/// How deep a program may be nested.
const MAX_NESTING: usize = 250;
/// How many parts a path in the source may have, such as the three of `.a.b.c`.
const MAX_PATH: usize = 100;

/// What a name stands for, innermost last.
enum Binding<'s> {
    /// A definition we are inside of: calling it is recursion.
    Open {
        name: &'s str,
        filters: Vec<bool>,
        recursive: bool,
    },
    /// A definition that is complete.
    Closed { name: &'s str, arity: usize },
    /// A filter that is an argument of a definition around us.
    Argument { name: &'s str },
}

struct Weaver<'s> {
    bindings: Vec<Binding<'s>>,
    nesting: usize,
}

type Woven<T> = Result<T, Refused>;

/// Weaves an author's program.
pub(super) fn program(term: Term<&str>) -> Woven<Term<&str>> {
    Ok(tick(
        TICK,
        Weaver {
            bindings: Vec::new(),
            nesting: 0,
        }
        .term(term)?,
    ))
}

/// Weaves a definition of the library, which is never refused.
pub(super) fn library(def: Def<&'static str>) -> Def<&'static str> {
    let mut weaver = Weaver {
        bindings: Vec::new(),
        nesting: 0,
    };
    weaver.def(def.clone()).unwrap_or(def)
}

/// `!tick | f`
fn tick<'s>(tick: &'static str, f: Term<&'s str>) -> Term<&'s str> {
    let tick = Term::Call(tick, Vec::new());
    Term::BinOp(Box::new(tick), BinaryOp::Pipe(None), Box::new(f))
}

impl<'s> Weaver<'s> {
    fn def(&mut self, def: Def<&'s str>) -> Woven<Def<&'s str>> {
        let Def { name, args, body } = def;
        let outside = self.bindings.len();
        let filters: Vec<bool> = args.iter().map(|arg| !arg.starts_with('$')).collect();
        let arity = args.len();
        self.bindings.push(Binding::Open {
            name,
            filters,
            recursive: false,
        });
        let arguments = args.iter().filter(|arg| !arg.starts_with('$'));
        self.bindings
            .extend(arguments.map(|name| Binding::Argument { name }));
        let body = self.term(body)?;
        let recursive = matches!(
            self.bindings[outside],
            Binding::Open {
                recursive: true,
                ..
            }
        );
        self.bindings.truncate(outside);
        self.bindings.push(Binding::Closed { name, arity });
        let body = tick(if recursive { RECURSE } else { TICK }, body);
        Ok(Def { name, args, body })
    }

    /// Notes a call, which may be a recursive one.
    fn call(&mut self, called: &str, args: usize) -> Woven<()> {
        for binding in self.bindings.iter_mut().rev() {
            match binding {
                Binding::Open {
                    name,
                    filters,
                    recursive,
                } if *name == called && filters.len() == args => {
                    *recursive = true;
                    if filters.iter().any(|is_filter| *is_filter) {
                        return Err(Refused::RecursiveFilterArgument);
                    }
                    break;
                }
                Binding::Closed { name, arity } if *name == called && *arity == args => break,
                Binding::Argument { name } if *name == called && args == 0 => break,
                _ => {}
            }
        }
        Ok(())
    }

    #[expect(
        clippy::boxed_local,
        reason = "its callers have boxes, and need them back"
    )]
    fn boxed(&mut self, term: Box<Term<&'s str>>) -> Woven<Box<Term<&'s str>>> {
        self.term(*term).map(Box::new)
    }

    fn term(&mut self, term: Term<&'s str>) -> Woven<Term<&'s str>> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(Refused::Deep);
        }
        let woven = self.inside(term);
        self.nesting -= 1;
        woven
    }

    fn inside(&mut self, term: Term<&'s str>) -> Woven<Term<&'s str>> {
        Ok(match term {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => term,
            Term::Str(format, parts) => {
                let parts = parts.into_iter().map(|part| match part {
                    StrPart::Term(term) => self.term(term).map(StrPart::Term),
                    StrPart::Str(s) => Ok(StrPart::Str(s)),
                    StrPart::Char(c) => Ok(StrPart::Char(c)),
                });
                Term::Str(format, parts.collect::<Woven<_>>()?)
            }
            Term::Arr(inner) => Term::Arr(inner.map(|t| self.boxed(t)).transpose()?),
            Term::Obj(members) => {
                let members = members.into_iter();
                let members = members.map(|(k, v)| {
                    // `{a}` and `{$a}` read their key's form: not to be wrapped.
                    let k = if v.is_some() { self.term(k)? } else { k };
                    Ok((k, v.map(|v| self.term(v)).transpose()?))
                });
                Term::Obj(members.collect::<Woven<_>>()?)
            }
            Term::Neg(f) => Term::Neg(self.boxed(f)?),
            Term::BinOp(left, op, right) => {
                let left = self.boxed(left)?;
                let op = match op {
                    BinaryOp::Pipe(Some(pattern)) => BinaryOp::Pipe(Some(self.pattern(pattern)?)),
                    op => op,
                };
                let right = self.term(*right)?;
                let forks = matches!(op, BinaryOp::Comma);
                let right = if forks { tick(TICK, right) } else { right };
                Term::BinOp(left, op, Box::new(right))
            }
            Term::Label(name, f) => Term::Label(name, self.boxed(f)?),
            Term::Fold(name, over, pattern, args) => {
                let over = self.boxed(over)?;
                let pattern = self.pattern(pattern)?;
                let args = args.into_iter().enumerate().map(|(i, arg)| {
                    let arg = self.term(arg)?;
                    Ok(if i == 1 { tick(FOLD, arg) } else { arg })
                });
                Term::Fold(name, over, pattern, args.collect::<Woven<_>>()?)
            }
            Term::TryCatch(f, catch) => {
                Term::TryCatch(self.boxed(f)?, catch.map(|f| self.boxed(f)).transpose()?)
            }
            Term::IfThenElse(cases, otherwise) => {
                let cases = cases.into_iter();
                let cases = cases.map(|(when, then)| Ok((self.term(when)?, self.term(then)?)));
                let cases = cases.collect::<Woven<_>>()?;
                Term::IfThenElse(cases, otherwise.map(|f| self.boxed(f)).transpose()?)
            }
            Term::Def(defs, f) => {
                let outside = self.bindings.len();
                let defs = defs
                    .into_iter()
                    .map(|def| self.def(def))
                    .collect::<Woven<_>>()?;
                let f = self.boxed(f)?;
                self.bindings.truncate(outside);
                Term::Def(defs, f)
            }
            Term::Call(name, args) => {
                self.call(name, args.len())?;
                let args = args.into_iter().map(|arg| Ok(tick(TICK, self.term(arg)?)));
                Term::Call(name, args.collect::<Woven<_>>()?)
            }
            Term::Path(f, path) => {
                if path.0.len() > MAX_PATH {
                    return Err(Refused::Deep);
                }
                let f = self.boxed(f)?;
                let parts = path
                    .0
                    .into_iter()
                    .map(|(part, opt)| Ok((self.part(part)?, opt)));
                Term::Path(f, Path(parts.collect::<Woven<_>>()?))
            }
        })
    }

    fn part(&mut self, part: Part<Term<&'s str>>) -> Woven<Part<Term<&'s str>>> {
        let mut optional = |f: Option<_>| f.map(|f| self.term(f)).transpose();
        Ok(match part {
            Part::Range(from, upto) => Part::Range(optional(from)?, optional(upto)?),
            Part::Index(i) => Part::Index(self.term(i)?),
        })
    }

    fn pattern(&mut self, pattern: Pattern<&'s str>) -> Woven<Pattern<&'s str>> {
        Ok(match pattern {
            Pattern::Var(name) => Pattern::Var(name),
            Pattern::Arr(parts) => {
                let parts = parts.into_iter().map(|p| self.pattern(p));
                Pattern::Arr(parts.collect::<Woven<_>>()?)
            }
            Pattern::Obj(parts) => {
                let parts = parts.into_iter();
                let parts = parts.map(|(k, p)| Ok((self.term(k)?, self.pattern(p)?)));
                Pattern::Obj(parts.collect::<Woven<_>>()?)
            }
        })
    }
}

/// All names of filters and variables (with `$`) that a term mentions.
pub(super) fn mentions<'s>(term: &Term<&'s str>) -> BTreeSet<&'s str> {
    let mut names = BTreeSet::new();
    mention(term, &mut names);
    names
}

fn mention<'s>(term: &Term<&'s str>, names: &mut BTreeSet<&'s str>) {
    let mut all = |terms: &mut dyn Iterator<Item = &Term<&'s str>>| {
        terms.for_each(|term| mention(term, names));
    };
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) => {}
        Term::Var(name) => {
            names.insert(name);
        }
        Term::Str(format, parts) => {
            all(&mut parts.iter().filter_map(|part| match part {
                StrPart::Term(term) => Some(term),
                _ => None,
            }));
            names.extend(format);
        }
        Term::Arr(f) => all(&mut f.iter().map(|f| &**f)),
        Term::Obj(members) => all(&mut members.iter().flat_map(|(k, v)| [k].into_iter().chain(v))),
        Term::Neg(f) | Term::Label(_, f) => all(&mut [&**f].into_iter()),
        Term::BinOp(left, op, right) => {
            all(&mut [&**left, &**right].into_iter());
            if let BinaryOp::Pipe(Some(pattern)) = op {
                mention_pattern(pattern, names);
            }
        }
        Term::Fold(_, over, pattern, args) => {
            all(&mut [&**over].into_iter().chain(args));
            mention_pattern(pattern, names);
        }
        Term::TryCatch(f, catch) => {
            all(&mut [&**f].into_iter().chain(catch.iter().map(|f| &**f)));
        }
        Term::IfThenElse(cases, otherwise) => {
            all(&mut cases.iter().flat_map(|(when, then)| [when, then]));
            all(&mut otherwise.iter().map(|f| &**f));
        }
        Term::Def(defs, f) => {
            all(&mut defs.iter().map(|def| &def.body).chain([&**f]));
        }
        Term::Call(name, args) => {
            all(&mut args.iter());
            names.insert(name);
        }
        Term::Path(f, path) => {
            all(&mut [&**f].into_iter());
            for (part, _) in &path.0 {
                match part {
                    Part::Index(i) => mention(i, names),
                    Part::Range(from, upto) => {
                        from.iter().chain(upto).for_each(|f| mention(f, names));
                    }
                }
            }
        }
    }
}

fn mention_pattern<'s>(pattern: &Pattern<&'s str>, names: &mut BTreeSet<&'s str>) {
    match pattern {
        Pattern::Var(_) => {}
        Pattern::Arr(parts) => parts.iter().for_each(|p| mention_pattern(p, names)),
        Pattern::Obj(parts) => parts.iter().for_each(|(k, p)| {
            mention(k, names);
            mention_pattern(p, names);
        }),
    }
}
