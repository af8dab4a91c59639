//! The table of settings: which keys there are and which field each one sets.

use super::Config;
use super::value::{Raw, Setting};

macro_rules! settings {
    ($($key:literal => $($field:ident).+;)+) => {
        /// Every key there is, in the order of the sections.
        pub(super) const KEYS: &[&str] = &[$($key),+];

        /// Sets `key`; `None` when there is no such key, a reason when the
        /// value does not fit.
        pub(super) fn set(config: &mut Config, key: &str, raw: &Raw) -> Option<Result<(), String>> {
            match key {
                $($key => Some(Setting::read(raw).map(|value| config.$($field).+ = value)),)+
                _ => None,
            }
        }

        /// The value of `key` as it may be shown; `None` when it is not set.
        pub(super) fn show(config: &Config, key: &str) -> Option<toml::Value> {
            match key {
                $($key => config.$($field).+.show(),)+
                _ => None,
            }
        }
    };
}

settings! {
    "database.url" => database.url;
    "database.max_connections" => database.max_connections;
    "redis.url" => redis.url;
    "log.level" => log.level;
    "log.format" => log.format;
    "log.file" => log.file;
    "log.file_max_size" => log.file_max_size;
    "log.file_max_age" => log.file_max_age;
    "log.file_keep" => log.file_keep;
    "otlp.endpoint" => otlp.endpoint;
    "otlp.sample_percent" => otlp.sample_percent;
    "gateway.listen" => gateway.listen;
    "gateway.admin_listen" => gateway.admin_listen;
    "gateway.runtime" => gateway.runtime;
    "gateway.orchestrator" => gateway.orchestrator;
    "gateway.body_limit" => gateway.body_limit;
    "gateway.tls_cert" => gateway.tls_cert;
    "gateway.tls_key" => gateway.tls_key;
    "gateway.max_connections" => gateway.max_connections;
    "gateway.header_timeout" => gateway.header_timeout;
    "gateway.stop_delay" => gateway.stop_delay;
    "gateway.trusted_proxies" => gateway.trusted_proxies;
    "gateway.forwarded_header" => gateway.forwarded_header;
    "gateway.rate_per_key" => gateway.rate_per_key;
    "gateway.rate_per_address" => gateway.rate_per_address;
    "runtime.listen" => runtime.listen;
    "runtime.admin_listen" => runtime.admin_listen;
    "runtime.engine" => runtime.engine;
    "runtime.max_running" => runtime.max_running;
    "runtime.dispatch" => runtime.dispatch;
    "runtime.lease_ttl" => runtime.lease_ttl;
    "runtime.drain" => runtime.drain;
    "engine.listen" => engine.listen;
    "engine.admin_listen" => engine.admin_listen;
    "engine.egress.allow" => engine.egress.allow;
    "engine.secrets_dir" => engine.secrets_dir;
    "engine.drain" => engine.drain;
    "orchestrator.listen" => orchestrator.listen;
    "orchestrator.admin_listen" => orchestrator.admin_listen;
    "orchestrator.node_id" => orchestrator.node_id;
    "orchestrator.data_dir" => orchestrator.data_dir;
    "orchestrator.roots" => orchestrator.roots;
    "orchestrator.ports" => orchestrator.ports;
    "orchestrator.secrets_dir" => orchestrator.secrets_dir;
    "orchestrator.host" => orchestrator.host;
    "orchestrator.node" => orchestrator.node;
    "orchestrator.gateway_url" => orchestrator.gateway_url;
    "orchestrator.keep_services" => orchestrator.keep_services;
    "tls.cert" => tls.cert;
    "tls.key" => tls.key;
    "tls.ca" => tls.ca;
    "retention.days" => retention.days;
    "webhooks.sealing_key" => webhooks.sealing_key;
    "webhooks.old_sealing_key" => webhooks.old_sealing_key;
    "webhooks.dedupe_keep" => webhooks.dedupe_keep;
    "auth.mode" => auth.mode;
    "auth.internal_token" => auth.internal_token;
    "auth.cache_ttl" => auth.cache_ttl;
    "auth.open_metrics" => auth.open_metrics;
    "auth.open_health" => auth.open_health;
    "auth.open_services" => auth.open_services;
    "dev.data_dir" => dev.data_dir;
    "dev.keep_services" => dev.keep_services;
}

/// Variables with names of their own, which others know them by.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("DATABASE_URL", "database.url"),
    ("REDIS_URL", "redis.url"),
    ("MILLRACE_LOG", "log.level"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp.endpoint"),
];

/// The key that a mistyped one most likely stands for.
pub(super) fn closest(key: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|known| (distance(key, known), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 4)
        .map(|(_, known)| known)
}

/// Levenshtein's, in bytes: keys are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
