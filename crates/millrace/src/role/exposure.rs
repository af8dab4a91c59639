//! Nothing listens beyond this machine unless it knows who calls. There is no
//! way around it: whoever wants a proxy to ask lets it listen for others, and
//! Millrace on 127.0.0.1.

use std::net::SocketAddr;

use millrace_service::config::{AuthMode, Config, RuntimeEngine};

use crate::cli::RoleCommand;

/// Why a role does not start with this configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exposed {
    #[error(
        "`{key}` is {address}, which is reached from other machines, and nothing says who may \
         call: {mend}; or listen on {} only", local(*.address)
    )]
    Open {
        key: &'static str,
        address: SocketAddr,
        mend: &'static str,
    },
    #[error(
        "with `auth.mode = \"keys\"`, {whom}: set `auth.internal_token` to the same secret for \
         all roles (variable MILLRACE_AUTH__INTERNAL_TOKEN; `openssl rand -hex 32` makes one), \
         or `tls.cert` and `tls.ca`"
    )]
    Unknown { whom: &'static str },
}

const BY_KEYS: &str = "set `auth.mode = \"keys\"` (flag --auth keys, or \
    MILLRACE_AUTH__MODE=keys) and make a key with `millrace keys create --name NAME --role admin`";
const BY_KEYS_OR_CERTIFICATES: &str = "set `auth.mode = \"keys\"` (flag --auth keys, or \
    MILLRACE_AUTH__MODE=keys) and `auth.internal_token`, or `tls.cert` and `tls.ca`";
const BY_TOKEN: &str = "set `auth.internal_token` to the same secret for all roles (variable \
    MILLRACE_AUTH__INTERNAL_TOKEN; `openssl rand -hex 32` makes one), or `tls.cert` and `tls.ca`";

/// Where the same is reached from this machine only.
fn local(address: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], address.port()))
}

/// Refuses what would serve anyone who comes by.
pub fn check(role: &RoleCommand, config: &Config) -> Result<(), Exposed> {
    let keys = config.auth.mode == AuthMode::Keys;
    let certificates = has_certificates(config);
    let known = config.auth.internal_token.is_some() || certificates;
    let gateway = ("gateway.listen", config.gateway.listen);
    let runtime = ("runtime.listen", config.runtime.listen);
    let orchestrator = ("orchestrator.listen", config.orchestrator.listen);
    match role {
        RoleCommand::Gateway(_) => {
            listens(gateway, keys, BY_KEYS)?;
            let whom = "the runtimes have to know this gateway, which asks them about keys";
            trusts(keys, known, whom)
        }
        RoleCommand::Runtime(_) => {
            listens(runtime, keys || certificates, BY_KEYS_OR_CERTIFICATES)?;
            let remote = matches!(config.runtime.engine, RuntimeEngine::Remote(_));
            trusts(
                keys && remote,
                known,
                "the engines have to know this runtime",
            )
        }
        RoleCommand::Orchestrator(_) => {
            listens(orchestrator, keys || certificates, BY_KEYS_OR_CERTIFICATES)
        }
        RoleCommand::Engine(_) => {
            listens(("engine.listen", config.engine.listen), known, BY_TOKEN)?;
            trusts(keys, known, "the engine has to know the runtimes")
        }
        RoleCommand::Dev(_) => {
            for listener in [gateway, runtime, orchestrator] {
                listens(listener, keys, BY_KEYS)?;
            }
            let remote = matches!(config.runtime.engine, RuntimeEngine::Remote(_));
            trusts(
                keys && remote,
                known,
                "the engines have to know this runtime",
            )
        }
        RoleCommand::Migrate(_) => Ok(()),
    }
}

/// Whether callers can prove themselves by certificates.
pub const fn has_certificates(config: &Config) -> bool {
    config.tls.ca.is_some() && config.tls.cert.is_some()
}

fn listens(
    (key, address): (&'static str, SocketAddr),
    known: bool,
    mend: &'static str,
) -> Result<(), Exposed> {
    if known || is_local(address) {
        return Ok(());
    }
    Err(Exposed::Open { key, address, mend })
}

fn trusts(needed: bool, known: bool, whom: &'static str) -> Result<(), Exposed> {
    if needed && !known {
        return Err(Exposed::Unknown { whom });
    }
    Ok(())
}

/// Whether only this machine reaches it. `[::]` and 0.0.0.0 are all of its
/// addresses, and `[::ffff:127.0.0.1]` is 127.0.0.1.
pub fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn judged(
        arguments: &[&str],
        settings: &[(&'static str, &'static str)],
    ) -> Result<(), Exposed> {
        let all = ["millrace"].iter().chain(arguments);
        let Command::Role(role) = Cli::try_parse_from(all).unwrap().command else {
            panic!("{arguments:?} is no role");
        };
        let mut sources = role.sources();
        sources.environment = millrace_service::config::Environment::default();
        for (key, value) in settings {
            sources.flag("a test", key, Some(value));
        }
        check(&role, &sources.load().unwrap().config)
    }

    const TOKEN: (&str, &str) = ("auth.internal_token", "0123456789abcdef0123456789abcdef");

    #[test]
    fn every_role_refuses_to_be_reached_by_strangers() {
        for (role, key) in [
            ("dev", "gateway.listen"),
            ("dev", "runtime.listen"),
            ("dev", "orchestrator.listen"),
            ("gateway", "gateway.listen"),
            ("runtime", "runtime.listen"),
            ("orchestrator", "orchestrator.listen"),
            ("engine", "engine.listen"),
        ] {
            for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:1"] {
                let refused = judged(&[role], &[(key, address)]).unwrap_err().to_string();
                assert!(
                    refused.contains(&format!("`{key}` is {address}")),
                    "{refused}"
                );
                assert!(refused.contains("127.0.0.1:1"), "{refused}");
                let mend = if role == "engine" {
                    "auth.internal_token"
                } else {
                    "auth.mode"
                };
                assert!(refused.contains(mend), "{refused}");
                let known = [(key, address), ("auth.mode", "keys"), TOKEN];
                assert_eq!(judged(&[role], &known), Ok(()));
            }
            for address in [
                "127.0.0.1:1",
                "127.8.0.1:1",
                "[::1]:1",
                "[::ffff:127.0.0.1]:1",
            ] {
                assert_eq!(judged(&[role], &[(key, address)]), Ok(()), "{address}");
            }
        }
        // The token says who the roles are, and nobody else.
        let open = [("gateway.listen", "0.0.0.0:1"), TOKEN];
        assert!(judged(&["gateway"], &open).is_err());
        assert_eq!(
            judged(&["engine"], &[("engine.listen", "[::]:1"), TOKEN]),
            Ok(())
        );
    }

    #[test]
    fn roles_that_call_each_other_need_a_way_to_know_each_other() {
        let keys = ("auth.mode", "keys");
        for role in [
            &["gateway"][..],
            &["engine"],
            &["runtime", "--engine", "http://engine:1"],
        ] {
            let refused = judged(role, &[keys]).unwrap_err().to_string();
            assert!(refused.contains("auth.internal_token"), "{refused}");
            assert_eq!(judged(role, &[keys, TOKEN]), Ok(()));
        }
        for role in ["runtime", "orchestrator", "dev"] {
            assert_eq!(judged(&[role], &[keys]), Ok(()), "{role}");
        }
    }
}
