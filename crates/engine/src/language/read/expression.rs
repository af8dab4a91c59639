//! Expressions, wherever they may stand.

use super::{Data, Place, Reader, Scope};
use crate::expression::{Expression, Template, strict};
use crate::language::duration::{DurationSource, duration_from_text, duration_from_value};
use crate::language::model::Transform;
use crate::language::source::{Text, quoted};

/// How many expressions one document may hold. Compiling one takes about a
/// millisecond.
const MAX_EXPRESSIONS: usize = 4096;

/// What a text is where it may be one whole `${ … }`.
pub(super) enum Whole {
    Expression(Expression),
    Literal,
}

impl<'d> Reader<'d> {
    /// A place that holds jq, bare or as `${ … }`.
    pub(super) fn expression(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Expression> {
        let text = match &place.node.data {
            Data::Text(text) => text,
            Data::Mapping(_) | Data::Sequence(_) => {
                let kind = place.node.kind();
                self.error(
                    place,
                    format!(
                        "this must be an expression, and is {kind}; put the expression in quotes"
                    ),
                );
                return None;
            }
            _ => self.text(place)?,
        };
        if self.is_cut(place, text) {
            return None;
        }
        let source = strict(&text.text).unwrap_or(&text.text);
        self.compile(place, source, scope)
    }

    /// A text that is one whole `${ … }`, or else is taken as it is.
    pub(super) fn wrapped_expression(
        &mut self,
        place: &Place<'d>,
        text: &'d Text,
        scope: &Scope,
    ) -> Option<Whole> {
        if self.is_cut(place, text) {
            return None;
        }
        match strict(&text.text) {
            Some(source) => self.compile(place, source, scope).map(Whole::Expression),
            None => Some(Whole::Literal),
        }
    }

    fn compile(&mut self, place: &Place<'d>, source: &str, scope: &Scope) -> Option<Expression> {
        if !self.check_source(place, source, scope) {
            return None;
        }
        if source.trim().is_empty() {
            self.error(place, "this expression is empty");
            return None;
        }
        let locals: Vec<&str> = scope.locals.iter().map(AsRef::as_ref).collect();
        match Expression::compile(source, &locals) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.error(place, format!("this expression does not compile: {error}"));
                None
            }
        }
    }

    /// A value whose texts may be `${ … }`.
    pub(super) fn template(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Template> {
        // What fails here does not hide what does not compile.
        let fine = self.check_texts(place, scope);
        if self.expressions > MAX_EXPRESSIONS {
            return None;
        }
        let locals: Vec<&str> = scope.locals.iter().map(AsRef::as_ref).collect();
        match Template::compile(&place.node.to_json(), &locals) {
            Ok(template) => fine.then_some(template),
            Err(errors) => {
                for (pointer, error) in errors {
                    let at = place.descend(&pointer);
                    self.error(&at, format!("this expression does not compile: {error}"));
                }
                None
            }
        }
    }

    /// A text, which may be one whole `${ … }`.
    pub(super) fn text_template(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Template> {
        self.text(place)?;
        self.template(place, scope)
    }

    /// One expression, or an object with expressions in it.
    pub(super) fn transform(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Transform> {
        match &place.node.data {
            Data::Mapping(_) => self.template(place, scope).map(Transform::Template),
            Data::Text(_) => self.expression(place, scope).map(Transform::Expression),
            _ => {
                self.wrong_type(place, "an expression or an object");
                None
            }
        }
    }

    pub(super) fn duration(&mut self, place: &Place<'d>, scope: &Scope) -> Option<DurationSource> {
        let fixed = match &place.node.data {
            Data::Text(text) => match self.wrapped_expression(place, text, scope)? {
                Whole::Expression(expression) => {
                    return Some(DurationSource::Expression(expression));
                }
                Whole::Literal => duration_from_text(&text.text),
            },
            _ => duration_from_value(&place.node.to_json()),
        };
        match fixed {
            Ok(fixed) => Some(DurationSource::Fixed(fixed)),
            Err(error) => {
                self.error(place, error.to_string());
                None
            }
        }
    }

    /// Checks every text of a value before it is compiled.
    fn check_texts(&mut self, place: &Place<'d>, scope: &Scope) -> bool {
        let mut fine = true;
        match &place.node.data {
            Data::Text(text) => {
                if self.is_cut(place, text) {
                    fine = false;
                } else if let Some(source) = strict(&text.text) {
                    fine = self.check_source(place, source, scope);
                } else if text.text.trim_start().starts_with("${") && !text.text.contains('}') {
                    self.error(place, "this expression is not closed: its `}` is missing");
                    fine = false;
                } else if text.text.contains("${") {
                    self.warn(
                        place,
                        "this text is passed on as it is: only a text that is one whole `${ … }` \
                         is evaluated. To put values into a text write \
                         '${ \"… \\(.value) …\" }'",
                    );
                }
            }
            Data::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    fine &= self.check_texts(&place.item(index, item), scope);
                }
            }
            Data::Mapping(entries) => {
                for entry in entries {
                    fine &= self.check_texts(&place.child(entry), scope);
                }
            }
            Data::Null | Data::Bool(_) | Data::Number(_) => {}
        }
        fine
    }

    /// Whether YAML took the end of an expression for a comment.
    fn is_cut(&mut self, place: &Place<'d>, text: &Text) -> bool {
        let start = text.text.trim_start();
        let cut = text.cut_by_comment && start.starts_with("${") && strict(start).is_none();
        if cut {
            self.error(
                place,
                format!(
                    "YAML cuts this expression off at ` #`, where a comment begins; put all of it \
                     in quotes: {}",
                    quoted(&format!("{} # … }}", text.text))
                ),
            );
        }
        cut
    }

    fn check_source(&mut self, place: &Place<'d>, source: &str, scope: &Scope) -> bool {
        self.expressions += 1;
        if self.expressions == MAX_EXPRESSIONS + 1 {
            self.error(
                place,
                format!("the document has more than {MAX_EXPRESSIONS} expressions"),
            );
        }
        self.expressions <= MAX_EXPRESSIONS && self.check_secrets(place, source, scope)
    }

    fn check_secrets(&mut self, place: &Place<'d>, source: &str, scope: &Scope) -> bool {
        let mut fine = true;
        for secret in secrets_in(source) {
            if !scope.secrets {
                self.error(
                    place,
                    "`$secrets` may only be read inside `with` of a call, so that its value is \
                     never stored",
                );
                return false;
            }
            if let Some(name) = secret {
                fine &= self.declared_secret(place, name);
            }
        }
        fine
    }

    /// Whether `use.secrets` names the secret.
    pub(super) fn declared_secret(&mut self, place: &Place<'d>, name: &str) -> bool {
        let declared = self.reuse.secrets.contains(name);
        if !declared {
            let hint = self.suggest(name, self.reuse.secrets.iter().map(AsRef::as_ref));
            self.error(
                place,
                format!("the secret `{name}` is not listed in `use.secrets`{hint}"),
            );
        }
        declared
    }
}

/// Each use of `$secrets` in a jq source, with the name of the secret where
/// it is written out.
fn secrets_in(source: &str) -> impl Iterator<Item = Option<&str>> {
    const VARIABLE: &str = "$secrets";
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    source.match_indices(VARIABLE).filter_map(move |(at, _)| {
        let rest = &source[at + VARIABLE.len()..];
        if rest.starts_with(is_word) {
            return None;
        }
        if let Some(key) = rest.strip_prefix("[\"") {
            return Some(key.split_once('"').map(|(name, _)| name));
        }
        let name = rest.strip_prefix('.').map(|rest| {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            &rest[..end]
        });
        Some(name.filter(|name| !name.is_empty()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_of_secrets_are_found() {
        let found = |source| secrets_in(source).collect::<Vec<_>>();
        assert_eq!(found("$secrets.token"), [Some("token")]);
        assert_eq!(found("\"Bearer \\($secrets[\"a-b\"])\""), [Some("a-b")]);
        assert_eq!(found("$secrets | keys"), [None]);
        assert_eq!(found("$secretsX + $secret"), []);
    }
}
