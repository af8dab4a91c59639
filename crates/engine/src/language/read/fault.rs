//! `raise`, `try` and `catch`, errors and retry policies.

use std::sync::Arc;

use super::fields::Fields;
use super::reuse::Section;
use super::task::Siblings;
use super::{Data, Place, Reader, Scope};
use crate::expression::strict;
use crate::language::model::{
    Backoff, Catch, ErrorDefinition, ErrorFilter, Jitter, Raise, RetryLimit, RetryPolicy, Try,
};
use crate::language::uri_template::UriTemplate;

impl<'d> Reader<'d> {
    pub(super) fn raise(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Raise> {
        let mut fields = self.fields(place)?;
        let error = fields.require(self, "error").and_then(|place| {
            let definition = match place.node.data {
                Data::Text(_) => self.referenced(Section::Errors, &place)?,
                _ => place,
            };
            self.error_definition(&definition, scope)
        });
        fields.finish(self);
        Some(Raise { error: error? })
    }

    pub(super) fn error_definition(
        &mut self,
        place: &Place<'d>,
        scope: &Scope,
    ) -> Option<ErrorDefinition> {
        let mut fields = self.fields(place)?;
        let type_ = fields.require(self, "type").and_then(|place| {
            self.check_error_type(&place)?;
            self.text_template(&place, scope)
        });
        let status = fields
            .require(self, "status")
            .and_then(|place| self.status(&place));
        let title = fields
            .take("title")
            .map(|place| self.text_template(&place, scope));
        let detail = fields
            .take("detail")
            .map(|place| self.text_template(&place, scope));
        let instance = fields
            .take("instance")
            .map(|place| self.text_template(&place, scope));
        fields.finish(self);
        Some(ErrorDefinition {
            type_: type_?,
            status: status?,
            title: title.flatten(),
            detail: detail.flatten(),
            instance: instance.flatten(),
        })
    }

    fn check_error_type(&mut self, place: &Place<'d>) -> Option<()> {
        let text = &self.text(place)?.text;
        if strict(text).is_some() {
            return Some(());
        }
        let problem = if text.trim().is_empty() {
            "the type of an error must not be empty".to_owned()
        } else {
            match UriTemplate::parse(text) {
                Ok(template) if template.is_plain() => return Some(()),
                Ok(_) => "variables in the type of an error are not supported yet; write an \
                          expression"
                    .to_owned(),
                Err(error) => error.to_string(),
            }
        };
        self.error(place, problem);
        None
    }

    fn status(&mut self, place: &Place<'d>) -> Option<u16> {
        let status = self.whole_number(place, 100, 599)?;
        u16::try_from(status).ok()
    }

    pub(super) fn try_task(
        &mut self,
        fields: &mut Fields<'d>,
        scope: &Scope,
        siblings: &Siblings<'d>,
    ) -> Option<Try> {
        let try_ = fields
            .take("try")
            .and_then(|place| self.task_list(&place, scope));
        let catch = fields
            .require(self, "catch")
            .and_then(|place| self.catch(&place, scope, siblings));
        Some(Try {
            try_: try_?,
            catch: catch?,
        })
    }

    fn catch(
        &mut self,
        place: &Place<'d>,
        scope: &Scope,
        siblings: &Siblings<'d>,
    ) -> Option<Catch> {
        let mut fields = self.fields(place)?;
        let errors = fields.take("errors").map(|place| self.error_filter(&place));
        let as_ = fields
            .take("as")
            .and_then(|place| self.variable(&place))
            .unwrap_or_else(|| "error".into());
        let scope = scope.with(&[&as_]);
        let when = fields
            .take("when")
            .and_then(|place| self.expression(&place, &scope));
        let except_when = fields
            .take("exceptWhen")
            .and_then(|place| self.expression(&place, &scope));
        let retry = fields.take("retry").and_then(|place| {
            let definition = match place.node.data {
                Data::Text(_) => self.referenced(Section::Retries, &place)?,
                _ => place,
            };
            self.retry_policy(&definition, &scope)
        });
        let do_ = fields
            .take("do")
            .and_then(|place| self.task_list(&place, &scope));
        let then = fields
            .take("then")
            .and_then(|place| self.directive(&place, siblings));
        fields.finish(self);
        Some(Catch {
            errors: errors.flatten(),
            as_,
            when,
            except_when,
            retry: retry.map(Arc::new),
            do_,
            then,
        })
    }

    fn error_filter(&mut self, place: &Place<'d>) -> Option<ErrorFilter> {
        let mut outer = self.fields(place)?;
        let with = outer.require(self, "with");
        outer.finish(self);
        let with = with?;
        let mut fields = self.fields(&with)?;
        if fields.is_empty() {
            self.error(
                &with,
                "a filter needs at least one property; leave `errors` out to catch all",
            );
        }
        let filter = ErrorFilter {
            type_: self.filter_text(&mut fields, "type"),
            status: fields.take("status").and_then(|place| self.status(&place)),
            instance: self.filter_text(&mut fields, "instance"),
            title: self.filter_text(&mut fields, "title"),
            detail: self.filter_text(&mut fields, "detail"),
        };
        fields.finish(self);
        Some(filter)
    }

    fn filter_text(&mut self, fields: &mut Fields<'d>, key: &'static str) -> Option<String> {
        let place = fields.take(key)?;
        let text = &self.text(&place)?.text;
        if strict(text).is_some() {
            self.error(
                &place,
                "expressions in a filter are not supported yet; write the condition as `when` of \
                 the `catch`",
            );
            return None;
        }
        Some(text.clone())
    }

    pub(super) fn retry_policy(&mut self, place: &Place<'d>, scope: &Scope) -> Option<RetryPolicy> {
        let mut fields = self.fields(place)?;
        let policy = RetryPolicy {
            when: fields
                .take("when")
                .and_then(|place| self.expression(&place, scope)),
            except_when: fields
                .take("exceptWhen")
                .and_then(|place| self.expression(&place, scope)),
            delay: fields
                .take("delay")
                .and_then(|place| self.duration(&place, scope)),
            backoff: fields
                .take("backoff")
                .and_then(|place| self.backoff(&place))
                .unwrap_or_default(),
            jitter: fields
                .take("jitter")
                .and_then(|place| self.jitter(&place, scope)),
            limit: fields
                .take("limit")
                .and_then(|place| self.retry_limit(&place, scope))
                .unwrap_or_default(),
        };
        fields.finish(self);
        Some(policy)
    }

    fn backoff(&mut self, place: &Place<'d>) -> Option<Backoff> {
        let mut fields = self.fields(place)?;
        let mut found = Vec::new();
        for (key, backoff) in [
            ("constant", Backoff::Constant),
            ("exponential", Backoff::Exponential),
            ("linear", Backoff::Linear),
        ] {
            let Some(place) = fields.take(key) else {
                continue;
            };
            // None of them has settings; a wrong one must not pass unseen.
            if let Some(settings) = self.fields(&place) {
                settings.finish(self);
            }
            found.push(backoff);
        }
        fields.finish(self);
        if let [backoff] = *found.as_slice() {
            return Some(backoff);
        }
        self.error(
            place,
            "this must have one of `constant`, `exponential` and `linear`",
        );
        None
    }

    fn jitter(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Jitter> {
        let mut fields = self.fields(place)?;
        let from = fields
            .require(self, "from")
            .and_then(|place| self.duration(&place, scope));
        let to = fields
            .require(self, "to")
            .and_then(|place| self.duration(&place, scope));
        fields.finish(self);
        Some(Jitter {
            from: from?,
            to: to?,
        })
    }

    fn retry_limit(&mut self, place: &Place<'d>, scope: &Scope) -> Option<RetryLimit> {
        let mut fields = self.fields(place)?;
        let mut limit = RetryLimit::default();
        if let Some(place) = fields.take("attempt")
            && let Some(mut attempt) = self.fields(&place)
        {
            limit.attempt_count = attempt
                .take("count")
                .and_then(|place| self.whole_number(&place, 0, u32::MAX));
            limit.attempt_duration = attempt
                .take("duration")
                .and_then(|place| self.duration(&place, scope));
            attempt.finish(self);
        }
        limit.duration = fields
            .take("duration")
            .and_then(|place| self.duration(&place, scope));
        fields.finish(self);
        Some(limit)
    }
}
