use std::time::Duration;

use serde_json::json;

use super::{Answers, Event, START, Status, World, check, count, run};

#[test]
fn a_wait_ends_at_its_absolute_time() {
    let tasks = "
do:
  - before: { set: { n: '${ .n + 1 }' } }
  - pause: { wait: { seconds: 8 } }
  - after: { set: { n: '${ .n + 1 }' } }
";
    let ran = run(tasks, &json!({"n": 0}));
    assert_eq!(ran.output(), &json!({"n": 2}));
    assert_eq!(ran.took, Duration::from_secs(8));
    assert_eq!(ran.checkpoints, 1);
    assert_eq!(ran.of_kind("timerSet"), ["pause"]);
    assert_eq!(ran.of_kind("timerFired"), ["pause"]);
}

#[test]
fn a_wait_that_was_taken_over_keeps_its_time() {
    let tasks = "do: [ { pause: { wait: PT8S } }, { after: { set: { done: true } } } ]";
    let mut world = World::new(tasks, &json!({}));
    let mut machine = world.start();
    assert_eq!(machine.run(world.now, 100), Status::Blocked);
    world.commit(&mut machine);
    drop(machine);

    // Five seconds later another process goes on; it waits for the other three.
    world.now = START.saturating_add(Duration::from_secs(5));
    let mut machine = world.resume();
    assert_eq!(machine.run(world.now, 100), Status::Blocked);
    assert!(!machine.is_changed());
    let due = START.saturating_add(Duration::from_secs(8));
    assert_eq!(machine.next_due(), Some(due));

    // One that comes late takes the timer as due without being told.
    let late = START.saturating_add(Duration::from_mins(1));
    let mut machine = world.resume();
    assert_eq!(machine.run(late, 100), Status::Ended);

    // And one whose clock is behind believes who woke it.
    let mut machine = world.resume();
    let ids: Vec<u64> = world.timers.keys().copied().collect();
    machine.handle(Event::TimersDue(ids), START);
    assert_eq!(machine.run(START, 100), Status::Ended);
}

#[test]
fn an_expression_gives_the_duration() {
    let ran = run(
        "do: [ { pause: { wait: '${ .for }' } } ]",
        &json!({"for": "PT2M"}),
    );
    assert_eq!(ran.took, Duration::from_mins(2));
}

#[test]
fn time_limits_break_off_what_takes_too_long() {
    check(&[
        (
            "
do:
  - attempt:
      try:
        - slow: { wait: PT1H, timeout: { after: PT5S } }
      catch:
        errors: { with: { type: 'https://serverlessworkflow.io/spec/1.0.0/errors/timeout', status: 408 } }
        do: [ { handle: { set: { at: '${ $error.instance }' } } } ]
",
            json!({}),
            json!({"at": "/do/0/attempt/try/0/slow"}),
        ),
        // Around several tasks.
        (
            "
do:
  - attempt:
      try:
        - slow:
            do: [ { one: { wait: PT3S } }, { two: { wait: PT3S } }, { three: { wait: PT3S } } ]
            timeout: { after: PT5S }
      catch: { do: [ { handle: { set: { at: '${ $error.instance }' } } } ] }
",
            json!({}),
            json!({"at": "/do/0/attempt/try/0/slow"}),
        ),
        // One that is not reached changes nothing.
        (
            "do: [ { quick: { wait: PT1S, timeout: { after: PT5S } } }, { long: { wait: PT1H } } ]",
            json!({"n": 1}),
            json!({"n": 1}),
        ),
    ]);
}

#[test]
fn what_is_broken_off_is_in_the_history() {
    let ran = run(
        "do: [ { slow: { do: [ { one: { wait: PT1H } } ], timeout: { after: PT5S } } } ]",
        &json!({}),
    );
    assert_eq!(
        ran.history()[1..],
        [
            "taskStarted slow 1",
            "taskStarted one 1",
            "timerSet one 1",
            "taskCancelled one 1",
            "taskFailed slow 1",
            "executionFailed  0",
        ]
    );
    assert_eq!(ran.took, Duration::from_secs(5));
}

#[test]
fn the_workflow_has_a_time_limit_that_nothing_catches() {
    let ran = run(
        "
timeout: { after: PT10S }
do:
  - attempt:
      try: [ { slow: { wait: PT1H } } ]
      catch: { do: [ { handle: { set: { caught: true } } } ] }
",
        &json!({}),
    );
    let fault = ran.fault();
    assert!(fault.kind.ends_with("/errors/timeout"), "{fault:?}");
    assert_eq!(fault.status, 408);
    assert_eq!(ran.took, Duration::from_secs(10));
}

#[test]
fn a_late_wake_fires_timers_in_the_order_of_their_times() {
    // Due together when the process comes back: the wait was first.
    let tasks = "do: [ { pause: { wait: PT3S, timeout: { after: PT5S } } } ]";
    let mut world = World::new(tasks, &json!({}));
    let mut machine = world.start();
    assert_eq!(machine.run(world.now, 100), Status::Blocked);
    world.commit(&mut machine);
    let mut machine = world.resume();
    let late = START.saturating_add(Duration::from_mins(1));
    assert_eq!(machine.run(late, 100), Status::Ended);
    assert!(matches!(
        machine.outcome(),
        Some(super::Outcome::Succeeded(_))
    ));
}

#[test]
fn an_attempt_has_a_time_limit_of_its_own() {
    const NEVER_FIRST: Answers = |request, before| count(request, before);
    let tasks = "
do:
  - attempt:
      try: [ { slow: { wait: '${ if $task.name == \"slow\" then \"PT1M\" else \"PT0S\" end }' } } ]
      catch:
        retry: { delay: PT1S, limit: { attempt: { count: 2, duration: PT10S } } }
        do: [ { handle: { set: { gaveUp: true } } } ]
";
    let ran = World::new(tasks, &json!({})).answering(NEVER_FIRST).run();
    assert_eq!(ran.output(), &json!({"gaveUp": true}));
    assert_eq!(ran.took, Duration::from_secs(10 + 1 + 10 + 1 + 10));
}

#[test]
fn retries_end_when_their_time_is_used_up() {
    let tasks = "
do:
  - attempt:
      try: [ { fail: { raise: { error: { type: 'https://a.b/c', status: 500 } } } } ]
      catch:
        retry: { delay: PT10S, limit: { duration: PT25S } }
        do: [ { handle: { set: { gaveUp: true } } } ]
";
    let ran = run(tasks, &json!({}));
    assert_eq!(ran.output(), &json!({"gaveUp": true}));
    assert_eq!(ran.took, Duration::from_secs(20));
    assert_eq!(ran.of_kind("retryScheduled").len(), 2);
}
