//! What is kept of an execution that failed: enough to enter the failed task
//! once more, in another execution.

use std::sync::Arc;

use millrace_types::Timestamp;

use super::event::{Detail, EventKind};
use super::frame::{Body, CorruptFrames, Frame, ROOT, TryPhase};
use super::machine::{About, Limits, Machine};
use super::program::Program;

/// A frame and those around it, out to the root.
pub(super) type Path = Vec<(u64, Frame)>;

impl Machine {
    /// The frames as they are now, from `id` outwards.
    pub(super) fn path(&self, id: u64) -> Path {
        let mut path = Path::new();
        let mut at = Some(id);
        while let Some(frame) = at.and_then(|id| Some((id, self.tree.get(id)?.clone()))) {
            // The items of a loop, and the events of a `foreach`.
            for child in self.tree.children(frame.0) {
                if let Some(below @ (Frame::Items(_) | Frame::Queued(_))) = self.tree.get(child) {
                    path.push((child, below.clone()));
                }
            }
            at = frame.1.parent();
            path.push(frame);
        }
        path
    }

    /// The frames of the task whose error nothing caught, set back so that it
    /// is to begin, and of those around it; with their JSON text. Empty when
    /// the execution has not failed in a task.
    ///
    /// Timers are left out: the time that tasks around it had is not what it
    /// has the next time. A `try` around it counts its attempts anew.
    pub fn failed_frames(&self) -> Vec<(u64, String)> {
        let failed = self.failed_at.iter().flatten();
        failed
            .enumerate()
            .map(|(place, (id, frame))| {
                let mut frame = frame.clone();
                match &mut frame {
                    Frame::Root(root) => root.deadline = None,
                    Frame::Items(_) | Frame::Queued(_) => {}
                    Frame::Task(task) => {
                        task.deadline = None;
                        // The items of a loop stand before it: a loop that
                        // failed as such begins anew, and needs none. So do
                        // the events of a `listen`.
                        if place == 0 {
                            task.body = Body::Ready;
                        } else if let Body::Try(body) = &mut task.body {
                            body.attempt = 1;
                            if let TryPhase::Attempt(timer) = &mut body.phase {
                                *timer = None;
                            }
                        }
                    }
                }
                (*id, frame.to_stored())
            })
            .collect()
    }

    /// A new execution that begins with the failed task of another, out of
    /// the frames that were kept of that one.
    pub fn rerun<'a>(
        program: Arc<Program>,
        about: About,
        limits: Limits,
        frames: impl IntoIterator<Item = (u64, &'a str)>,
        next_event_seq: u64,
        now: Timestamp,
    ) -> Result<Self, CorruptFrames> {
        let mut machine = Self::resume(program, about, limits, frames, next_event_seq, now)?;
        machine.record_execution(EventKind::ExecutionStarted, &Detail::default(), now);
        let tasks: Vec<u64> = machine.tree.iter().map(|(id, _)| id).collect();
        for id in tasks {
            machine.listen_again(id);
            if let Some(task) = machine.tree.task_mut(id) {
                task.started_at = now;
                if let Body::Try(body) = &mut task.body {
                    body.first_started_at = now;
                }
            }
        }
        if let Err(fault) = machine.bound(now) {
            machine.fail_execution(fault, now);
        }
        Ok(machine)
    }

    /// Keeps what is needed to enter the task again at which `path` begins.
    pub(super) fn keep(&mut self, path: Path) {
        // Without the items of a loop that failed as such.
        let begins = path
            .iter()
            .position(|(id, frame)| *id != ROOT && matches!(frame, Frame::Task(_)));
        self.failed_at = begins.map(|at| path.into_iter().skip(at).collect());
    }
}
