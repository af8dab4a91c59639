//! Names to addresses that may be called.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::failure::{HttpFailure, ResolveError};
use crate::effects::egress::EgressPolicy;

/// Resolves names, and keeps only the addresses that the policy allows. What
/// is checked is what is connected to: nothing resolves the name again.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    policy: Arc<EgressPolicy>,
    /// Proxies of the environment: connecting to them is the operator's wish.
    proxies: Arc<BTreeSet<String>>,
}

impl Resolver {
    pub(super) fn new(policy: EgressPolicy) -> Self {
        Self {
            policy: Arc::new(policy),
            proxies: Arc::new(proxies_of_environment()),
        }
    }

    /// Checks the target of a call before it is made: its scheme, an address
    /// that is written out (which nobody would resolve), and with a proxy,
    /// which resolves names by itself, also what a name resolves to here.
    pub(super) async fn check(&self, url: &Url) -> Result<(), HttpFailure> {
        if !matches!(url.scheme(), "http" | "https") {
            let message = format!("{} is not http or https", url.scheme());
            return Err(HttpFailure::Invalid(message));
        }
        let refused = |target: String| Err(HttpFailure::Refused { target });
        match url.host() {
            None => Err(HttpFailure::Invalid("the URL has no host".into())),
            Some(Host::Ipv4(a)) if !self.policy.allows(a.into()) => refused(a.to_string()),
            Some(Host::Ipv6(a)) if !self.policy.allows(a.into()) => refused(a.to_string()),
            Some(Host::Domain(host)) if !self.proxies.is_empty() => {
                match self.allowed(host).await {
                    Err(ResolveError::Refused { host, .. }) => refused(host),
                    // The proxy may know the name, though we do not.
                    Err(ResolveError::Unknown { .. }) | Ok(_) => Ok(()),
                }
            }
            Some(_) => Ok(()),
        }
    }

    async fn allowed(&self, host: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        let unknown = || ResolveError::Unknown {
            host: host.to_owned(),
        };
        let all: Vec<_> = tokio::net::lookup_host((host, 0))
            .await
            .map_err(|_| unknown())?
            .collect();
        let first = all.first().ok_or_else(unknown)?.ip();
        if self.policy.allows_host(host) {
            return Ok(all);
        }
        let allowed: Vec<_> = all
            .into_iter()
            .filter(|a| self.policy.allows(a.ip()))
            .collect();
        if allowed.is_empty() {
            return Err(ResolveError::Refused {
                host: host.to_owned(),
                address: first,
            });
        }
        Ok(allowed)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            let addresses = if this.proxies.contains(host) {
                tokio::net::lookup_host((host, 0)).await?.collect()
            } else {
                this.allowed(host).await?
            };
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The hosts of the proxy variables that reqwest honours.
fn proxies_of_environment() -> BTreeSet<String> {
    let variables = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let values = variables
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_lowercase()]);
    let values = values.filter_map(|name| std::env::var(name).ok());
    values
        .filter_map(|value| proxy_host(value.trim()))
        .collect()
}

fn proxy_host(value: &str) -> Option<String> {
    let url = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    Url::parse(&url).ok()?.host_str().map(str::to_owned)
}
