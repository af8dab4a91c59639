//! A webhook path that was resolved: which trigger takes it, and how.

use millrace_proto::runtime::v1::ResolveWebhookResponse;
use millrace_types::ErrorKind;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::problem::Problem;

/// What the gateway needs to know of a webhook trigger.
#[derive(Debug)]
pub struct Route {
    pub trigger_id: String,
    pub revision: u64,
    pub deployment_id: String,
    /// The path's parameters, a JSON object.
    pub params: Box<RawValue>,
    pub input: InputMode,
    pub respond: RespondMode,
}

/// What becomes the execution's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputMode {
    #[default]
    Body,
    /// `{method, path, params, query, headers, body}`
    Request,
}

/// When the caller is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RespondMode {
    /// Once the execution is durable.
    #[default]
    Accepted,
    /// When it has ended, within limits.
    Result,
}

/// The members of a trigger's specification that the gateway acts on.
#[derive(Deserialize)]
struct Spec<'a> {
    #[serde(default)]
    input: InputMode,
    #[serde(default)]
    respond: RespondMode,
    #[serde(borrow)]
    auth: Option<Auth<'a>>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    #[serde(borrow)]
    scheme: std::borrow::Cow<'a, str>,
}

impl TryFrom<ResolveWebhookResponse> for Route {
    type Error = Problem;

    fn try_from(answer: ResolveWebhookResponse) -> Result<Self, Problem> {
        let spec: Spec<'_> = match answer.spec_json.as_str() {
            "" => serde_json::from_str("{}"),
            text => serde_json::from_str(text),
        }
        .map_err(|error| not_known(&answer.trigger_id, &error))?;
        // A scheme that cannot be checked lets nobody in.
        if let Some(auth) = spec.auth.filter(|auth| auth.scheme != "none") {
            let cause = format_args!("authentication scheme `{}`", auth.scheme);
            return Err(not_known(&answer.trigger_id, &cause));
        }
        let (input, respond) = (spec.input, spec.respond);
        let params = if answer.params_json.is_empty() {
            "{}".into()
        } else {
            answer.params_json
        };
        Ok(Self {
            params: RawValue::from_string(params).map_err(|error| Problem::internal(&error))?,
            trigger_id: answer.trigger_id,
            revision: answer.trigger_revision,
            deployment_id: answer.deployment_id,
            input,
            respond,
        })
    }
}

/// A runtime newer than this gateway may hand out what only it knows.
fn not_known(trigger_id: &str, cause: &dyn std::fmt::Display) -> Problem {
    tracing::error!(trigger.id = trigger_id, %cause, "trigger {trigger_id} asks for what this gateway cannot do");
    Problem::new(
        ErrorKind::Unimplemented,
        "This webhook asks for something that this gateway cannot do.",
    )
}
