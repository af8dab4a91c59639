//! The machine is driven here by a world without I/O: a store of frames and
//! timers, a clock that jumps to what is due next, and a function that
//! answers calls. Any run can be broken off at each checkpoint.

mod data_flow;
mod failed;
mod faults;
mod flow;
mod foreach;
mod limits;
mod listen;
mod resume;
mod time;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use millrace_types::Timestamp;
use serde_json::{Value as Json, json};

use super::{
    About, Command, Event, FailureKind, Fault, HistoryEvent, HttpAnswer, HttpFailure, HttpRequest,
    Limits, Listener, Machine, Outcome, Program, Received, Status,
};
use crate::language;
use crate::value::{self, Value};

const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// What answers a call: the request, and how many came before it.
type Answers = fn(&HttpRequest, usize) -> Result<HttpAnswer, HttpFailure>;

/// A world for one execution.
struct World {
    program: Arc<Program>,
    input: Value,
    limits: Limits,
    secrets: Json,
    answers: Answers,
    /// Whether the process dies after each checkpoint.
    restarts: bool,
    now: Timestamp,
    frames: BTreeMap<u64, String>,
    timers: BTreeMap<u64, Timestamp>,
    listeners: BTreeMap<u64, Listener>,
    /// Events that come while nothing else is to be done, each as
    /// (milliseconds since the one before, event).
    posts: VecDeque<(u64, Json)>,
    /// What came for listeners, until it is consumed.
    inbox: Vec<Received>,
    emits: Vec<Json>,
    events: Vec<HistoryEvent>,
    requests: Vec<HttpRequest>,
    checkpoints: usize,
    /// Kept of another execution, to begin with.
    kept: Vec<(u64, String)>,
}

/// How it went.
struct Ran {
    outcome: Result<Json, Fault>,
    events: Vec<HistoryEvent>,
    requests: Vec<HttpRequest>,
    checkpoints: usize,
    took: Duration,
    emits: Vec<Json>,
    kept: Vec<(u64, String)>,
}

fn yaml(tasks: &str) -> String {
    format!(
        "document:\n  dsl: '1.0.3'\n  namespace: test\n  name: test\n  version: '1.0.0'\n{tasks}"
    )
}

fn program(tasks: &str) -> Arc<Program> {
    let parsed = language::parse(&yaml(tasks)).unwrap_or_else(|found| panic!("{found:#?}"));
    Arc::new(Program::new(parsed.workflow, &parsed.definition_json).unwrap())
}

/// Answers with 200 and the number of the call.
#[expect(clippy::unnecessary_wraps, reason = "the signature of `Answers`")]
fn count(_: &HttpRequest, before: usize) -> Result<HttpAnswer, HttpFailure> {
    Ok(HttpAnswer {
        status: 200,
        output: value::from_serde(&json!({"call": before + 1})),
    })
}

impl World {
    fn new(tasks: &str, input: &Json) -> Self {
        Self {
            program: program(tasks),
            input: value::from_serde(input),
            limits: Limits::default(),
            secrets: Json::Object(serde_json::Map::new()),
            answers: count,
            restarts: false,
            now: START,
            frames: BTreeMap::new(),
            timers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            posts: VecDeque::new(),
            inbox: Vec::new(),
            emits: Vec::new(),
            events: Vec::new(),
            requests: Vec::new(),
            checkpoints: 0,
            kept: Vec::new(),
        }
    }

    /// Begins where another one failed.
    fn going_on_from(mut self, failed: &Ran) -> Self {
        self.kept.clone_from(&failed.kept);
        self.frames = failed.kept.iter().cloned().collect();
        self
    }

    fn answering(mut self, answers: Answers) -> Self {
        self.answers = answers;
        self
    }

    fn about(&self) -> About {
        About {
            execution_id: "exe_test".to_owned(),
            input: self.input.clone(),
            started_at: START,
            epoch: 7,
            secrets: value::from_serde(&self.secrets),
        }
    }

    fn start(&self) -> Machine {
        let program = Arc::clone(&self.program);
        if !self.kept.is_empty() {
            let kept = self.kept.iter().map(|(id, text)| (*id, text.as_str()));
            return Machine::rerun(program, self.about(), self.limits, kept, 1, self.now)
                .unwrap_or_else(|error| panic!("{error}: {:#?}", self.kept));
        }
        Machine::start(program, self.about(), self.limits, 1, self.now)
    }

    fn resume(&self) -> Machine {
        let frames = self.frames.iter().map(|(id, text)| (*id, text.as_str()));
        let next_seq = self.events.len() as u64 + 1;
        let program = Arc::clone(&self.program);
        Machine::resume(
            program,
            self.about(),
            self.limits,
            frames,
            next_seq,
            self.now,
        )
        .unwrap_or_else(|error| panic!("{error}: {:#?}", self.frames))
    }

    fn commit(&mut self, machine: &mut Machine) {
        if !machine.is_changed() {
            return;
        }
        let changes = machine.take_changes();
        assert!(!machine.is_changed());
        for (id, text) in changes.upsert_frames {
            self.frames.insert(id, text);
        }
        for id in changes.delete_frames {
            assert!(
                self.frames.remove(&id).is_some(),
                "frame {id} was not there"
            );
        }
        for id in changes.clear_timers {
            assert!(
                self.timers.remove(&id).is_some(),
                "timer {id} was not there"
            );
        }
        for (id, due) in changes.set_timers {
            assert!(
                self.timers.insert(id, due).is_none(),
                "timer {id} was there"
            );
        }
        for id in changes.clear_listeners {
            assert!(
                self.listeners.remove(&id).is_some(),
                "listener {id} was not there"
            );
            self.inbox.retain(|one| one.listener != id);
        }
        for listener in changes.set_listeners {
            self.listeners.insert(listener.id, listener);
        }
        for listener in changes.narrow_listeners {
            let known = self.listeners.get_mut(&listener.id);
            known.expect("a listener that is there").filters = listener.filters;
        }
        self.inbox
            .retain(|one| !changes.consumed.contains(&one.number));
        self.publish(&changes.emits);
        self.events.extend(changes.events);
        self.checkpoints += 1;
    }

    fn publish(&mut self, emits: &[String]) {
        let emits = emits.iter();
        self.emits
            .extend(emits.map(|text| serde_json::from_str::<Json>(text).unwrap()));
    }

    /// The next event comes, for those that listen to its type.
    fn post(&mut self) -> bool {
        let Some((after, event)) = self.posts.pop_front() else {
            return false;
        };
        self.now = self.now.saturating_add(Duration::from_millis(after));
        for listener in self.listeners.values() {
            let likes = |kind: &str| kind.is_empty() || event["type"] == kind;
            if listener.filters.iter().any(|f| likes(&f.event_type)) {
                self.inbox.push(Received {
                    number: self.posts.len() as u64 + 100 * listener.id,
                    listener: listener.id,
                    at: self.now,
                    event: value::from_serde(&event),
                });
            }
        }
        true
    }

    fn run(mut self) -> Ran {
        let mut machine = self.start();
        let mut due: Vec<u64> = Vec::new();
        loop {
            machine.handle(Event::Received(self.inbox.clone()), self.now);
            machine.handle(Event::TimersDue(std::mem::take(&mut due)), self.now);
            while machine.run(self.now, 7) == Status::Runnable {}
            if let Some(outcome) = machine.outcome().cloned() {
                self.events.extend(machine.take_events());
                self.publish(&machine.take_emits());
                let kept = machine.failed_frames();
                return self.ended(outcome, kept);
            }
            self.commit(&mut machine);
            if self.restarts {
                machine = self.resume();
                assert!(!machine.is_changed(), "resuming alone changes something");
            }
            let stored: Vec<_> = self.timers.values().copied().min().into_iter().collect();
            assert_eq!(machine.next_due().into_iter().collect::<Vec<_>>(), stored);
            let commands = machine.take_commands();
            if commands.is_empty() && !self.post() {
                let (id, at) = self
                    .timers
                    .iter()
                    .min_by_key(|(_, due)| **due)
                    .expect("the execution waits for nothing");
                due.push(*id);
                self.now = self.now.max(*at);
            }
            for command in commands {
                let Command::Http { frame, request } = command else {
                    continue;
                };
                self.now = self.now.saturating_add(Duration::from_millis(1));
                let result = (self.answers)(&request, self.requests.len());
                self.requests.push(*request);
                machine.handle(Event::HttpDone { frame, result }, self.now);
            }
        }
    }

    fn ended(self, outcome: Outcome, kept: Vec<(u64, String)>) -> Ran {
        for (index, event) in self.events.iter().enumerate() {
            assert_eq!(event.seq, index as u64 + 1, "the sequence has a gap");
        }
        Ran {
            outcome: match outcome {
                Outcome::Succeeded(output) => Ok(value::to_serde(&output)),
                Outcome::Failed(fault) => Err(fault),
            },
            events: self.events,
            requests: self.requests,
            checkpoints: self.checkpoints,
            took: self.now.saturating_since(START),
            emits: self.emits,
            kept,
        }
    }
}

impl Ran {
    /// The history as `kind task attempt`, tasks by their last name.
    fn history(&self) -> Vec<String> {
        self.events
            .iter()
            .map(|event| {
                let name = event.task.rsplit('/').next().unwrap_or_default();
                format!("{} {name} {}", event.kind.as_str(), event.attempt)
            })
            .collect()
    }

    /// Names of the tasks with a line of this kind, in order.
    fn of_kind(&self, kind: &str) -> Vec<String> {
        self.events
            .iter()
            .filter(|event| event.kind.as_str() == kind)
            .map(|event| event.task.rsplit('/').next().unwrap_or_default().to_owned())
            .collect()
    }

    fn output(&self) -> &Json {
        self.outcome
            .as_ref()
            .unwrap_or_else(|fault| panic!("it failed: {fault:?}"))
    }

    fn fault(&self) -> &Fault {
        match &self.outcome {
            Ok(output) => panic!("it succeeded: {output}"),
            Err(fault) => fault,
        }
    }
}

fn run(tasks: &str, input: &Json) -> Ran {
    World::new(tasks, input).run()
}

/// Runs each document on its input and compares the output.
fn check(table: &[(&str, Json, Json)]) {
    for (tasks, input, expected) in table {
        let ran = run(tasks, input);
        assert_eq!(ran.output(), expected, "{tasks}");
    }
}
