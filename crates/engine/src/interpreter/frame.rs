//! The parts of a continuation, and how they are stored.
//!
//! Frames form a tree: each but the root names its parent. A leaf is what is
//! to be done next, or what is being waited for; its ancestors hold what is
//! needed once it has ended. Today a parent has one task below it at a time;
//! a `fork` will have one for each branch.

use std::sync::Arc;

use millrace_types::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

use super::fault::Fault;
use crate::language::model::{NamedTask, TaskList, Workflow};
use crate::value::{self, Value};

/// Number of the root frame.
pub(super) const ROOT: u64 = 1;

/// A timer that a frame waits for. Its due time is computed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Timer {
    pub id: u64,
    pub due: Timestamp,
}

#[expect(clippy::large_enum_variant, reason = "nearly all frames are tasks")]
#[derive(Debug, Clone)]
pub(super) enum Frame {
    Root(Root),
    Task(TaskFrame),
    /// The items of a `for`, or what a `listen` has read of one event, apart
    /// from its frame so that a checkpoint in each iteration does not store
    /// them again. They never change.
    Items(Items),
    /// What was read of an event that waits for its turn in a `foreach`, or
    /// has it. They never change.
    Queued(Items),
}

/// The execution as a whole.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub context: Value,
    pub deadline: Option<Timer>,
}

#[derive(Debug, Clone)]
pub(super) struct Items {
    pub parent: u64,
    pub items: Value,
}

/// One visit of one task.
#[derive(Debug, Clone)]
pub(super) struct TaskFrame {
    pub parent: u64,
    /// The list that the task is in, and its index there.
    pub list: TaskList,
    pub at: usize,
    /// 1, and one more after each jump back within the list.
    pub visit: u32,
    pub started_at: Timestamp,
    /// Raw input.
    pub raw: Value,
    /// Input, once the raw one was transformed.
    pub input: Value,
    pub deadline: Option<Timer>,
    pub body: Body,
}

/// How far a task has come.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// Not begun: the next step begins it.
    Ready,
    /// An effect was asked for and has not answered.
    Effect,
    /// It has answered: the task ends within this very step.
    Answered,
    Waiting(Timer),
    Do,
    For(ForBody),
    Try(TryBody),
    Listening(ListenBody),
}

/// What was read of the events so far are frames of items below the task's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListenBody {
    /// Listeners that may still get events.
    pub open: Vec<u64>,
    /// The one whose event ends the task.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<u64>,
    /// The frame with the filters that leave something to the first event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub filters: Option<u64>,
    /// What that one has fixed.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub fixed: Map<String, Json>,
    /// How many events a `foreach` is done with.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub index: usize,
    /// The frame of the event that it works on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub current: Option<u64>,
}

impl ListenBody {
    pub fn has(&self, listener: u64) -> bool {
        self.open.contains(&listener) || self.until == Some(listener)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ForBody {
    /// Number of the frame with the items.
    pub items: u64,
    pub index: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TryBody {
    /// Counts from 1.
    pub attempt: u32,
    pub first_started_at: Timestamp,
    pub phase: TryPhase,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum TryPhase {
    /// The list is running; the timer bounds this attempt.
    Attempt(Option<Timer>),
    /// Until the next attempt.
    Backoff(Timer),
    /// `catch.do` is running because of this error.
    Catching(Fault),
}

impl TaskFrame {
    /// A task that is to begin.
    pub fn ready(
        parent: u64,
        list: TaskList,
        at: usize,
        visit: u32,
        raw: Value,
        now: Timestamp,
    ) -> Self {
        Self {
            parent,
            list,
            at,
            visit,
            started_at: now,
            input: Value::Null,
            raw,
            deadline: None,
            body: Body::Ready,
        }
    }

    pub fn named(&self) -> &NamedTask {
        &self.list.tasks[self.at]
    }

    pub fn pointer(&self) -> Arc<str> {
        Arc::clone(&self.named().pointer)
    }

    /// All timers that the frame owns, with what they are for.
    pub fn timers(&self) -> impl Iterator<Item = (Timer, TimerPurpose)> {
        let of_body = match &self.body {
            Body::Waiting(timer) => Some((*timer, TimerPurpose::Wait)),
            Body::Try(body) => match &body.phase {
                TryPhase::Attempt(timer) => timer.map(|timer| (timer, TimerPurpose::Attempt)),
                TryPhase::Backoff(timer) => Some((*timer, TimerPurpose::Retry)),
                TryPhase::Catching(_) => None,
            },
            Body::Ready
            | Body::Effect
            | Body::Answered
            | Body::Do
            | Body::For(_)
            | Body::Listening(_) => None,
        };
        let deadline = self.deadline.map(|timer| (timer, TimerPurpose::Timeout));
        of_body.into_iter().chain(deadline)
    }
}

/// What happens when a timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimerPurpose {
    Wait,
    Retry,
    /// The attempt of a `try` has used up its time.
    Attempt,
    /// The task, or the workflow, has used up its time.
    Timeout,
}

impl Frame {
    pub fn parent(&self) -> Option<u64> {
        match self {
            Self::Root(_) => None,
            Self::Task(task) => Some(task.parent),
            Self::Items(items) | Self::Queued(items) => Some(items.parent),
        }
    }

    /// Numbers of the listeners that the frame owns.
    pub fn listeners(&self) -> impl Iterator<Item = u64> {
        let body = match self {
            Self::Task(task) => match &task.body {
                Body::Listening(body) => Some(body),
                _ => None,
            },
            _ => None,
        };
        body.into_iter()
            .flat_map(|body| body.open.iter().chain(&body.until).copied())
    }

    pub fn timers(&self) -> Vec<(Timer, TimerPurpose)> {
        match self {
            Self::Root(root) => root
                .deadline
                .map(|timer| (timer, TimerPurpose::Timeout))
                .into_iter()
                .collect(),
            Self::Task(task) => task.timers().collect(),
            Self::Items(_) | Self::Queued(_) => Vec::new(),
        }
    }
}

/// A frame that cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorruptFrames {
    #[error("frame {id} cannot be read: {reason}")]
    Unreadable { id: u64, reason: String },
    #[error("frame {id} stands for task `{pointer}`, which the document does not have")]
    UnknownTask { id: u64, pointer: String },
    #[error("frame {id} refers to frame {missing}, which is not there")]
    Dangling { id: u64, missing: u64 },
}

/// A value within a stored frame: JSON text, byte for byte.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Text(Box<RawValue>);

impl Text {
    fn new(value: &Value) -> Self {
        let text = value::to_json(value);
        let raw = RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self(raw)
    }

    fn read(&self) -> Result<Value, String> {
        value::from_json(self.0.get().as_bytes()).map_err(|error| error.to_string())
    }
}

/// The stored form. Tasks are named by their pointer, which outlives changes
/// to how the engine keeps a workflow in memory.
#[expect(clippy::large_enum_variant, reason = "nearly all frames are tasks")]
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredFrame {
    Root {
        context: Text,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        deadline: Option<Timer>,
    },
    Task(StoredTask),
    Items {
        parent: u64,
        items: Text,
    },
    Queued {
        parent: u64,
        item: Text,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredTask {
    parent: u64,
    task: String,
    #[serde(skip_serializing_if = "is_one", default = "one")]
    visit: u32,
    started_at: Timestamp,
    /// Left out where nothing can look at it any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    raw: Option<Text>,
    /// Left out when it is the raw input.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    input: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    deadline: Option<Timer>,
    body: StoredBody,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredBody {
    Ready,
    Effect,
    Waiting(Timer),
    Do,
    For(ForBody),
    Try(TryBody),
    Listening(ListenBody),
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_zero(index: &usize) -> bool {
    *index == 0
}

const fn one() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_one(visit: &u32) -> bool {
    *visit == 1
}

impl Frame {
    /// The frame as JSON text.
    pub fn to_stored(&self) -> String {
        let stored = match self {
            Self::Root(root) => StoredFrame::Root {
                context: Text::new(&root.context),
                deadline: root.deadline,
            },
            Self::Items(items) => StoredFrame::Items {
                parent: items.parent,
                items: Text::new(&items.items),
            },
            Self::Queued(queued) => StoredFrame::Queued {
                parent: queued.parent,
                item: Text::new(&queued.items),
            },
            Self::Task(task) => StoredFrame::Task(task.to_stored()),
        };
        serde_json::to_string(&stored).expect("text, numbers and JSON are always JSON")
    }

    pub fn from_stored(id: u64, text: &str, workflow: &Workflow) -> Result<Self, CorruptFrames> {
        let unreadable = |reason: String| CorruptFrames::Unreadable { id, reason };
        let stored: StoredFrame =
            serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        Ok(match stored {
            StoredFrame::Root { context, deadline } => Self::Root(Root {
                context: context.read().map_err(unreadable)?,
                deadline,
            }),
            StoredFrame::Items { parent, items } => Self::Items(Items {
                parent,
                items: items.read().map_err(unreadable)?,
            }),
            StoredFrame::Queued { parent, item } => Self::Queued(Items {
                parent,
                items: item.read().map_err(unreadable)?,
            }),
            StoredFrame::Task(stored) => {
                let Some((list, at)) = place_of(workflow, &stored.task) else {
                    return Err(CorruptFrames::UnknownTask {
                        id,
                        pointer: stored.task,
                    });
                };
                Self::Task(stored.read(list, at).map_err(unreadable)?)
            }
        })
    }
}

/// The list that holds the task at `pointer`, and the task's index there.
fn place_of(workflow: &Workflow, pointer: &str) -> Option<(TaskList, usize)> {
    let (rest, _name) = pointer.rsplit_once('/')?;
    let (list, index) = rest.rsplit_once('/')?;
    let list = workflow.list(list)?;
    let at: usize = index.parse().ok()?;
    (*list.get(at)?.pointer == *pointer).then(|| (list.clone(), at))
}

impl TaskFrame {
    fn to_stored(&self) -> StoredTask {
        let body = match &self.body {
            Body::Ready => StoredBody::Ready,
            Body::Effect | Body::Answered => StoredBody::Effect,
            Body::Waiting(timer) => StoredBody::Waiting(*timer),
            Body::Do => StoredBody::Do,
            Body::For(body) => StoredBody::For(body.clone()),
            Body::Try(body) => StoredBody::Try(body.clone()),
            Body::Listening(body) => StoredBody::Listening(body.clone()),
        };
        let ready = matches!(self.body, Body::Ready);
        let same = ready || self.raw == self.input;
        StoredTask {
            parent: self.parent,
            task: self.pointer().to_string(),
            visit: self.visit,
            started_at: self.started_at,
            raw: self.needs_input().then(|| Text::new(&self.raw)),
            input: (self.needs_input() && !same).then(|| Text::new(&self.input)),
            deadline: self.deadline,
            body,
        }
    }

    /// Whether anything still to come looks at the task's input. A plain `do`
    /// has handed it to its first task.
    fn needs_input(&self) -> bool {
        let common = &self.named().task.common;
        !matches!(self.body, Body::Do) || common.output.as_.is_some() || common.export.as_.is_some()
    }
}

impl StoredTask {
    fn read(self, list: TaskList, at: usize) -> Result<TaskFrame, String> {
        let raw = self.raw.map_or(Ok(Value::Null), |text| text.read())?;
        let input = match self.input {
            Some(text) => text.read()?,
            None => raw.clone(),
        };
        Ok(TaskFrame {
            parent: self.parent,
            list,
            at,
            visit: self.visit,
            started_at: self.started_at,
            raw,
            input,
            deadline: self.deadline,
            body: match self.body {
                StoredBody::Ready => Body::Ready,
                StoredBody::Effect => Body::Effect,
                StoredBody::Waiting(timer) => Body::Waiting(timer),
                StoredBody::Do => Body::Do,
                StoredBody::For(body) => Body::For(body),
                StoredBody::Try(body) => Body::Try(body),
                StoredBody::Listening(body) => Body::Listening(body),
            },
        })
    }
}
