//! Dataobjects: a resource that its author describes in TypeScript is served
//! as a REST API. The server is JavaScript that this binary carries along
//! (`js/`), written out once for each version of it and run by Node.
//!
//! ```text
//!   service folder: index.ts ──┐
//!                              ├──▶ node main.mjs serve ──▶ HTTP on 127.0.0.1:$PORT
//!   cache folder: server-… ────┘             │
//!                                            ▼
//!   workload's data folder: data.db (SQLite, WAL, every answer on disk)
//! ```

mod check;
mod sources;

use std::path::{Path, PathBuf};

pub use check::{CheckError, check};
pub use sources::{InstallError, install};

use crate::node::Node;

/// The module that is loaded where `entry` names none.
pub const ENTRY: &str = "index.ts";

/// The declarations that let editors check a definition.
pub const TYPES: &str = include_str!("js/dataobject.d.ts");

/// The file in a workload's data folder that holds its records.
const DATA: &str = "data.db";

/// The command that serves `entry` with the data of `data_dir`; `server` is
/// what [`install`] answered.
pub fn command(node: &Node, server: &Path, entry: &Path, data_dir: &Path) -> Vec<String> {
    // Paths that are not UTF-8 are refused before they get here.
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    vec![
        text(node.program.clone()),
        // `node:sqlite` says at each start that it may still change.
        "--disable-warning=ExperimentalWarning".into(),
        text(server.join("main.mjs")),
        "serve".into(),
        text(entry.to_owned()),
        text(data_dir.join(DATA)),
    ]
}
