//! The machine: its state, how it starts, resumes and is driven.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use millrace_types::Timestamp;

use super::data;
use super::effect::{HttpAnswer, HttpFailure, HttpRequest};
use super::event::{Detail, EventKind, HistoryEvent};
use super::failed::Path;
use super::fault::{Fault, Standard};
use super::frame::{Body, CorruptFrames, Frame, ROOT, Root, TaskFrame, Timer};
use super::identity::Position;
use super::listen::{Listener, Received};
use super::program::Program;
use super::tree::Tree;
use crate::language::model::TaskKind;
use crate::value::{self, Value};

/// What is known of an execution besides its document.
#[derive(Debug, Clone)]
pub struct About {
    pub execution_id: String,
    /// The raw input.
    pub input: Value,
    /// When it started for the first time.
    pub started_at: Timestamp,
    /// The ownership epoch: goes out with effects.
    pub epoch: u64,
    /// `$secrets`, an object. Never stored.
    pub secrets: Value,
}

/// What bounds a runaway execution.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Task visits and loop iterations between two effects or waits.
    pub visits: u32,
    /// Bytes of memory that a single input, output or context may take; its
    /// JSON text is shorter but for oddities.
    pub value_weight: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            visits: 100_000,
            value_weight: 16 * 1024 * 1024,
        }
    }
}

/// What has happened outside.
#[derive(Debug)]
pub enum Event {
    /// Timers are due, by the clock of whoever keeps them. Unknown ones are
    /// of tasks that have ended since.
    TimersDue(Vec<u64>),
    /// The effect that frame `frame` asked for has ended.
    HttpDone {
        frame: u64,
        result: Result<HttpAnswer, HttpFailure>,
    },
    /// Events came for listeners; unknown ones are of tasks that have ended
    /// since.
    Received(Vec<Received>),
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Command {
    /// Make a call, once the changes until here are committed, and answer
    /// with [`Event::HttpDone`].
    Http {
        frame: u64,
        request: Box<HttpRequest>,
    },
    /// Nobody waits for this frame's effect any more.
    Abort { frame: u64 },
}

/// Where a run of steps has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The steps that were allowed are used up; there is more to do.
    Runnable,
    /// Nothing goes on without an effect's answer, a timer or an event.
    Blocked,
    /// [`Machine::outcome`] has the end.
    Ended,
}

/// How an execution ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    Succeeded(Value),
    Failed(Fault),
}

/// What has changed since the changes were last taken.
#[derive(Debug, Default)]
pub struct Changes {
    /// Frames with their JSON text.
    pub upsert_frames: Vec<(u64, String)>,
    pub delete_frames: Vec<u64>,
    pub set_timers: Vec<(u64, Timestamp)>,
    pub clear_timers: Vec<u64>,
    pub set_listeners: Vec<Listener>,
    pub clear_listeners: Vec<u64>,
    /// Listeners that are stored, with filters that like less than theirs.
    pub narrow_listeners: Vec<Listener>,
    /// Numbers of received events that need not be delivered again.
    pub consumed: Vec<u64>,
    /// Events to be published, as JSON texts.
    pub emits: Vec<String>,
    pub events: Vec<HistoryEvent>,
}

impl Changes {
    /// Bytes of the texts in it.
    pub fn size(&self) -> usize {
        let frames = self.upsert_frames.iter().map(|(_, text)| text.len());
        let events = self.events.iter();
        let events = events.map(|event| event.task.len() + event.detail.len());
        let listeners = self.set_listeners.iter().chain(&self.narrow_listeners);
        let filters = listeners.flat_map(|one| &one.filters);
        let filters = filters.map(|filter| filter.filter.len() + filter.event_type.len());
        let emits = self.emits.iter().map(String::len);
        frames.sum::<usize>()
            + events.sum::<usize>()
            + filters.sum::<usize>()
            + emits.sum::<usize>()
    }
}

/// Events, and their bytes, that are worth a checkpoint, which publishes them:
/// more must not come together than a message carries.
const EMITS: usize = 16;
const EMITTED_BYTES: usize = 1 << 20;

/// One execution.
#[derive(Debug)]
pub struct Machine {
    pub(super) program: Arc<Program>,
    pub(super) about: About,
    pub(super) limits: Limits,
    pub(super) tree: Tree,
    /// Leaves that can go on, in the order in which they became able to.
    pub(super) ready: VecDeque<u64>,
    pub(super) outcome: Option<Outcome>,
    /// Where it failed: see [`Machine::failed_frames`].
    pub(super) failed_at: Option<Path>,
    /// Visits and iterations since the last effect or wait.
    pub(super) visits: u32,
    commands: Vec<Command>,
    set_timers: BTreeMap<u64, Timestamp>,
    clear_timers: Vec<u64>,
    pub(super) set_listeners: BTreeMap<u64, Listener>,
    pub(super) clear_listeners: Vec<u64>,
    pub(super) narrow_listeners: BTreeMap<u64, Listener>,
    pub(super) consumed: Vec<u64>,
    /// Events to be published with the next checkpoint, or the end.
    emits: Vec<String>,
    /// Bytes of them.
    emitted: usize,
    events: Vec<HistoryEvent>,
    next_event_seq: u64,
    /// `$workflow`, which stays the same.
    pub(super) workflow_descriptor: Value,
}

impl Machine {
    /// A new execution. It may have ended already: its input may be refused.
    pub fn start(
        program: Arc<Program>,
        about: About,
        limits: Limits,
        next_event_seq: u64,
        now: Timestamp,
    ) -> Self {
        let root = Root {
            context: Value::Null,
            deadline: None,
        };
        let mut machine = Self::new(program, about, limits, Tree::new(root), next_event_seq);
        machine.record_execution(EventKind::ExecutionStarted, &Detail::default(), now);
        if let Err(fault) = machine.begin_workflow(now) {
            machine.fail_execution(fault, now);
        }
        machine
    }

    /// An execution as a checkpoint left it. Effects that were under way are
    /// asked for again.
    pub fn resume<'a>(
        program: Arc<Program>,
        about: About,
        limits: Limits,
        frames: impl IntoIterator<Item = (u64, &'a str)>,
        next_event_seq: u64,
        now: Timestamp,
    ) -> Result<Self, CorruptFrames> {
        let tree = Tree::from_stored(frames, &program.workflow)?;
        let mut machine = Self::new(program, about, limits, tree, next_event_seq);
        let mut effects = Vec::new();
        for (id, frame) in machine.tree.iter() {
            match frame {
                Frame::Task(task) if matches!(task.body, Body::Ready) => {
                    machine.ready.push_back(id);
                }
                Frame::Task(task) if matches!(task.body, Body::Effect) => effects.push(id),
                _ => {}
            }
        }
        for id in effects {
            if let Err(fault) = machine.request_effect(id) {
                machine.fail(id, fault, now);
            }
        }
        Ok(machine)
    }

    fn new(
        program: Arc<Program>,
        about: About,
        limits: Limits,
        tree: Tree,
        next_event_seq: u64,
    ) -> Self {
        let workflow_descriptor = value::object([
            ("id", value::string(about.execution_id.as_str())),
            ("definition", program.definition.clone()),
            ("input", about.input.clone()),
            ("startedAt", data::time_descriptor(about.started_at)),
        ]);
        Self {
            program,
            about,
            limits,
            tree,
            ready: VecDeque::new(),
            outcome: None,
            failed_at: None,
            visits: 0,
            commands: Vec::new(),
            set_timers: BTreeMap::new(),
            clear_timers: Vec::new(),
            set_listeners: BTreeMap::new(),
            clear_listeners: Vec::new(),
            narrow_listeners: BTreeMap::new(),
            consumed: Vec::new(),
            emits: Vec::new(),
            emitted: 0,
            events: Vec::new(),
            next_event_seq,
            workflow_descriptor,
        }
    }

    /// Checks and transforms the workflow's input and puts its first task in
    /// place.
    fn begin_workflow(&mut self, now: Timestamp) -> Result<(), Fault> {
        let workflow = Arc::clone(&self.program.workflow);
        let raw = self.about.input.clone();
        let input = self.workflow_input(&workflow.input, raw)?;
        self.set_deadline(&input, now)?;
        if workflow.do_.is_empty() {
            self.succeed(input, now);
        } else {
            self.put_ready(TaskFrame::ready(
                ROOT,
                workflow.do_.clone(),
                0,
                1,
                input,
                now,
            ));
        }
        Ok(())
    }

    /// Gives an execution that goes on where another failed the whole time that
    /// its document gives it.
    pub(super) fn bound(&mut self, now: Timestamp) -> Result<(), Fault> {
        let workflow = Arc::clone(&self.program.workflow);
        let raw = self.about.input.clone();
        let input = self.workflow_input(&workflow.input, raw)?;
        self.set_deadline(&input, now)
    }

    fn set_deadline(&mut self, input: &Value, now: Timestamp) -> Result<(), Fault> {
        let workflow = Arc::clone(&self.program.workflow);
        if let Some(timeout) = &workflow.timeout {
            let scope = self.workflow_scope(false);
            let after = data::duration(timeout, input, &scope, "/timeout")?;
            let timer = self.set_timer(now.saturating_add(after));
            self.tree.root_mut().deadline = Some(timer);
        }
        Ok(())
    }

    /// Takes up to `steps` steps, each of them short.
    pub fn run(&mut self, now: Timestamp, steps: u32) -> Status {
        self.fire_due(now);
        for _ in 0..steps {
            if self.outcome.is_some() {
                return Status::Ended;
            }
            if self.must_publish() {
                return Status::Runnable;
            }
            let Some(id) = self.ready.pop_front() else {
                return Status::Blocked;
            };
            self.begin(id, now);
        }
        if self.outcome.is_some() {
            return Status::Ended;
        }
        Status::Runnable
    }

    /// Takes in what has happened outside; [`Machine::run`] goes on from it.
    pub fn handle(&mut self, event: Event, now: Timestamp) {
        if self.outcome.is_some() {
            return;
        }
        match event {
            Event::TimersDue(ids) => self.fire_these(&ids, now),
            Event::HttpDone { frame, result } => self.effect_done(frame, result, now),
            Event::Received(received) => self.receive(received, now),
        }
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// What is to be done outside since the commands were last taken.
    pub fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Whether a checkpoint now would differ from the last one.
    pub fn is_changed(&self) -> bool {
        self.tree.is_changed()
            || !self.events.is_empty()
            || !self.set_timers.is_empty()
            || !self.clear_timers.is_empty()
            || !self.set_listeners.is_empty()
            || !self.clear_listeners.is_empty()
            || !self.narrow_listeners.is_empty()
            || !self.consumed.is_empty()
            || !self.emits.is_empty()
    }

    /// Whether a timer waits to be stored: its due time must outlive the
    /// process, however soon something else will be stored.
    pub fn has_new_timers(&self) -> bool {
        !self.set_timers.is_empty()
    }

    /// Whether events wait to be published.
    pub fn has_emits(&self) -> bool {
        !self.emits.is_empty()
    }

    /// Whether it could go on, and does so only when the events that wait to
    /// be published were taken: there are many of them, or large ones. A
    /// listener that comes right behind them is stored with them: their answer
    /// may be what it waits for.
    pub fn must_publish(&self) -> bool {
        let is_full = self.emits.len() >= EMITS || self.emitted >= EMITTED_BYTES;
        let next = self.ready.front().filter(|_| is_full);
        next.and_then(|id| self.tree.task(*id)).is_some_and(|task| {
            let next = &task.list.tasks[task.at].task;
            !matches!(next.kind, TaskKind::Listen(_))
        })
    }

    /// Events that are still to be published, once the execution has ended.
    pub fn take_emits(&mut self) -> Vec<String> {
        self.emitted = 0;
        std::mem::take(&mut self.emits)
    }

    /// Keeps an event for the next checkpoint, or the end.
    pub(super) fn emit(&mut self, event: String) {
        self.emitted += event.len();
        self.emits.push(event);
    }

    /// Ends the execution with an error from outside of its document.
    pub fn abandon(&mut self, fault: Fault, now: Timestamp) {
        self.fail_execution(fault, now);
    }

    /// How many lines of history wait for the next checkpoint.
    pub fn pending_events(&self) -> usize {
        self.events.len()
    }

    /// The sequence number that the next line of history will carry.
    pub fn next_event_seq(&self) -> u64 {
        self.next_event_seq
    }

    /// What the next checkpoint is to carry. From now on it counts as stored.
    pub fn take_changes(&mut self) -> Changes {
        let (upsert_frames, delete_frames) = self.tree.take_changes();
        Changes {
            upsert_frames,
            delete_frames,
            set_timers: std::mem::take(&mut self.set_timers).into_iter().collect(),
            clear_timers: std::mem::take(&mut self.clear_timers),
            set_listeners: std::mem::take(&mut self.set_listeners)
                .into_values()
                .collect(),
            clear_listeners: std::mem::take(&mut self.clear_listeners),
            narrow_listeners: std::mem::take(&mut self.narrow_listeners)
                .into_values()
                .collect(),
            consumed: std::mem::take(&mut self.consumed),
            emits: self.take_emits(),
            events: self.take_events(),
        }
    }

    /// The lines of history since the last checkpoint: all that an ended
    /// execution has still to store.
    pub fn take_events(&mut self) -> Vec<HistoryEvent> {
        std::mem::take(&mut self.events)
    }

    pub(super) fn command(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// Puts a task in place that is to begin.
    pub(super) fn put_ready(&mut self, task: TaskFrame) {
        let id = self.tree.insert(Frame::Task(task));
        self.ready.push_back(id);
    }

    pub(super) fn set_timer(&mut self, due: Timestamp) -> Timer {
        let id = self.tree.next_id();
        self.set_timers.insert(id, due);
        Timer { id, due }
    }

    /// One that was never stored needs no clearing.
    pub(super) fn clear_timer(&mut self, timer: Timer) {
        if self.set_timers.remove(&timer.id).is_none() {
            self.clear_timers.push(timer.id);
        }
    }

    /// Adds a line about the task in frame `id`.
    pub(super) fn record(&mut self, id: u64, kind: EventKind, detail: Detail, now: Timestamp) {
        let Some(task) = self.tree.task(id) else {
            return;
        };
        let pointer = task.pointer();
        let position = Position::of(&self.tree, id);
        let detail = Detail {
            iteration: position.iteration,
            visit: (position.visit > 1).then_some(position.visit),
            ..detail
        };
        self.push_event(kind, pointer, position.attempt, &detail, now);
    }

    /// Adds a line about the `try` in frame `id`, under the number of its own
    /// attempt instead of that of the attempt around it.
    pub(super) fn record_attempt(
        &mut self,
        id: u64,
        kind: EventKind,
        detail: Detail,
        attempt: u32,
        now: Timestamp,
    ) {
        self.record(id, kind, detail, now);
        if let Some(event) = self.events.last_mut() {
            event.attempt = attempt;
        }
    }

    pub(super) fn record_execution(&mut self, kind: EventKind, detail: &Detail, now: Timestamp) {
        self.push_event(kind, Arc::from(""), 0, detail, now);
    }

    fn push_event(
        &mut self,
        kind: EventKind,
        task: Arc<str>,
        attempt: u32,
        detail: &Detail,
        now: Timestamp,
    ) {
        self.events.push(HistoryEvent {
            seq: self.next_event_seq,
            at: now,
            kind,
            task,
            attempt,
            detail: detail.to_json(),
        });
        self.next_event_seq += 1;
    }

    /// Counts a visit; a fault once there were too many in a row.
    pub(super) fn count_visit(&mut self, pointer: &str) -> Result<(), Fault> {
        self.visits += 1;
        if self.visits <= self.limits.visits {
            return Ok(());
        }
        Err(Fault::new(
            Standard::Runtime,
            pointer,
            format!(
                "more than {} tasks ran without a call or a wait between them",
                self.limits.visits
            ),
        ))
    }
}
