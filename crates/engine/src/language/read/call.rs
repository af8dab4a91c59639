//! `call: http`.

use std::sync::Arc;

use super::expression::Whole;
use super::fields::Fields;
use super::reuse::Section;
use super::suggest::suggestion;
use super::{Data, Place, Reader, Scope};
use crate::expression::strict;
use crate::language::model::{
    Authentication, Basic, Bearer, Call, CallHttp, Credentials, Endpoint, HttpOutput, Template, Uri,
};
use crate::language::uri_template::UriTemplate;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl<'d> Reader<'d> {
    pub(super) fn call(&mut self, fields: &mut Fields<'d>, scope: &Scope) -> Option<Call> {
        let place = fields.take("call");
        let with = fields.take("with");
        let place = place?;
        let protocol = &self.text(&place)?.text;
        match protocol.as_str() {
            "http" => {}
            "openapi" | "grpc" | "asyncapi" | "a2a" | "mcp" => {
                self.error(&place, format!("`call: {protocol}` is not supported yet"));
                return None;
            }
            name => {
                let hint = suggestion(name, ["http"]);
                self.error(
                    &place,
                    format!(
                        "`call: {name}`: functions are not supported yet, only `http` is{hint}"
                    ),
                );
                return None;
            }
        }
        let Some(with) = with else {
            let place = fields.place().clone();
            self.error_at_key(&place, "`with` is missing here");
            return None;
        };
        let http = self.call_http(&with, &scope.with_secrets())?;
        Some(Call::Http(Box::new(http)))
    }

    fn call_http(&mut self, place: &Place<'d>, scope: &Scope) -> Option<CallHttp> {
        let mut fields = self.fields(place)?;
        let method = fields
            .require(self, "method")
            .and_then(|place| self.method(&place));
        let endpoint = fields
            .require(self, "endpoint")
            .and_then(|place| self.endpoint(&place, scope));
        let headers = fields
            .take("headers")
            .map(|place| self.parameters(&place, scope));
        let query = fields
            .take("query")
            .map(|place| self.parameters(&place, scope));
        let body = fields
            .take("body")
            .map(|place| self.template(&place, scope));
        let output = fields
            .take("output")
            .and_then(|place| self.http_output(&place));
        let redirect = fields
            .take("redirect")
            .and_then(|place| self.boolean(&place));
        fields.finish(self);
        Some(CallHttp {
            method: method?,
            endpoint: endpoint?,
            headers: headers.flatten(),
            body: body.flatten(),
            query: query.flatten(),
            output: output.unwrap_or_default(),
            redirect: redirect.unwrap_or_default(),
        })
    }

    fn method(&mut self, place: &Place<'d>) -> Option<http::Method> {
        let text = &self.text(place)?.text;
        let upper = text.to_ascii_uppercase();
        if METHODS.contains(&upper.as_str()) {
            return http::Method::from_bytes(upper.as_bytes()).ok();
        }
        let hint = suggestion(text, METHODS);
        self.error(
            place,
            format!("`{text}` is not one of {}{hint}", METHODS.join(", ")),
        );
        None
    }

    /// An object of scalars, or one expression that gives one.
    fn parameters(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Template> {
        match &place.node.data {
            Data::Mapping(entries) => {
                for entry in entries {
                    if !matches!(
                        entry.value.data,
                        Data::Text(_) | Data::Number(_) | Data::Bool(_)
                    ) {
                        self.wrong_type(&place.child(entry), "a text, a number or a boolean");
                    }
                }
            }
            Data::Text(text) if strict(&text.text).is_some() || text.cut_by_comment => {}
            _ => {
                self.wrong_type(place, "an object, or one whole `${ … }`");
                return None;
            }
        }
        self.template(place, scope)
    }

    fn http_output(&mut self, place: &Place<'d>) -> Option<HttpOutput> {
        let text = &self.text(place)?.text;
        match text.as_str() {
            "content" => Some(HttpOutput::Content),
            "response" => Some(HttpOutput::Response),
            "raw" => Some(HttpOutput::Raw),
            _ => {
                let hint = suggestion(text, ["content", "response", "raw"]);
                self.error(
                    place,
                    format!("`{text}` is not one of `content`, `response`, `raw`{hint}"),
                );
                None
            }
        }
    }

    fn endpoint(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Endpoint> {
        if matches!(place.node.data, Data::Text(_)) {
            return Some(Endpoint {
                uri: self.uri(place, scope)?,
                authentication: None,
            });
        }
        let mut fields = self.fields(place)?;
        let uri = fields
            .require(self, "uri")
            .and_then(|place| self.uri(&place, scope));
        let authentication = fields
            .take("authentication")
            .map(|place| self.authentication(&place, scope));
        fields.finish(self);
        if matches!(authentication, Some(None)) {
            return None;
        }
        Some(Endpoint {
            uri: uri?,
            authentication: authentication.flatten(),
        })
    }

    fn uri(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Uri> {
        let text = self.text(place)?;
        if let Whole::Expression(expression) = self.wrapped_expression(place, text, scope)? {
            return Some(Uri::Expression(expression));
        }
        let text = text.text.trim();
        let template = match UriTemplate::parse(text) {
            Ok(template) => template,
            Err(error) => {
                self.error(place, format!("this is not a URI template: {error}"));
                return None;
            }
        };
        let lower = text.to_ascii_lowercase();
        let absolute = lower.starts_with("http://") || lower.starts_with("https://");
        let valid = if template.is_plain() {
            absolute && url::Url::parse(text).is_ok()
        } else {
            // A variable may hold the start of the address.
            absolute || text.starts_with('{')
        };
        if !valid {
            self.error(
                place,
                format!("`{text}` is not an absolute http or https address"),
            );
            return None;
        }
        Some(Uri::Template(template))
    }

    /// A policy, or the name of one.
    fn authentication(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Authentication> {
        let mut fields = self.fields(place)?;
        let Some(name) = fields.take("use") else {
            return self.authentication_policy(place, scope);
        };
        fields.finish(self);
        let definition = self.referenced(Section::Authentications, &name)?;
        self.authentication_policy(&definition, scope)
    }

    pub(super) fn authentication_policy(
        &mut self,
        place: &Place<'d>,
        scope: &Scope,
    ) -> Option<Authentication> {
        let scope = &scope.with_secrets();
        let mut fields = self.fields(place)?;
        let basic = fields.take("basic");
        let bearer = fields.take("bearer");
        let mut refused = false;
        for scheme in ["digest", "oauth2", "oidc"] {
            refused |= fields.refuse(self, scheme, "use `basic` or `bearer`");
        }
        fields.finish(self);
        match (basic, bearer) {
            (Some(place), None) => self.basic(&place, scope).map(Authentication::Basic),
            (None, Some(place)) => self.bearer(&place, scope).map(Authentication::Bearer),
            (None, None) if refused => None,
            _ => {
                self.error_at_key(place, "this must have one of `basic` and `bearer`");
                None
            }
        }
    }

    fn basic(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Credentials<Basic>> {
        let mut fields = self.fields(place)?;
        if let Some(secret) = fields.take("use") {
            fields.finish(self);
            return self.secret(&secret).map(Credentials::Secret);
        }
        let username = fields
            .require(self, "username")
            .and_then(|place| self.text_template(&place, scope));
        let password = fields
            .require(self, "password")
            .and_then(|place| self.text_template(&place, scope));
        fields.finish(self);
        Some(Credentials::Inline(Basic {
            username: username?,
            password: password?,
        }))
    }

    fn bearer(&mut self, place: &Place<'d>, scope: &Scope) -> Option<Credentials<Bearer>> {
        let mut fields = self.fields(place)?;
        if let Some(secret) = fields.take("use") {
            fields.finish(self);
            return self.secret(&secret).map(Credentials::Secret);
        }
        let token = fields
            .require(self, "token")
            .and_then(|place| self.text_template(&place, scope));
        fields.finish(self);
        Some(Credentials::Inline(Bearer { token: token? }))
    }

    fn secret(&mut self, place: &Place<'d>) -> Option<Arc<str>> {
        let name = &self.text(place)?.text;
        self.declared_secret(place, name)
            .then(|| name.as_str().into())
    }
}
