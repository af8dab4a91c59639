//! What `millrace dev` says once it is ready, on standard output.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// Where the parts of one process listen.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// What is spoken there, `http` or `https`.
    pub scheme: &'static str,
    pub http: SocketAddr,
    pub runtime: SocketAddr,
    pub orchestrator: SocketAddr,
}

/// Exactly one line of JSON, for scripts. Addresses hold nothing that JSON
/// would escape.
fn json(addresses: Addresses) -> String {
    let Addresses {
        http,
        runtime,
        orchestrator,
        ..
    } = addresses;
    format!(
        "{{\"http\": \"{http}\", \"runtime\": \"{runtime}\", \"orchestrator\": \"{orchestrator}\"}}\n"
    )
}

/// A few lines for whoever typed the command.
fn banner(addresses: Addresses, data_dir: &Path) -> String {
    let Addresses {
        scheme,
        http,
        runtime,
        orchestrator,
    } = addresses;
    let version = env!("CARGO_PKG_VERSION");
    let data = data_dir.display();
    let server = match (scheme, http.port()) {
        ("http", 8080) => String::new(),
        _ => format!(" --server {scheme}://{http}"),
    };
    format!(
        "\n  Millrace {version} is ready.\n\n    \
         HTTP          {scheme}://{http}\n    \
         runtime       {runtime} (gRPC)\n    \
         orchestrator  {orchestrator} (gRPC)\n    \
         data          {data}\n\n  \
         Deploy a workflow:  millrace deploy FILE.yaml --webhook PATH{server}\n  \
         Stop with Ctrl-C.\n\n"
    )
}

/// Says it. A standard output that nobody reads is no reason to stop.
pub fn announce(addresses: Addresses, data_dir: &Path, as_json: bool) {
    let text = if as_json {
        json(addresses)
    } else {
        banner(addresses, data_dir)
    };
    print(&text);
}

/// The same for a role that is a process of its own: `{"runtime": "…"}`. Who
/// has not asked for it finds the address in the log.
pub fn announce_one(role: &str, at: SocketAddr, as_json: bool) {
    if as_json {
        print(&format!("{{\"{role}\": \"{at}\"}}\n"));
    }
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_one_line_of_json() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let line = json(Addresses {
            scheme: "http",
            http: at(1),
            runtime: at(2),
            orchestrator: at(3),
        });
        assert_eq!(
            line,
            "{\"http\": \"127.0.0.1:1\", \"runtime\": \"127.0.0.1:2\", \
             \"orchestrator\": \"127.0.0.1:3\"}\n"
        );
    }
}
