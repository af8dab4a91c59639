//! Millrace, as `millrace dev`: all its roles in one process, on SQLite.

use std::fs;
use std::io;

use millrace_shim::log::next_number;
use serde_json::{Value, json};

use super::figures::parent;
use super::{Captured, Context, Program, Supervisor};
use crate::server::Server;

#[derive(Debug)]
pub struct Millrace {
    server: Server,
    project: String,
}

impl Supervisor for Millrace {
    const NAME: &'static str = "Millrace";

    async fn up(context: &Context<'_>, programs: &[Program]) -> io::Result<Self> {
        let home = context.folder.join("project");
        for program in programs {
            let service = home.join("src/services").join(&program.name);
            fs::create_dir_all(&service)?;
            let spec = json!({
                "type": "process",
                "port": false,
                "command": program.argv,
                "logs": {"maxBytes": "1GiB"},
            });
            fs::write(service.join("service.json"), spec.to_string())?;
        }
        let server = Server::start_in(context.folder, context.binary).await?;
        let mut millrace = Self {
            server,
            project: String::new(),
        };
        let body = json!({"name": "Bench", "key": "BENCH", "localPath": home});
        let project = millrace.server.call("POST", "/api/projects", &body).await?;
        project["id"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut millrace.project);
        Ok(millrace)
    }

    async fn start(&mut self) -> io::Result<()> {
        let path = format!("/api/projects/{}/start?wait=120s", self.project);
        let started = self.server.call("POST", &path, &json!({})).await?;
        let items = started["items"].as_array().cloned().unwrap_or_default();
        match items.iter().find(|item| item["stage"] != "running") {
            Some(item) => Err(io::Error::other(format!("not running: {item}"))),
            None if items.is_empty() => Err(io::Error::other(format!("no items: {started}"))),
            None => Ok(()),
        }
    }

    fn captured(&self, _: &str, lines: u64, _: u64) -> io::Result<Captured> {
        // Numbers are given out over all that is written to a log: with what
        // Millrace itself has to say, there may only be more.
        let mut is = 0;
        for workload in fs::read_dir(self.server.data().join("workloads"))? {
            is += next_number(&workload?.path().join("log")) - 1;
        }
        Ok(Captured { is, wanted: lines })
    }

    async fn confirm(&self, _: &str, lines: u64) -> io::Result<()> {
        let listed = self
            .server
            .call("GET", "/api/workloads", &Value::Null)
            .await?;
        let id = listed["items"][0]["id"].as_str().unwrap_or_default();
        let path = format!("/api/workloads/{id}/logs?after={}", lines - 1);
        let page = self.server.call("GET", &path, &Value::Null).await?;
        let last = json!(lines.to_string());
        match page["items"].as_array() {
            Some(items) if items.iter().any(|item| item["line"] == last) => Ok(()),
            _ => Err(io::Error::other(format!(
                "the last line is missing: {page}"
            ))),
        }
    }

    fn daemon(&self) -> io::Result<u32> {
        self.server.pid()
    }

    /// The shim of each.
    async fn beside(&self) -> io::Result<Vec<u32>> {
        let listed = self
            .server
            .call("GET", "/api/workloads?limit=1000", &Value::Null)
            .await?;
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| {
                let pid = item["containerId"]
                    .as_str()
                    .and_then(|pid| pid.parse().ok());
                parent(pid.ok_or_else(|| io::Error::other(format!("no process: {item}")))?)
            })
            .collect()
    }

    async fn down(self) -> io::Result<()> {
        self.server.stop().await
    }
}
