//! `call: http`: from the task to the request, and from the answer back.

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use millrace_types::Timestamp;

use super::data;
use super::effect::{FailureKind, HttpAnswer, HttpFailure, HttpRequest};
use super::event::Detail;
use super::fault::{Fault, Standard};
use super::frame::Body;
use super::identity::Identity;
use super::machine::{Command, Machine};
use super::scope::{Several, Stage};
use crate::effects::http::HttpAuth;
use crate::expression::{Template, Variables};
use crate::language::model::{Authentication, CallHttp, Credentials, Uri};
use crate::value::{self, Value};

/// Tells a repeated request from a new one.
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Grows with each owner of the execution, so that the other side can refuse
/// one that was replaced.
static FENCING_TOKEN: HeaderName = HeaderName::from_static("millrace-fencing-token");

/// Where the expressions of a call are evaluated.
struct Site<'a> {
    input: &'a Value,
    scope: Variables,
    pointer: &'a str,
}

impl Site<'_> {
    fn render(&self, template: &Template) -> Result<Value, Fault> {
        data::render(template, self.input, &self.scope, self.pointer)
    }

    fn text(&self, template: &Template) -> Result<String, Fault> {
        data::render_text(template, self.input, &self.scope, self.pointer)
    }

    fn fault(&self, detail: String) -> Fault {
        Fault::new(Standard::Expression, self.pointer, detail)
    }

    fn uri(&self, uri: &Uri) -> Result<String, Fault> {
        match uri {
            Uri::Template(template) => {
                // A large input is not converted for nothing.
                let variables = if template.is_plain() {
                    serde_json::Value::Null
                } else {
                    value::to_serde(self.input)
                };
                template
                    .expand(&variables)
                    .map_err(|error| self.fault(error.to_string()))
            }
            Uri::Expression(expression) => {
                let given = data::evaluate(expression, self.input, &self.scope, self.pointer)?;
                match given.as_str() {
                    Some(text) => Ok(text.to_owned()),
                    None => Err(self.fault(format!("the URI must be a string, and is: {given}"))),
                }
            }
        }
    }

    /// The members of an object as names and texts; what is null is left
    /// out, the elements of an array come one by one.
    fn pairs(&self, what: &str, template: &Template) -> Result<Vec<(String, String)>, Fault> {
        let given = self.render(template)?;
        if given.is_null() {
            return Ok(Vec::new());
        }
        let Some(members) = given.as_object() else {
            return Err(self.fault(format!("the {what} must be an object, and is: {given}")));
        };
        let mut pairs = Vec::with_capacity(members.len());
        for (name, member) in members.iter() {
            let several = member.as_array();
            for one in several.unwrap_or(std::slice::from_ref(member)) {
                let text = match one {
                    Value::Null => continue,
                    Value::Str(text) => text.to_string(),
                    Value::Bool(_) | Value::Num(_) => value::to_json(one),
                    Value::Arr(_) | Value::Obj(_) => {
                        let complaint = format!("`{name}` of the {what} is no scalar: {one}");
                        return Err(self.fault(complaint));
                    }
                };
                pairs.push((name.to_owned(), text));
            }
        }
        Ok(pairs)
    }

    fn headers(&self, template: &Template) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        for (name, mut text) in self.pairs("headers", template)? {
            let unfit = || self.fault(format!("`{name}` cannot be sent as a header"));
            let header = name.parse::<HeaderName>().map_err(|_| unfit())?;
            if let Some(before) = headers.get(&header) {
                // Several values of one header are one list (RFC 9110).
                text = format!("{}, {text}", String::from_utf8_lossy(before.as_bytes()));
            }
            let mut text = HeaderValue::from_str(&text).map_err(|_| unfit())?;
            // Not shown where the request is shown.
            text.set_sensitive(header == AUTHORIZATION || header == COOKIE);
            headers.insert(header, text);
        }
        Ok(headers)
    }

    fn auth(&self, authentication: &Authentication) -> Result<HttpAuth, Fault> {
        match authentication {
            Authentication::Basic(Credentials::Inline(basic)) => Ok(HttpAuth::Basic {
                username: self.text(&basic.username)?,
                password: self.text(&basic.password)?,
            }),
            Authentication::Bearer(Credentials::Inline(bearer)) => {
                Ok(HttpAuth::Bearer(self.text(&bearer.token)?))
            }
            Authentication::Basic(Credentials::Secret(name)) => Ok(HttpAuth::Basic {
                username: self.secret(name, "username")?,
                password: self.secret(name, "password")?,
            }),
            Authentication::Bearer(Credentials::Secret(name)) => {
                Ok(HttpAuth::Bearer(self.secret(name, "token")?))
            }
        }
    }

    /// The text `member` of a secret; a token may be the whole of it.
    fn secret(&self, name: &str, member: &str) -> Result<String, Fault> {
        let refuse = |why| Fault::new(Standard::Authorization, self.pointer, why);
        let Some(secret) = self.scope.secrets.get(name) else {
            let why = "its engine has no file of that name in `engine.secrets_dir`";
            return Err(refuse(format!("there is no secret `{name}`: {why}")));
        };
        let whole = secret.as_str().filter(|_| member == "token");
        let text = whole.or_else(|| secret.get(member)?.as_str());
        text.map(str::to_owned)
            .ok_or_else(|| refuse(format!("the secret `{name}` has no text `{member}`")))
    }
}

impl Machine {
    /// Evaluates a call and asks for it. Evaluating again after a restart
    /// gives the same request: all it depends on is stored.
    pub(super) fn request_http(
        &mut self,
        id: u64,
        call: &CallHttp,
        input: &Value,
        pointer: &str,
    ) -> Result<(), Fault> {
        let site = Site {
            input,
            scope: self.scope(id, Stage::Body, &Several),
            pointer,
        };
        let uri = site.uri(&call.endpoint.uri)?;
        let mut headers = match &call.headers {
            Some(template) => site.headers(template)?,
            None => HeaderMap::new(),
        };
        let authentication = call.endpoint.authentication.as_ref();
        let auth = authentication.map(|a| site.auth(a)).transpose()?;
        let query = match &call.query {
            Some(template) => site.pairs("query", template)?,
            None => Vec::new(),
        };
        let body = call
            .body
            .as_ref()
            .map(|body| site.render(body))
            .transpose()?;
        // The author's own key, if there is one, says more than ours.
        if !headers.contains_key(&IDEMPOTENCY_KEY) {
            let visit = Identity::of(&self.about.execution_id, &self.tree, id);
            if let Ok(key) = HeaderValue::from_str(&visit.key()) {
                headers.insert(&IDEMPOTENCY_KEY, key);
            }
        }
        headers.insert(&FENCING_TOKEN, HeaderValue::from(self.about.epoch));
        let request = HttpRequest {
            method: call.method.clone(),
            uri,
            query,
            headers,
            auth,
            body,
            output: call.output,
            redirect: call.redirect,
        };
        self.command(Command::Http {
            frame: id,
            request: Box::new(request),
        });
        Ok(())
    }

    /// Takes in the answer to the call of frame `id`, if it still waits for
    /// one.
    pub(super) fn effect_done(
        &mut self,
        id: u64,
        result: Result<HttpAnswer, HttpFailure>,
        now: Timestamp,
    ) {
        let Some(task) = self.tree.task(id) else {
            return;
        };
        if !matches!(task.body, Body::Effect) {
            return;
        }
        let pointer = task.pointer();
        let then = task.named().task.common.then;
        // Nothing is under way any more that could be called off.
        self.set_body(id, Body::Answered);
        match result {
            Ok(answer) => {
                let detail = Detail {
                    status: Some(answer.status),
                    ..Detail::default()
                };
                self.finish(id, answer.output, then, detail, now);
            }
            Err(failure) => self.fail(id, fault_of(failure, &pointer), now),
        }
    }
}

fn fault_of(failure: HttpFailure, pointer: &str) -> Fault {
    let standard = match failure.kind {
        FailureKind::Communication => Standard::Communication,
        FailureKind::Configuration => Standard::Configuration,
        FailureKind::Authorization => Standard::Authorization,
        FailureKind::Timeout => Standard::Timeout,
    };
    let fault = Fault::new(standard, pointer, failure.detail);
    match failure.status {
        None => fault,
        Some(status) => {
            let title = http::StatusCode::from_u16(status)
                .ok()
                .and_then(|status| status.canonical_reason());
            let fault = fault.with_status(status);
            match title {
                Some(title) => fault.with_title(title),
                None => fault,
            }
        }
    }
}
