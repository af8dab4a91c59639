//! The outermost parts of a document.

use std::time::Duration;

use super::reuse::Section;
use super::{Place, Reader, Scope};
use crate::language::duration::DurationSource;
use crate::language::model::{DocumentInfo, Export, Input, Output, Workflow};
use crate::language::schema::Schema;

/// The shortest interval of a schedule.
const SHORTEST: Duration = Duration::from_secs(1);

impl<'d> Reader<'d> {
    pub(super) fn workflow(&mut self, place: &Place<'d>) -> Option<Workflow> {
        let mut fields = self.fields(place)?;
        let scope = Scope::default();
        let info = fields
            .require(self, "document")
            .and_then(|place| self.info(&place));
        if let Some(place) = fields.take("use") {
            self.collect_reuse(&place);
        }
        let input = fields.take("input").map(|place| self.input(&place, &scope));
        let output = fields
            .take("output")
            .map(|place| self.output(&place, &scope));
        let timeout = fields
            .take("timeout")
            .map(|place| self.timeout(&place, &scope));
        if let Some(place) = fields.take("evaluate") {
            self.evaluate(&place);
        }
        if let Some(place) = fields.take("schedule") {
            self.schedule(&place, &scope);
        }
        let do_ = fields
            .require(self, "do")
            .and_then(|place| self.task_list(&place, &scope));
        fields.finish(self);
        self.check_unreferenced();
        Some(Workflow {
            info: info?,
            input: input.unwrap_or_default(),
            output: output.unwrap_or_default(),
            secrets: self.reuse.secrets.iter().cloned().collect(),
            timeout: timeout.flatten(),
            do_: do_?,
        })
    }

    /// When the workflow starts by itself. Whoever deploys it makes triggers
    /// of this; here it is checked, and nothing else.
    fn schedule(&mut self, place: &Place<'d>, scope: &Scope) {
        let Some(mut fields) = self.fields(place) else {
            return;
        };
        if fields.is_empty() {
            let message = "`schedule` needs `cron`, `every`, `after` or `on`";
            self.error(place, message.to_owned());
        }
        if let Some(place) = fields.take("cron")
            && let Some(text) = self.text(&place)
            && let Err(error) = text.text.parse::<millrace_schedule::Cron>()
        {
            self.error(&place, error.to_string());
        }
        for key in ["every", "after"] {
            if let Some(place) = fields.take(key) {
                self.fixed_interval(&place, scope);
            }
        }
        if let Some(place) = fields.take("on") {
            self.schedule_on(&place);
        }
        fields.finish(self);
    }

    fn fixed_interval(&mut self, place: &Place<'d>, scope: &Scope) {
        match self.duration(place, scope) {
            Some(DurationSource::Fixed(length)) if length < SHORTEST => {
                let message = "an interval is at least one second, `PT1S`";
                self.error(place, message.to_owned());
            }
            Some(DurationSource::Expression(_)) => {
                let message = "an interval has to be known before the workflow starts";
                self.error(place, message.to_owned());
            }
            Some(DurationSource::Fixed(_)) | None => {}
        }
    }

    fn info(&mut self, place: &Place<'d>) -> Option<DocumentInfo> {
        let mut fields = self.fields(place)?;
        let dsl = fields
            .require(self, "dsl")
            .and_then(|place| self.dsl(&place));
        let namespace = fields
            .require(self, "namespace")
            .and_then(|place| self.label(&place));
        let name = fields
            .require(self, "name")
            .and_then(|place| self.label(&place));
        let version = fields
            .require(self, "version")
            .and_then(|place| self.version(&place));
        let title = fields.take("title").and_then(|place| self.text(&place));
        let summary = fields.take("summary").and_then(|place| self.text(&place));
        let tags = fields
            .take("tags")
            .and_then(|place| self.free_object(&place));
        let metadata = fields
            .take("metadata")
            .and_then(|place| self.free_object(&place));
        fields.finish(self);
        Some(DocumentInfo {
            dsl: dsl?,
            namespace: namespace?,
            name: name?,
            version: version?,
            title: title.map(|text| text.text.clone()),
            summary: summary.map(|text| text.text.clone()),
            tags,
            metadata,
        })
    }

    fn dsl(&mut self, place: &Place<'d>) -> Option<String> {
        let text = &self.text(place)?.text;
        let patch = text.strip_prefix("1.0.");
        if patch.is_some_and(is_plain_number) {
            return Some(text.clone());
        }
        self.error(
            place,
            format!("version `{text}` of the language is not supported; write 1.0.0 to 1.0.3"),
        );
        None
    }

    /// A name that is also part of addresses.
    fn label(&mut self, place: &Place<'d>) -> Option<String> {
        let text = &self.text(place)?.text;
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let good = (1..=63).contains(&text.len())
            && text.chars().all(fits)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good {
            return Some(text.clone());
        }
        self.error(
            place,
            format!(
                "`{text}` must be 1 to 63 letters, digits and hyphens, with no hyphen at either end"
            ),
        );
        None
    }

    fn version(&mut self, place: &Place<'d>) -> Option<String> {
        let text = &self.text(place)?.text;
        if is_semantic_version(text) {
            return Some(text.clone());
        }
        self.error(
            place,
            format!("`{text}` is not a semantic version such as 1.0.0"),
        );
        None
    }

    fn evaluate(&mut self, place: &Place<'d>) {
        let Some(mut fields) = self.fields(place) else {
            return;
        };
        for (key, supported) in [("language", "jq"), ("mode", "strict")] {
            let Some(place) = fields.take(key) else {
                continue;
            };
            if let Some(text) = self.text(&place)
                && text.text != supported
            {
                let text = &text.text;
                self.error(
                    &place,
                    format!("`{text}` is not supported yet; write `{supported}`"),
                );
            }
        }
        fields.finish(self);
    }

    pub(super) fn input(&mut self, place: &Place<'d>, scope: &Scope) -> Input {
        let Some(mut fields) = self.fields(place) else {
            return Input::default();
        };
        let input = Input {
            schema: fields.take("schema").and_then(|place| self.schema(&place)),
            from: fields
                .take("from")
                .and_then(|place| self.transform(&place, scope)),
        };
        fields.finish(self);
        input
    }

    pub(super) fn output(&mut self, place: &Place<'d>, scope: &Scope) -> Output {
        let Some(mut fields) = self.fields(place) else {
            return Output::default();
        };
        let output = Output {
            schema: fields.take("schema").and_then(|place| self.schema(&place)),
            as_: fields
                .take("as")
                .and_then(|place| self.transform(&place, scope)),
        };
        fields.finish(self);
        output
    }

    pub(super) fn export(&mut self, place: &Place<'d>, scope: &Scope) -> Export {
        let Some(mut fields) = self.fields(place) else {
            return Export::default();
        };
        let export = Export {
            schema: fields.take("schema").and_then(|place| self.schema(&place)),
            as_: fields
                .take("as")
                .and_then(|place| self.transform(&place, scope)),
        };
        fields.finish(self);
        export
    }

    fn schema(&mut self, place: &Place<'d>) -> Option<Schema> {
        let mut fields = self.fields(place)?;
        if let Some(place) = fields.take("format")
            && let Some(format) = self.text(&place)
            && format.text != "json"
            && !format.text.starts_with("json:")
        {
            let format = &format.text;
            self.error(
                &place,
                format!("schemas of format `{format}` are not supported yet; write `json`"),
            );
        }
        let schema = if fields.refuse(self, "resource", "write the schema out as `document`") {
            None
        } else {
            fields
                .require(self, "document")
                .and_then(|place| self.schema_document(&place))
        };
        fields.finish(self);
        schema
    }

    fn schema_document(&mut self, place: &Place<'d>) -> Option<Schema> {
        if !matches!(
            place.node.data,
            super::Data::Mapping(_) | super::Data::Bool(_)
        ) {
            self.wrong_type(place, "a JSON Schema, an object");
            return None;
        }
        match Schema::compile(&place.node.to_json()) {
            Ok(schema) => Some(schema),
            Err(error) => {
                let at = place.descend(&error.pointer);
                self.error(
                    &at,
                    format!("this is not a JSON Schema that can be used: {error}"),
                );
                None
            }
        }
    }

    /// A timeout, or the name of one.
    pub(super) fn timeout(&mut self, place: &Place<'d>, scope: &Scope) -> Option<DurationSource> {
        if matches!(place.node.data, super::Data::Text(_)) {
            let definition = self.referenced(Section::Timeouts, place)?;
            return self.timeout_definition(&definition, scope);
        }
        self.timeout_definition(place, scope)
    }

    pub(super) fn timeout_definition(
        &mut self,
        place: &Place<'d>,
        scope: &Scope,
    ) -> Option<DurationSource> {
        let mut fields = self.fields(place)?;
        let after = fields
            .require(self, "after")
            .and_then(|place| self.duration(&place, scope));
        fields.finish(self);
        after
    }
}

fn is_plain_number(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits && (text == "0" || !text.starts_with('0'))
}

/// Semantic Versioning 2.0.0.
fn is_semantic_version(text: &str) -> bool {
    let identifiers = |text: &str| {
        text.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (core, before) = match text.split_once('-') {
        Some((core, before)) => (core, Some(before)),
        None => (text, None),
    };
    let numbers: Vec<&str> = core.split('.').collect();
    let no_leading_zero = |text: &str| {
        text.split('.')
            .all(|part| is_plain_number(part) || !part.bytes().all(|b| b.is_ascii_digit()))
    };
    numbers.len() == 3
        && numbers.iter().all(|number| is_plain_number(number))
        && before.is_none_or(|before| identifiers(before) && no_leading_zero(before))
        && build.is_none_or(identifiers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semantic_versions_are_told_from_others() {
        for good in [
            "0.0.0",
            "1.2.3",
            "1.0.0-alpha.1",
            "1.0.0-0a+build.01",
            "10.20.30+x",
        ] {
            assert!(is_semantic_version(good), "{good}");
        }
        for bad in [
            "1", "1.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "v1.0.0", "1.0.x", "",
        ] {
            assert!(!is_semantic_version(bad), "{bad}");
        }
    }
}
