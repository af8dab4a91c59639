//! Reads workflow documents and checks them.
//!
//! [`parse`] takes the text of a document, YAML or JSON, and gives either a
//! [`Workflow`] that can be run as it stands, or everything that is wrong with
//! the text, each finding with its place. What this version of Millrace does
//! not run is refused here and never ignored, and so are keys that the
//! language does not know.

pub mod diagnostic;
pub mod duration;
pub mod error_type;
pub mod model;
mod read;
pub mod schema;
mod source;
pub mod uri_template;

use std::sync::Arc;

pub use diagnostic::{Diagnostic, Severity};
pub use model::Workflow;

/// A document that can be run.
#[derive(Debug, Clone)]
pub struct Parsed {
    pub workflow: Arc<Workflow>,
    /// The document as JSON text: keys in their written order, numbers exact.
    pub definition_json: String,
    /// Findings that do not keep the document from running.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and checks a document, YAML or JSON.
///
/// On failure the findings hold at least one error; they are in the order of
/// the text, and warnings are among them.
pub fn parse(text: &str) -> Result<Parsed, Vec<Diagnostic>> {
    let root = source::read(text)?;
    let (workflow, findings) = read::workflow(&root);
    match workflow {
        Some(workflow) => Ok(Parsed {
            workflow: Arc::new(workflow),
            definition_json: root.to_json().to_string(),
            warnings: findings,
        }),
        None => Err(findings),
    }
}

/// What a document says, whether or not it can be run. `None` when it is
/// neither YAML nor JSON.
pub fn to_json(text: &str) -> Option<serde_json::Value> {
    source::read(text).ok().map(|root| root.to_json())
}

#[cfg(test)]
mod tests;
