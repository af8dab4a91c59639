//! What an orchestrator is told.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use crate::prepare::{Prepare, RunAsIs};

/// Settings of one orchestrator.
#[derive(Clone)]
pub struct OrchestratorConfig {
    /// It owns the workloads that were made here. The same after a restart;
    /// no two that run at once have the same.
    pub node_id: String,
    /// Logs, run folders and data of services. For this orchestrator alone.
    pub data_dir: PathBuf,
    /// Where projects may lie; `None`: anywhere.
    pub roots: Option<Vec<PathBuf>>,
    /// What services listen on.
    pub ports: RangeInclusive<u16>,
    /// A folder with one file for each secret.
    pub secrets_dir: Option<PathBuf>,
    /// Where others reach what listens on this host.
    pub host: String,
    /// How many files a service may open unless it asks for more, or its
    /// `service.json` says; `None`: as many as this process.
    pub open_files: Option<u64>,
    /// Makes services ready to run.
    pub prepare: Arc<dyn Prepare>,
}

impl OrchestratorConfig {
    /// Settings with the defaults, for a node that keeps its things in
    /// `data_dir`.
    pub fn new(node_id: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            node_id: node_id.into(),
            data_dir: data_dir.into(),
            roots: Some(Vec::new()),
            ports: 3100..=3200,
            secrets_dir: None,
            host: "127.0.0.1".into(),
            open_files: None,
            prepare: Arc::new(RunAsIs),
        }
    }
}

impl fmt::Debug for OrchestratorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrchestratorConfig")
            .field("node_id", &self.node_id)
            .field("data_dir", &self.data_dir)
            .field("roots", &self.roots)
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}
