//! Attempts, catching and retrying. A caught error is retried first, as long
//! as the policy allows it; then `catch.do` runs.

use std::sync::Arc;

use millrace_types::Timestamp;

use super::begin::Begun;
use super::data;
use super::event::{Detail, EventKind};
use super::fault::Fault;
use super::frame::{Body, TaskFrame, TryBody, TryPhase};
use super::identity::Identity;
use super::machine::Machine;
use super::retry::{Backoff, Schedule};
use super::scope::{Several, Stage};
use crate::expression::Expression;
use crate::language::model::{self, Catch, FlowDirective, RetryPolicy, TaskKind, Try};
use crate::value::Value;

impl Machine {
    /// Begins the list of a `try` whose body is in place.
    pub(super) fn begin_attempt(
        &mut self,
        id: u64,
        attempt: &Try,
        input: Value,
        then: FlowDirective,
        now: Timestamp,
    ) -> Result<Begun, Fault> {
        let limit = attempt
            .catch
            .retry
            .as_ref()
            .and_then(|policy| policy.limit.attempt_duration.as_ref());
        let timer = match limit {
            None => None,
            Some(limit) => {
                let pointer = self.pointer_of(id);
                let scope = self.scope(id, Stage::Body, &Several);
                let after = data::duration(limit, &input, &scope, &pointer)?;
                Some(self.set_timer(now.saturating_add(after)))
            }
        };
        self.set_phase(id, TryPhase::Attempt(timer));
        Ok(self.begin_list(id, &attempt.try_, input, then, now))
    }

    /// Begins the attempt after the one that failed.
    pub(super) fn next_attempt(&mut self, id: u64, attempt: &Try, now: Timestamp) {
        let Some(body) = self.try_body(id) else {
            return;
        };
        self.set_body(
            id,
            Body::Try(TryBody {
                attempt: body.attempt + 1,
                phase: TryPhase::Attempt(None),
                ..body
            }),
        );
        let Some(task) = self.tree.task(id) else {
            return;
        };
        let input = task.input.clone();
        let then = task.named().task.common.then;
        match self.begin_attempt(id, attempt, input, then, now) {
            Ok(Begun::UnderWay) => {}
            Ok(Begun::Done(output, then)) => {
                self.finish(id, output, then, Detail::default(), now);
            }
            Err(fault) => self.fail(id, fault, now),
        }
    }

    /// The attempt below frame `id` has failed as a whole.
    pub(super) fn fail_attempt(&mut self, id: u64, fault: Fault, now: Timestamp) {
        match self.offer_to_catch(id, &fault, now) {
            Ok(true) => {}
            Ok(false) => self.fail(id, fault, now),
            Err(other) => self.fail(id, other, now),
        }
    }

    /// Offers an error from below frame `id` to it. `true` when it takes it,
    /// and goes on; an error of its own when its conditions cannot be
    /// evaluated.
    pub(super) fn offer_to_catch(
        &mut self,
        id: u64,
        fault: &Fault,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let Some(task) = self.tree.task(id) else {
            return Ok(false);
        };
        let list = task.list.clone();
        let TaskKind::Try(attempt) = &list.tasks[task.at].task.kind else {
            return Ok(false);
        };
        let Some(body) = self.try_body(id) else {
            return Ok(false);
        };
        let TryPhase::Attempt(timer) = body.phase else {
            // An error of `catch.do` is not for the same `catch`.
            return Ok(false);
        };
        if !self.is_caught(id, &attempt.catch, fault)? {
            return Ok(false);
        }
        if let Some(timer) = timer {
            self.set_phase(id, TryPhase::Attempt(None));
            self.clear_timer(timer);
        }
        if let Some(policy) = &attempt.catch.retry
            && let Some(due) = self.retry_due(id, &attempt.catch, policy, fault, now)?
        {
            let detail = Detail {
                error: Some(fault.clone()),
                next_attempt: Some(body.attempt + 1),
                due_at: Some(due),
                ..Detail::default()
            };
            self.record_attempt(id, EventKind::RetryScheduled, detail, body.attempt, now);
            if due <= now {
                self.next_attempt(id, attempt, now);
            } else {
                let timer = self.set_timer(due);
                self.set_phase(id, TryPhase::Backoff(timer));
            }
            return Ok(true);
        }
        let detail = Detail {
            error: Some(fault.clone()),
            ..Detail::default()
        };
        self.record_attempt(id, EventKind::ErrorCaught, detail, body.attempt, now);
        self.begin_catch(id, &attempt.catch, fault.clone(), now);
        Ok(true)
    }

    fn begin_catch(&mut self, id: u64, catch: &Catch, fault: Fault, now: Timestamp) {
        self.set_phase(id, TryPhase::Catching(fault));
        let Some(task) = self.tree.task(id) else {
            return;
        };
        let input = task.input.clone();
        let then = catch.then.unwrap_or(task.named().task.common.then);
        let begun = match &catch.do_ {
            Some(list) => self.begin_list(id, list, input, then, now),
            None => Begun::Done(input, then),
        };
        if let Begun::Done(output, then) = begun {
            self.finish(id, output, then, Detail::default(), now);
        }
    }

    fn is_caught(&self, id: u64, catch: &Catch, fault: &Fault) -> Result<bool, Fault> {
        if let Some(filter) = &catch.errors {
            let error = serde_json::to_value(fault).unwrap_or_default();
            if !filter.matches(&error) {
                return Ok(false);
            }
        }
        self.conditions_hold(
            id,
            catch,
            fault,
            catch.when.as_ref(),
            catch.except_when.as_ref(),
        )
    }

    /// Whether `when` holds and `exceptWhen` does not. Both see the input of
    /// the `try` and the error in its variable.
    fn conditions_hold(
        &self,
        id: u64,
        catch: &Catch,
        fault: &Fault,
        when: Option<&Expression>,
        except_when: Option<&Expression>,
    ) -> Result<bool, Fault> {
        let Some(task) = self.tree.task(id) else {
            return Ok(false);
        };
        if when.is_none() && except_when.is_none() {
            return Ok(true);
        }
        let pointer = task.pointer();
        let mut scope = self.scope(id, Stage::Body, &Several);
        scope.set(Arc::clone(&catch.as_), fault.to_value());
        if let Some(when) = when
            && !data::holds(when, &task.input, &scope, &pointer)?
        {
            return Ok(false);
        }
        match except_when {
            Some(except) => Ok(!data::holds(except, &task.input, &scope, &pointer)?),
            None => Ok(true),
        }
    }

    /// When the next attempt is due; `None` when there is to be none.
    fn retry_due(
        &self,
        id: u64,
        catch: &Catch,
        policy: &RetryPolicy,
        fault: &Fault,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Fault> {
        let (Some(task), Some(body)) = (self.tree.task(id), self.try_body(id)) else {
            return Ok(None);
        };
        let when = policy.when.as_ref();
        if !self.conditions_hold(id, catch, fault, when, policy.except_when.as_ref())? {
            return Ok(None);
        }
        let pointer = task.pointer();
        let scope = self.scope(id, Stage::Body, &Several);
        let duration = |source| data::duration(source, &task.input, &scope, &pointer);
        let schedule = Schedule {
            delay: policy
                .delay
                .as_ref()
                .map(duration)
                .transpose()?
                .unwrap_or_default(),
            backoff: match policy.backoff {
                model::Backoff::Constant => Backoff::Constant,
                model::Backoff::Linear => Backoff::Linear,
                model::Backoff::Exponential => Backoff::Exponential,
            },
            jitter: match &policy.jitter {
                None => None,
                Some(jitter) => Some((duration(&jitter.from)?, duration(&jitter.to)?)),
            },
            retries: policy.limit.attempt_count,
            within: policy.limit.duration.as_ref().map(duration).transpose()?,
        };
        let seed = Identity::of(&self.about.execution_id, &self.tree, id).seed();
        Ok(schedule.next(body.attempt, seed, body.first_started_at, now))
    }

    pub(super) fn set_phase(&mut self, id: u64, phase: TryPhase) {
        if let Some(task) = self.tree.task_mut(id)
            && let Body::Try(body) = &mut task.body
        {
            body.phase = phase;
        }
    }

    fn try_body(&self, id: u64) -> Option<TryBody> {
        match &self.tree.task(id)?.body {
            Body::Try(body) => Some(body.clone()),
            _ => None,
        }
    }

    fn pointer_of(&self, id: u64) -> Arc<str> {
        self.tree
            .task(id)
            .map_or_else(|| Arc::from(""), TaskFrame::pointer)
    }
}
