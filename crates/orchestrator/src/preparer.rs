//! Making services of this orchestrator ready to run: dataobjects get their
//! server, and everything that has something to build is built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use millrace_service::CancellationToken;

use crate::build::{Builder, Plan};
use crate::dataobject::{self, CheckError};
use crate::node::{Node, NodeFinder};
use crate::prepare::{Prepare, PrepareRequest, PreparedCommand, StageError};
use crate::spec::{Finding, ServiceKind};

/// The name under which services learn where the gateway is.
const GATEWAY_URL: &str = "MILLRACE_GATEWAY_URL";

/// Prepares dataobjects and processes.
#[derive(Debug)]
pub struct ServicePreparer {
    nodes: NodeFinder,
    builder: Builder,
    gateway_url: Option<String>,
}

impl ServicePreparer {
    /// `gateway_url` is what services reach each other below, at
    /// `/services/{projectKey}/{service}/`; without it they cannot.
    pub fn new(nodes: NodeFinder, gateway_url: Option<String>) -> Self {
        Self {
            nodes,
            builder: Builder::new(),
            gateway_url,
        }
    }

    async fn node(&self, request: PrepareRequest<'_>) -> Result<Node, StageError> {
        self.nodes
            .find(request.project_dir)
            .await
            .map_err(|error| StageError::new("node-missing", error.to_string()))
    }

    /// The resource's module loads, and its definition is right.
    async fn check(&self, request: PrepareRequest<'_>) -> Result<Dataobject, StageError> {
        let entry = entry(request)?;
        let node = self.node(request).await?;
        let server = dataobject::install(request.cache_dir)
            .map_err(|error| StageError::new("internal", error.to_string()))?;
        let checked = dataobject::check(&node, &server, &entry, request).await;
        checked.map_err(|error| wrong(request, &error))?;
        Ok(Dataobject {
            node,
            server,
            entry,
        })
    }
}

/// A dataobject that can be served.
struct Dataobject {
    node: Node,
    server: PathBuf,
    entry: PathBuf,
}

#[async_trait]
impl Prepare for ServicePreparer {
    async fn validate(&self, request: PrepareRequest<'_>) -> Result<(), StageError> {
        match request.spec.kind {
            ServiceKind::Container => Err(StageError::new(
                "not-built",
                "this version runs no services of type container yet",
            )),
            ServiceKind::Process => Ok(()),
            // What it imports may be there only once it was built.
            ServiceKind::Dataobject if Plan::of(request.spec, request.dir).is_some() => {
                entry(request)?;
                self.node(request).await.map(drop)
            }
            ServiceKind::Dataobject => self.check(request).await.map(drop),
        }
    }

    async fn prepare(
        &self,
        request: PrepareRequest<'_>,
        cancel: CancellationToken,
    ) -> Result<PreparedCommand, StageError> {
        self.builder.build(request, &cancel).await?;
        let command = match request.spec.kind {
            ServiceKind::Dataobject => {
                let it = self.check(request).await?;
                dataobject::command(&it.node, &it.server, &it.entry, request.data_dir)
            }
            ServiceKind::Process | ServiceKind::Container => {
                let command = request.spec.command.clone();
                command.map(|command| command.0).unwrap_or_default()
            }
        };
        let gateway = self.gateway_url.clone();
        let env: BTreeMap<String, String> = gateway
            .map(|url| (GATEWAY_URL.to_owned(), url))
            .into_iter()
            .collect();
        Ok(PreparedCommand {
            command,
            working_dir: request.dir.to_owned(),
            env,
            writable: Vec::new(),
        })
    }
}

/// The module of a dataobject: a file of its own folder, whatever links say.
fn entry(request: PrepareRequest<'_>) -> Result<PathBuf, StageError> {
    let name = request.spec.entry.as_deref().unwrap_or(dataobject::ENTRY);
    let invalid = |message: String| {
        let mut error = StageError::new("invalid-spec", message.clone());
        error.findings.push(Finding {
            pointer: "/entry".into(),
            line: 0,
            column: 0,
            message,
        });
        error
    };
    let path = request
        .dir
        .join(name)
        .canonicalize()
        .map_err(|error| invalid(format!("`{name}` cannot be read: {error}")))?;
    if !path.starts_with(request.dir) {
        return Err(invalid(format!(
            "`{name}` lies outside of the service's folder"
        )));
    }
    if !path.is_file() || path.to_str().is_none() {
        return Err(invalid(format!(
            "`{name}` is not a file that can be loaded"
        )));
    }
    Ok(path)
}

fn wrong(request: PrepareRequest<'_>, error: &CheckError) -> StageError {
    let entry = request.spec.entry.as_deref().unwrap_or(dataobject::ENTRY);
    let entry = Path::new(entry).display();
    StageError::new("invalid-definition", format!("{entry}: {error}"))
}
