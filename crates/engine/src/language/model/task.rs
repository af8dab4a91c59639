//! Tasks, task lists and the plain control-flow tasks.

use std::sync::Arc;

use super::{
    CallHttp, Emit, Export, Expression, Input, Listen, Output, Raise, Template, Transform, Try,
};
use crate::language::duration::DurationSource;

/// Named tasks that run one after the other.
#[derive(Debug, Clone)]
pub struct TaskList {
    /// JSON pointer of the list, such as `/do` or `/do/0/tryGetPet/try`.
    pub pointer: Arc<str>,
    pub tasks: Arc<[NamedTask]>,
}

/// One entry of a task list.
#[derive(Debug, Clone)]
pub struct NamedTask {
    /// Unique within its list.
    pub name: Arc<str>,
    /// JSON pointer of the task, such as `/do/0/tryGetPet/try/0/getPet`.
    pub pointer: Arc<str>,
    pub task: Task,
}

#[derive(Debug, Clone)]
pub struct Task {
    pub common: TaskCommon,
    pub kind: TaskKind,
}

/// What every kind of task may carry.
#[derive(Debug, Clone, Default)]
pub struct TaskCommon {
    /// The task is skipped when this is not true of its raw input.
    pub if_: Option<Expression>,
    pub input: Input,
    pub output: Output,
    pub export: Export,
    pub timeout: Option<DurationSource>,
    /// Where to go on once the task has ended; `Continue` when not written.
    pub then: FlowDirective,
    pub metadata: Option<Arc<serde_json::Map<String, serde_json::Value>>>,
    /// The task as written, for `$task.definition`.
    pub definition: Arc<serde_json::Value>,
}

/// Where to go on after a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FlowDirective {
    /// The next task of the same list, or the end of the list.
    #[default]
    Continue,
    /// The end of the list that the task is in.
    Exit,
    /// The end of the workflow.
    End,
    /// The task at this index of the same list; it may lie before.
    Goto(usize),
}

/// The constructs of the language that this version runs. More will come
/// (`fork`, `run`).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TaskKind {
    Do(TaskList),
    Set(Set),
    Switch(Switch),
    For(For),
    Call(Call),
    Raise(Raise),
    Try(Try),
    Wait(Wait),
    Listen(Listen),
    Emit(Emit),
}

impl TaskKind {
    /// The key that tells this kind of task, such as `for`.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Do(_) => "do",
            Self::Set(_) => "set",
            Self::Switch(_) => "switch",
            Self::For(_) => "for",
            Self::Call(_) => "call",
            Self::Raise(_) => "raise",
            Self::Try(_) => "try",
            Self::Wait(_) => "wait",
            Self::Listen(_) => "listen",
            Self::Emit(_) => "emit",
        }
    }
}

/// Replaces the task's output.
#[derive(Debug, Clone)]
pub struct Set {
    /// An object, or one `${ … }` string.
    pub value: Template,
}

/// Goes on with the first case whose condition holds, else with the task's
/// own `then`.
#[derive(Debug, Clone)]
pub struct Switch {
    /// In written order, which is the order of evaluation.
    pub cases: Arc<[SwitchCase]>,
}

#[derive(Debug, Clone)]
pub struct SwitchCase {
    pub name: Arc<str>,
    /// `None` always holds.
    pub when: Option<Expression>,
    pub then: FlowDirective,
}

/// Runs a list once for each item.
#[derive(Debug, Clone)]
pub struct For {
    /// Variable that holds the item, without `$`; `item` when not written.
    pub each: Arc<str>,
    /// Variable that holds the index, without `$`; `index` when not written.
    pub at: Arc<str>,
    /// What to go through; must give an array.
    pub in_: Transform,
    /// Checked before each item, with both variables in scope.
    pub while_: Option<Expression>,
    pub do_: TaskList,
}

/// A call of something outside. More will come (`openapi`, functions).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Call {
    Http(Box<CallHttp>),
}

/// Waits for a time that is computed once.
#[derive(Debug, Clone)]
pub struct Wait {
    pub duration: DurationSource,
}

impl TaskList {
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&NamedTask> {
        self.tasks.get(index)
    }

    /// The list that `pointer` names: this one, or one inside its tasks.
    pub fn find_list(&self, pointer: &str) -> Option<&Self> {
        if *self.pointer == *pointer {
            return Some(self);
        }
        self.step_towards(pointer)?
            .task
            .kind
            .lists()
            .into_iter()
            .flatten()
            .find_map(|list| list.find_list(pointer))
    }

    /// The task that `pointer` names, in this list or inside its tasks.
    pub fn find_task(&self, pointer: &str) -> Option<&NamedTask> {
        let task = self.step_towards(pointer)?;
        if *task.pointer == *pointer {
            return Some(task);
        }
        task.task
            .kind
            .lists()
            .into_iter()
            .flatten()
            .find_map(|list| list.find_task(pointer))
    }

    /// The task of this list that is, or holds, what `pointer` names.
    fn step_towards(&self, pointer: &str) -> Option<&NamedTask> {
        let rest = pointer.strip_prefix(&*self.pointer)?.strip_prefix('/')?;
        let index = rest.split('/').next()?.parse::<usize>().ok()?;
        let task = self.tasks.get(index)?;
        let inside = pointer.strip_prefix(&*task.pointer)?;
        (inside.is_empty() || inside.starts_with('/')).then_some(task)
    }
}

impl TaskKind {
    /// The task lists directly inside this task.
    pub fn lists(&self) -> [Option<&TaskList>; 2] {
        match self {
            Self::Do(list) => [Some(list), None],
            Self::For(each) => [Some(&each.do_), None],
            Self::Try(attempt) => [Some(&attempt.try_), attempt.catch.do_.as_ref()],
            Self::Listen(listen) => {
                let each = listen.foreach.as_ref();
                [each.and_then(|each| each.do_.as_ref()), None]
            }
            Self::Set(_)
            | Self::Switch(_)
            | Self::Call(_)
            | Self::Raise(_)
            | Self::Wait(_)
            | Self::Emit(_) => [None, None],
        }
    }
}
