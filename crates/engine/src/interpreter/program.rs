//! A workflow made ready to be run many times.

use std::collections::HashMap;
use std::sync::Arc;

use crate::language::model::{TaskList, Workflow};
use crate::value::{self, Value};

/// A workflow, with what every execution of it would else compute again.
#[derive(Debug)]
pub struct Program {
    pub(super) workflow: Arc<Workflow>,
    /// The document as a value, for `$workflow.definition`.
    pub(super) definition: Value,
    /// Each task by its pointer as a value, for `$task.definition`.
    tasks: HashMap<Arc<str>, Value>,
}

impl Program {
    /// Names of the secrets that the document declares.
    pub fn secrets(&self) -> &[Arc<str>] {
        &self.workflow.secrets
    }

    /// Of a workflow and its document as JSON text.
    pub fn new(workflow: Arc<Workflow>, definition_json: &str) -> Result<Self, value::InvalidJson> {
        let definition = value::from_json(definition_json.as_bytes())?;
        let mut tasks = HashMap::new();
        collect(&workflow.do_, &mut tasks);
        Ok(Self {
            workflow,
            definition,
            tasks,
        })
    }

    pub(super) fn task_definition(&self, pointer: &str) -> Value {
        self.tasks.get(pointer).cloned().unwrap_or_default()
    }
}

fn collect(list: &TaskList, into: &mut HashMap<Arc<str>, Value>) {
    for named in list.tasks.iter() {
        let definition = value::from_serde(&named.task.common.definition);
        into.insert(Arc::clone(&named.pointer), definition);
        for inner in named.task.kind.lists().into_iter().flatten() {
            collect(inner, into);
        }
    }
}
