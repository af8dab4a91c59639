//! Compiled workflows, kept by the digest of their document.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::interpreter::Program;
use crate::language;

/// Why a definition cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnusableDefinition {
    #[error("the definition is not a document that this engine runs: {0}")]
    Refused(String),
    #[error("the definition is not JSON: {0}")]
    NotJson(String),
}

#[derive(Debug)]
struct Kept {
    program: Arc<Program>,
    /// Of the definition, so that a digest under which another one is sent
    /// is most likely noticed.
    length: usize,
    used: u64,
}

#[derive(Debug, Default)]
struct Shelf {
    kept: HashMap<String, Kept>,
    clock: u64,
}

/// A bounded cache; the one that was not used for longest goes first.
#[derive(Debug)]
pub(super) struct Programs {
    most: usize,
    shelf: Mutex<Shelf>,
}

impl Programs {
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            shelf: Mutex::default(),
        }
    }

    /// The workflow of this document, compiled now if it is not known.
    pub fn get(&self, digest: &str, json: &str) -> Result<Arc<Program>, UnusableDefinition> {
        if let Some(program) = self.known(digest, json.len()) {
            return Ok(program);
        }
        // Outside the lock: a compilation takes as long as many executions.
        let program = Arc::new(compile(json)?);
        if !digest.is_empty() {
            self.keep(digest, json.len(), Arc::clone(&program));
        }
        Ok(program)
    }

    fn known(&self, digest: &str, length: usize) -> Option<Arc<Program>> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.clock += 1;
        let now = shelf.clock;
        let kept = shelf.kept.get_mut(digest)?;
        if kept.length != length {
            return None;
        }
        kept.used = now;
        Some(Arc::clone(&kept.program))
    }

    fn keep(&self, digest: &str, length: usize, program: Arc<Program>) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.kept.len() >= self.most && !shelf.kept.contains_key(digest) {
            let oldest = shelf.kept.iter().min_by_key(|(_, kept)| kept.used);
            if let Some(victim) = oldest.map(|(digest, _)| digest.clone()) {
                shelf.kept.remove(&victim);
            }
        }
        let kept = Kept {
            program,
            length,
            used: shelf.clock,
        };
        shelf.kept.insert(digest.to_owned(), kept);
    }
}

fn compile(json: &str) -> Result<Program, UnusableDefinition> {
    let parsed = language::parse(json).map_err(|findings| {
        let first = findings
            .iter()
            .find(|finding| finding.severity == language::Severity::Error)
            .or(findings.first());
        UnusableDefinition::Refused(first.map_or_else(String::new, |finding| {
            format!("{}: {}", finding.pointer, finding.message)
        }))
    })?;
    Program::new(parsed.workflow, json)
        .map_err(|error| UnusableDefinition::NotJson(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str) -> String {
        format!(
            r#"{{"document":{{"dsl":"1.0.3","namespace":"n","name":"{name}","version":"1.0.0"}},"do":[{{"a":{{"set":{{"x":1}}}}}}]}}"#
        )
    }

    #[test]
    fn a_known_digest_is_not_compiled_again() {
        let programs = Programs::new(8);
        let first = programs.get("a", &document("a")).unwrap();
        let second = programs.get("a", &document("a")).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn the_least_used_one_makes_room() {
        let programs = Programs::new(2);
        let a = programs.get("a", &document("a")).unwrap();
        programs.get("b", &document("b")).unwrap();
        programs.get("a", &document("a")).unwrap();
        programs.get("c", &document("c")).unwrap();
        assert!(Arc::ptr_eq(&a, &programs.get("a", &document("a")).unwrap()));
        assert_eq!(programs.shelf.lock().unwrap().kept.len(), 2);
    }

    #[test]
    fn what_does_not_compile_is_an_error_and_not_kept() {
        let programs = Programs::new(2);
        assert!(programs.get("a", "{}").is_err());
        assert!(programs.shelf.lock().unwrap().kept.is_empty());
    }
}
