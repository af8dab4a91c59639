//! A webhook path that was resolved: which trigger takes it, and how.

use std::time::Duration;

use ipnet::IpNet;
use millrace_proto::runtime::v1::ResolveWebhookResponse;
use millrace_signature::{AuthSpec, Scheme, SealingKeys};
use millrace_types::ErrorKind;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::rate::Rate;
use crate::GatewayConfig;
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
    pub respond: Respond,
    /// The path as it was deployed, `orders/{region}`.
    pub path: String,
    /// Where requests may come from; `None`: from anywhere.
    pub allow: Option<Vec<IpNet>>,
    pub rate: Option<Rate>,
    pub(super) body_limit: Option<u64>,
    /// Whether the runtime evaluates expressions over the whole request.
    pub expressions: bool,
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

/// When the caller is answered, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Respond {
    /// Once the execution is durable.
    #[default]
    Accepted,
    /// With the execution when it has ended, within limits.
    Result,
    /// With what the runtime makes of its result, when it has ended within
    /// this time, or the gateway's.
    Mapped(Option<Duration>),
}

impl Respond {
    pub fn wait(self, config: &GatewayConfig) -> Duration {
        match self {
            Self::Accepted => Duration::ZERO,
            Self::Result => config.respond_wait,
            Self::Mapped(wait) => wait.unwrap_or(config.respond_wait),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Result => "result",
            Self::Mapped(_) => "mapped",
        }
    }
}

/// A trigger's specification. What is not known here must not be passed over:
/// it may be a limit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "type")]
    _type: Option<String>,
    #[serde(default)]
    path: String,
    #[serde(rename = "methods")]
    _methods: Option<Vec<String>>,
    #[serde(default)]
    input: InputMode,
    #[serde(default)]
    respond: RespondSpec,
    auth: Option<Value>,
    body_limit: Option<u64>,
    rate_limit: Option<RateSpec>,
    allow: Option<Vec<String>>,
    /// The runtime's matter.
    dedupe: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RespondSpec {
    Named(RespondName),
    Mapped { wait: Option<String> },
}

impl Default for RespondSpec {
    fn default() -> Self {
        Self::Named(RespondName::Accepted)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RespondName {
    Accepted,
    Result,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateSpec {
    limit: u32,
    per: String,
    burst: u32,
}

impl RespondSpec {
    fn read(self) -> Result<Respond, jiff::Error> {
        Ok(match self {
            Self::Named(RespondName::Accepted) => Respond::Accepted,
            Self::Named(RespondName::Result) => Respond::Result,
            Self::Mapped { wait } => Respond::Mapped(wait.as_deref().map(duration).transpose()?),
        })
    }
}

impl RateSpec {
    fn read(self) -> Result<Rate, jiff::Error> {
        Ok(Rate {
            interval: duration(&self.per)? / self.limit.max(1),
            burst: self.burst,
        })
    }
}

fn duration(text: &str) -> Result<Duration, jiff::Error> {
    text.parse::<jiff::SignedDuration>()
        .and_then(Duration::try_from)
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
        let unknown = |error: jiff::Error| not_known(&answer.trigger_id, &error);
        let respond = spec.respond.read().map_err(unknown)?;
        let rate = spec.rate_limit.map(RateSpec::read);
        let rate = rate.transpose().map_err(unknown)?;
        let allow = spec
            .allow
            .map(|networks| networks.iter().map(|text| text.parse()).collect());
        let allow = allow
            .transpose()
            .map_err(|error: ipnet::AddrParseError| not_known(&answer.trigger_id, &error))?;
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
            path: spec.path,
            allow,
            rate,
            body_limit: spec.body_limit,
            expressions: spec.dedupe.is_some() || matches!(respond, Respond::Mapped(_)),
            respond,
        })
    }

    /// Largest body in bytes: what the webhook says, within the gateway's.
    pub fn body_limit(&self, config: &GatewayConfig) -> usize {
        self.body_limit
            .and_then(|limit| usize::try_from(limit).ok())
            .map_or(config.body_limit, |limit| limit.min(config.body_limit))
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
