//! From a trigger as it was read to one that may be stored.

use millrace_proto::Finding;
use millrace_signature::SealingKeys;
use millrace_store::{NewTrigger, SealedSecrets};

use super::spec::TriggerSpec;
use crate::deployment::settings::finding;

/// What a deployment with secrets needs, and this process has not got.
const NO_KEY: &str = "secrets are stored encrypted, and no key is configured for that: set \
     `webhooks.sealing_key` (MILLRACE_WEBHOOKS__SEALING_KEY) to the same key for every runtime and \
     gateway, such as `openssl rand -base64 32` prints";

/// Seals the secrets of each trigger, bound to its specification.
pub(crate) fn all(
    specs: Vec<TriggerSpec>,
    keys: Option<&SealingKeys>,
    pointer: &str,
) -> Result<Vec<NewTrigger>, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut triggers = Vec::with_capacity(specs.len());
    for (i, spec) in specs.into_iter().enumerate() {
        match one(spec, keys) {
            Ok(trigger) => triggers.push(trigger),
            Err(why) => findings.push(finding(&format!("{pointer}/{i}/auth"), &why)),
        }
    }
    if findings.is_empty() {
        Ok(triggers)
    } else {
        Err(findings)
    }
}

/// Seals the secrets of one trigger; the error is a sentence for its author.
pub(crate) fn one(spec: TriggerSpec, keys: Option<&SealingKeys>) -> Result<NewTrigger, String> {
    let secrets = if spec.secrets.is_empty() {
        None
    } else {
        let sealed = keys
            .ok_or_else(|| NO_KEY.to_owned())?
            .seal_secrets(&spec.secrets, &spec.spec_json)
            .map_err(|why| format!("the secrets cannot be encrypted: {why}"))?;
        Some(SealedSecrets {
            sealed: sealed.text,
            fingerprint: sealed.fingerprint,
        })
    };
    Ok(NewTrigger {
        secrets,
        ..open(spec)
    })
}

/// The trigger without its secrets: to be looked at, not to be stored.
pub(crate) fn open(spec: TriggerSpec) -> NewTrigger {
    NewTrigger {
        kind: spec.kind,
        name: spec.name,
        enabled: spec.enabled,
        spec_json: spec.spec_json,
        route: spec.route,
        secrets: None,
        event_type: spec.event_type,
    }
}
