//! Events that are worked on one after the other.

use std::collections::HashSet;

use serde_json::{Value as Json, json};

use super::listen::{event, listening};
use super::{FailureKind, HttpAnswer, HttpFailure, HttpRequest, Ran, World, count};

fn ticks(count: u64) -> Vec<Json> {
    let ticks = (1..=count).map(|n| event(n, "t", &json!(n)));
    ticks.collect()
}

#[test]
fn each_event_is_worked_on_in_its_order() {
    let tasks = "
do:
  - it:
      listen:
        to: { any: [ { with: { type: t } } ], until: { one: { with: { type: stop } } } }
      foreach:
        item: n
        at: i
        do:
          - double: { set: { twice: '${ . + $n }', at: '${ $i }' } }
        output: { as: '${ {n: $n, i: $i, twice, at} }' }
        export: { as: '($context // 0) + $output.twice' }
  - sum: { set: { sum: '${ $context }', events: '${ . }' } }
";
    let mut events = ticks(3);
    events.push(event(9, "stop", &json!(9)));
    let ran = listening(tasks, &events);
    let done = |n: u64| json!({"n": n, "i": n - 1, "twice": 2 * n, "at": n - 1});
    let expected = json!({"sum": 12, "events": [done(1), done(2), done(3)]});
    assert_eq!(ran.output(), &expected);
    assert_eq!(iterations(&ran, "double"), [0, 1, 2]);
}

/// The iterations in which a task was begun.
fn iterations(ran: &Ran, task: &str) -> Vec<u64> {
    let begun = ran.events.iter().filter(|event| {
        event.kind.as_str() == "taskStarted" && event.task.ends_with(&format!("/{task}"))
    });
    begun
        .map(|event| {
            let detail: Json = serde_json::from_str(&event.detail).unwrap();
            detail["iteration"][0].as_u64().unwrap()
        })
        .collect()
}

/// Takes three seconds for each event; they come every second.
const SLOW: &str = "
do:
  - it:
      listen:
        to: { any: [ { with: { type: t } } ], until: { one: { with: { type: stop } } } }
      foreach:
        do:
          - nap: { wait: PT3S }
          - call: { call: http, with: { method: get, endpoint: http://a } }
        output: { as: '${ {event: $item, index: $index} }' }
";

#[test]
fn what_comes_meanwhile_waits_for_its_turn() {
    let mut events = ticks(5);
    events.push(event(9, "stop", &json!(0)));
    // Not taken any more, though work goes on.
    events.push(event(10, "t", &json!(10)));
    let ran = listening(SLOW, &events);
    let expected: Vec<Json> = (1..=5)
        .map(|n| json!({"event": n, "index": n - 1}))
        .collect();
    assert_eq!(ran.output(), &Json::from(expected));
    assert_eq!(ran.requests.len(), 5);
    assert_eq!(ran.of_kind("eventReceived").len(), 6);
    let requests = ran.requests.iter();
    let keys: HashSet<_> = requests
        .map(|one| one.headers["idempotency-key"].clone())
        .collect();
    assert_eq!(keys.len(), 5, "each is a call of its own");
}

#[test]
fn a_condition_is_asked_after_each_event_was_worked_on() {
    let tasks = "
do:
  - it:
      listen: { to: { any: [], until: '$context == 2 and length == 2' } }
      foreach:
        do: [ { nap: { wait: PT2.5S } } ]
        export: { as: '($context // 0) + 1' }
";
    let ran = listening(tasks, &ticks(5));
    assert_eq!(ran.output(), &json!([1, 2]));
    assert_eq!(iterations(&ran, "nap"), [0, 1]);
}

#[test]
fn one_and_all_are_worked_on_too() {
    let one = "
do:
  - it:
      listen: { to: { one: { with: { type: t } } }, read: envelope }
      foreach: { item: e, output: { as: $e.id } }
";
    assert_eq!(listening(one, &ticks(2)).output(), &json!(["1"]));
    let all = "
do:
  - it:
      listen:
        to:
          all:
            - { with: { type: t }, correlate: { k: { from: .data } } }
            - { with: { type: u }, correlate: { k: { from: .data } } }
      foreach: { do: [ { nap: { wait: PT5S } } ] }
";
    let events = [
        event(1, "u", &json!(3)),
        event(2, "t", &json!(1)),
        event(3, "t", &json!(3)),
        event(4, "t", &json!(3)),
    ];
    let ran = listening(all, &events);
    assert_eq!(ran.output(), &json!([3, 3]));
    assert_eq!(iterations(&ran, "nap"), [0, 1]);
}

#[test]
fn the_flow_may_leave_the_body() {
    let tasks = "
do:
  - it:
      listen: { to: { any: [], until: length == 2 } }
      foreach:
        do:
          - odd: { if: '. == 1', set: { odd: true }, then: exit }
          - even: { set: { odd: false } }
";
    let ran = listening(tasks, &ticks(2));
    assert_eq!(ran.output(), &json!([{"odd": true}, {"odd": false}]));
    let ends = "
do:
  - it:
      listen: { to: { any: [], until: 'false' } }
      foreach: { do: [ { last: { set: { n: '${ . }' }, then: end } } ] }
  - never: { set: { x: 1 } }
";
    assert_eq!(listening(ends, &ticks(3)).output(), &json!({"n": 1}));
}

#[test]
fn a_timeout_takes_all_of_it() {
    let tasks = "
do:
  - guarded:
      try:
        - it:
            listen: { to: { any: [], until: 'false' } }
            foreach: { do: [ { nap: { wait: PT1H } } ] }
            timeout: { after: PT10S }
      catch: { do: [ { late: { set: { late: true } } } ] }
";
    let ran = listening(tasks, &ticks(4));
    assert_eq!(ran.output(), &json!({"late": true}));
    assert_eq!(ran.of_kind("taskCancelled"), ["nap"]);
}

#[test]
fn an_output_that_does_not_fit_its_schema_fails_the_task() {
    let tasks = "
do:
  - it:
      listen: { to: { any: [], until: 'false' } }
      foreach: { output: { schema: { document: { type: string } } } }
";
    let ran = listening(tasks, &ticks(1));
    assert_eq!(ran.fault().status, 400);
    assert!(ran.fault().instance.ends_with("/it"), "{:?}", ran.fault());
}

fn second_fails(request: &HttpRequest, before: usize) -> Result<HttpAnswer, HttpFailure> {
    if before != 1 {
        return count(request, before);
    }
    Err(HttpFailure {
        kind: FailureKind::Communication,
        status: Some(500),
        detail: "not now".to_owned(),
    })
}

#[test]
fn a_rerun_goes_on_with_the_event_that_failed() {
    let tasks = "
do:
  - it:
      listen:
        to:
          any: [ { with: { type: t }, correlate: { k: { from: .source } } } ]
          until: { one: { with: { type: stop } } }
      foreach:
        do:
          - nap: { wait: PT2S }
          - call: { call: http, with: { method: get, endpoint: http://a } }
        output: { as: '${ $item }' }
";
    let mut world = World::new(tasks, &json!({})).answering(second_fails);
    // The third comes while the second is worked on, which fails.
    world.posts = ticks(3).into_iter().map(|event| (1_000, event)).collect();
    let failed = world.run();
    assert_eq!(failed.fault().status, 500, "{:?}", failed.fault());
    assert!(!failed.kept.is_empty());

    let mut world = World::new(tasks, &json!({})).going_on_from(&failed);
    world.restarts = true;
    world.posts = [
        (10_000, event(4, "t", &json!(4))),
        (10_000, event(5, "stop", &json!(5))),
    ]
    .into();
    let ran = world.run();
    assert_eq!(ran.output(), &json!([1, 2, 3, 4]));
    assert_eq!(iterations(&ran, "call"), [1, 2, 3]);
}
