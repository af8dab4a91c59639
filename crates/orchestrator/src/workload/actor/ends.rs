//! Ends of instances: those that are asked for, and those that come.

use std::time::{Duration, Instant};

use millrace_shim::record::Stage;
use millrace_store::InstanceRecord;
use millrace_types::{DesiredState, Timestamp, WorkloadStage};

use super::super::instance::Live;
use super::super::restart::{End, Next};
use super::Actor;
use crate::backend::Exit;
use crate::prepare::StageError;
use crate::spec::RestartRules;

/// How long a backend may take beyond the grace to kill what is left.
const KILL_TIME: Duration = Duration::from_secs(10);

impl Actor {
    pub(super) async fn ended(&mut self, live: Live, exit: Option<Exit>) {
        let rules = live.spec.restart.clone();
        let (record, end) = live.close(exit, "").await;
        let error = describe(&record);
        self.after_end(record, end, error, &rules).await;
    }

    /// An instance has ended that was not asked to: the policy decides.
    pub(super) async fn after_end(
        &mut self,
        record: InstanceRecord,
        end: End,
        error: StageError,
        rules: &RestartRules,
    ) {
        let text = format!("instance {} has ended: {error}", record.id);
        self.say(Stage::Running, text).await;
        self.nothing_serves();
        self.rules = rules.clone();
        if self.record.state.desired == DesiredState::Stopped {
            self.set_stage(WorkloadStage::Stopped);
            self.save(vec![record.clone()]).await;
            self.forget(&record);
            return;
        }
        match self.restarts.next(rules, end, Instant::now(), random()) {
            Next::Restart { after } => {
                self.retry_after(after);
                let mut error = error;
                if self.restarts.is_loop() {
                    error = StageError::new("crash-loop", error.message);
                }
                if after.is_zero() {
                    // The next one is made ready while that is being stored.
                    self.record.state.error = Some((error.reason.to_owned(), error.message));
                    self.pass_with(WorkloadStage::Failed, Some(record)).await;
                    return;
                }
                self.fail(error, vec![record.clone()]).await;
            }
            Next::Done => {
                self.record.state.desired = DesiredState::Stopped;
                self.record.state.error = None;
                self.set_stage(WorkloadStage::Stopped);
                self.save(vec![record.clone()]).await;
            }
            Next::Fail => self.fail(error, vec![record.clone()]).await,
            Next::GiveUp => {
                let error = given_up(rules, &error);
                self.fail(error, vec![record.clone()]).await;
            }
        }
        self.forget(&record);
    }

    /// Nothing runs of what was to be started. Who has `asked` for that is
    /// told; what is started again by itself is tried again, as after a crash,
    /// where that may help.
    pub(super) async fn not_started(&mut self, error: StageError, asked: bool) {
        if asked || !error.is_passing() {
            return self.fail(error, Vec::new()).await;
        }
        let end = End {
            code: None,
            ran: None,
            unhealthy: true,
        };
        let rules = self.rules.clone();
        let error = match self.restarts.next(&rules, end, Instant::now(), random()) {
            Next::Restart { after } => {
                self.retry_after(after);
                error
            }
            Next::GiveUp => given_up(&rules, &error),
            Next::Done | Next::Fail => error,
        };
        self.fail(error, Vec::new()).await;
    }

    /// Stored as well, however soon that is: whoever comes after this process
    /// has to know that there is something to do.
    fn retry_after(&mut self, after: Duration) {
        self.record.state.restarts = self.record.state.restarts.saturating_add(1);
        self.retry_at = Some(Instant::now() + after);
        self.record.state.next_retry_at = Some(Timestamp::now().saturating_add(after));
    }

    pub(super) async fn fail(&mut self, error: StageError, instances: Vec<InstanceRecord>) {
        self.nothing_serves();
        if instances.is_empty() {
            let text = format!("{}: {error}", error.reason);
            self.say(Stage::Deploy, text).await;
        }
        self.record.state.error = Some((error.reason.to_owned(), error.message));
        if self.record.state.stage != WorkloadStage::Failed {
            self.set_stage(WorkloadStage::Failed);
        }
        self.save(instances).await;
    }

    pub(super) fn nothing_serves(&mut self) {
        self.record.state.port = None;
        self.record.state.pid = None;
        self.record.state.ready = None;
    }

    /// Stops an instance and stores its end.
    pub(in crate::workload) async fn end(&mut self, live: Live, reason: &str) {
        let serves = self.record.state.pid == live.record.pid;
        let (record, _) = self.stop(live, reason).await;
        if serves {
            self.nothing_serves();
        }
        // Another one may serve still: of a candidate that is ended, or of the
        // two of a replacement.
        let another_serves = self.record.state.pid.is_some();
        let to_stop = self.record.state.desired == DesiredState::Stopped || self.leaving.is_some();
        if to_stop && !another_serves {
            self.record.state.error = None;
            if self.record.state.stage != WorkloadStage::Stopped {
                self.set_stage(WorkloadStage::Stopped);
            }
        }
        self.save(vec![record.clone()]).await;
        self.forget(&record);
    }

    /// Stops an instance. Calls are listened to meanwhile; it is stopped
    /// whatever they want.
    pub(in crate::workload) async fn stop(
        &mut self,
        mut live: Live,
        reason: &str,
    ) -> (InstanceRecord, End) {
        live.ask_to_stop().await;
        let patience = live.spec.stop.grace + KILL_TIME;
        let exit = {
            let ended = tokio::time::timeout(patience, live.instance.observe());
            tokio::pin!(ended);
            loop {
                tokio::select! {
                    biased;
                    exit = &mut ended => break exit,
                    Some(call) = self.calls.recv() => self.accept(call).await,
                }
            }
        };
        // One that does not answer any more is lost.
        live.close(exit.unwrap_or_default(), reason).await
    }

    /// After its end was stored. Nobody waits for its folders to be gone: what
    /// is left of them when this process dies is removed by the next.
    pub(in crate::workload) fn forget(&self, record: &InstanceRecord) {
        if let Some(port) = record.port {
            self.shared.ports.give_back(port, record.id);
        }
        let (backend, id) = (self.shared.backend.clone(), record.id);
        drop(tokio::task::spawn_blocking(move || backend.forget(id)));
    }
}

/// The end of an instance in a word and a sentence.
pub(in crate::workload) fn describe(record: &InstanceRecord) -> StageError {
    let (reason, message) = match (record.reason.as_str(), record.exit_code, record.signal) {
        ("out-of-memory", ..) => (
            "out-of-memory",
            "it was killed for using more memory than it may".to_owned(),
        ),
        ("lost", ..) => (
            "lost",
            "its shim is gone, and so is its exit code".to_owned(),
        ),
        (_, Some(code), _) => ("exited", format!("it exited with code {code}")),
        (_, _, Some(signal)) => ("killed", format!("it was ended by signal {signal}")),
        _ => ("exited", "it has ended".to_owned()),
    };
    StageError::new(reason, message)
}

fn given_up(rules: &RestartRules, error: &StageError) -> StageError {
    let message = format!(
        "it was restarted {} times within {} s; the last time: {error}",
        rules.max_restarts.unwrap_or(0),
        rules.window.as_secs()
    );
    StageError::new("crash-loop", message)
}

/// For jitter, which needs no quality: in 0..1.
fn random() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = RandomState::new().hash_one(Instant::now());
    f64::from(u32::try_from(bits >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}
