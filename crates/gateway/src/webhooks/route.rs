//! A webhook path that was resolved: which trigger takes it, and how.

use millrace_proto::runtime::v1::ResolveWebhookResponse;
use millrace_signature::{AuthSpec, Scheme, SealingKeys};
use millrace_types::ErrorKind;
use serde::Deserialize;
use serde_json::Value;
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
    /// How senders prove themselves, with the secrets.
    pub auth: AuthSpec,
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
struct Spec {
    #[serde(default)]
    input: InputMode,
    #[serde(default)]
    respond: RespondMode,
    auth: Option<Value>,
}

impl Route {
    /// Reads what a runtime resolved, and opens its secrets with `keys`.
    pub fn read(
        answer: ResolveWebhookResponse,
        keys: Option<&SealingKeys>,
    ) -> Result<Self, Problem> {
        let spec: Spec = match answer.spec_json.as_str() {
            "" => serde_json::from_str("{}"),
            text => serde_json::from_str(text),
        }
        .map_err(|error| not_known(&answer.trigger_id, &error))?;
        let auth = auth(spec.auth, &answer, keys)?;
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
            auth,
            input: spec.input,
            respond: spec.respond,
        })
    }
}

/// The scheme and its secrets. What cannot be read or opened lets nobody in.
fn auth(
    public: Option<Value>,
    answer: &ResolveWebhookResponse,
    keys: Option<&SealingKeys>,
) -> Result<AuthSpec, Problem> {
    let Some(mut public) = public else {
        return Ok(AuthSpec::none());
    };
    if let Value::Object(members) = &mut public {
        // For listings; the sealed secrets tell their number themselves.
        members.remove("activeSecrets");
    }
    let id = &answer.trigger_id;
    let scheme = Scheme::from_json(&public).map_err(|error| not_known(id, &error))?;
    let secrets = if answer.sealed_secrets.is_empty() {
        Vec::new()
    } else {
        let keys = keys.ok_or_else(|| locked(id, &"`webhooks.sealing_key` is not set"))?;
        keys.open_secrets(&answer.sealed_secrets, &answer.spec_json)
            .map_err(|error| locked(id, &format_args!("`webhooks.sealing_key`: {error}")))?
    };
    AuthSpec::join(scheme, secrets).map_err(|error| locked(id, &error))
}

/// The secrets cannot be had here and now; senders may try again once the
/// keys are right.
fn locked(trigger_id: &str, cause: &dyn std::fmt::Display) -> Problem {
    tracing::error!(trigger.id = trigger_id, %cause, "senders of trigger {trigger_id} cannot be authenticated: {cause}");
    Problem::new(
        ErrorKind::Unavailable,
        "This gateway cannot authenticate senders of this webhook at present.",
    )
}

/// A runtime newer than this gateway may hand out what only it knows.
fn not_known(trigger_id: &str, cause: &dyn std::fmt::Display) -> Problem {
    tracing::error!(trigger.id = trigger_id, %cause, "trigger {trigger_id} asks for what this gateway cannot do");
    Problem::new(
        ErrorKind::Unimplemented,
        "This webhook asks for something that this gateway cannot do.",
    )
}
