//! When a service is started again, and after how long.

use std::time::Duration;

use super::reader::{Findings, Object};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    /// Not after an exit with a successful code.
    OnFailure,
    Never,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// Before the first restart; none by default.
    pub initial: Duration,
    /// By how much it grows; 2 by default.
    pub factor: f64,
    /// 5 minutes by default.
    pub max: Duration,
    /// Which part of the delay is random, from 0 to 1; 0.1 by default.
    pub jitter: f64,
    /// A run of this length starts it over; 10 s by default.
    pub reset_after: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RestartRules {
    /// `onFailure` by default.
    pub policy: RestartPolicy,
    pub backoff: Backoff,
    /// Within `window`, it fails instead of one restart more.
    pub max_restarts: Option<u32>,
    pub window: Duration,
    /// Exit codes that count as a success besides 0.
    pub success_codes: Vec<i32>,
    /// Exit codes after which it is not started again, whatever the policy.
    pub fatal_codes: Vec<i32>,
}

impl Default for RestartRules {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::OnFailure,
            backoff: Backoff::default(),
            max_restarts: None,
            window: Duration::from_mins(5),
            success_codes: Vec::new(),
            fatal_codes: Vec::new(),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::ZERO,
            factor: 2.0,
            max: Duration::from_mins(5),
            jitter: 0.1,
            reset_after: Duration::from_secs(10),
        }
    }
}

/// What the first delay grows from when the initial one is zero: the first
/// restart comes at once, the next ones do not.
const SEED: Duration = Duration::from_millis(500);

impl Backoff {
    /// How long to wait before the restart with this number, from 0;
    /// `random` is in 0..1.
    pub fn delay(&self, restart: u32, random: f64) -> Duration {
        let (base, steps) = match (self.initial.is_zero(), restart) {
            (true, 0) => return Duration::ZERO,
            (true, restart) => (SEED.min(self.max), restart - 1),
            (false, restart) => (self.initial, restart),
        };
        let grown = base.as_secs_f64() * self.factor.powi(i32::try_from(steps).unwrap_or(i32::MAX));
        let capped = grown.min(self.max.as_secs_f64());
        Duration::from_secs_f64(capped * (1.0 - self.jitter * random))
    }
}

pub(super) fn read(object: &Object<'_>, findings: &mut Findings) -> RestartRules {
    let keys = ["policy", "backoff", "maxRestarts", "window", "exitCodes"];
    let mut rules = RestartRules::default();
    let Some(restart) = object
        .get("restart")
        .and_then(|value| Object::read(value, "/restart", &keys, findings))
    else {
        return rules;
    };
    match restart.text("policy", findings) {
        None => {}
        Some("always") => rules.policy = RestartPolicy::Always,
        Some("onFailure") => rules.policy = RestartPolicy::OnFailure,
        Some("never") => rules.policy = RestartPolicy::Never,
        Some(other) => findings.add(
            "/restart/policy",
            format!("`{other}` is not one of always, onFailure, never"),
        ),
    }
    rules.backoff = backoff(&restart, findings);
    rules.max_restarts = restart
        .number("maxRestarts", 0, 1_000_000, findings)
        .and_then(|number| u32::try_from(number).ok());
    if let Some(window) = restart.positive("window", findings) {
        rules.window = window;
    }
    let keys = ["success", "fatal"];
    if let Some(codes) = restart
        .get("exitCodes")
        .and_then(|value| Object::read(value, "/restart/exitCodes", &keys, findings))
    {
        rules.success_codes = exit_codes(&codes, "success", findings);
        rules.fatal_codes = exit_codes(&codes, "fatal", findings);
    }
    rules
}

fn backoff(restart: &Object<'_>, findings: &mut Findings) -> Backoff {
    let keys = ["initial", "factor", "max", "jitter", "resetAfter"];
    let default = Backoff::default();
    let Some(given) = restart
        .get("backoff")
        .and_then(|value| Object::read(value, "/restart/backoff", &keys, findings))
    else {
        return default;
    };
    let backoff = Backoff {
        initial: given
            .duration("initial", findings)
            .unwrap_or(default.initial),
        factor: given
            .real("factor", 1.0, 100.0, findings)
            .unwrap_or(default.factor),
        max: given.positive("max", findings).unwrap_or(default.max),
        jitter: given
            .real("jitter", 0.0, 1.0, findings)
            .unwrap_or(default.jitter),
        reset_after: given
            .positive("resetAfter", findings)
            .unwrap_or(default.reset_after),
    };
    if backoff.initial > backoff.max {
        findings.add(
            "/restart/backoff/initial",
            "it must not be longer than `max`",
        );
    }
    backoff
}

fn exit_codes(codes: &Object<'_>, key: &str, findings: &mut Findings) -> Vec<i32> {
    let Some(value) = codes.get(key) else {
        return Vec::new();
    };
    let read = value.as_array().and_then(|items| {
        items
            .iter()
            .map(|item| item.as_u64().filter(|code| *code <= 255))
            .map(|code| code.and_then(|code| i32::try_from(code).ok()))
            .collect::<Option<Vec<i32>>>()
    });
    if read.is_none() {
        findings.add(
            &codes.at(key),
            "it has to be an array of codes from 0 to 255",
        );
    }
    read.unwrap_or_default()
}
