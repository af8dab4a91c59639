use serde_json::{Value as Json, json};

use super::{Answers, FailureKind, HttpFailure, Ran, World, count};

/// Every third call fails.
const SHAKY: Answers = |request, before| {
    if before % 3 == 0 {
        return Err(HttpFailure {
            kind: FailureKind::Communication,
            status: Some(503),
            detail: "busy".to_owned(),
        });
    }
    count(request, before)
};

/// Documents with effects and waits in every place that can hold one.
fn documents() -> Vec<(&'static str, Json)> {
    vec![
        (
            "
do:
  - first: { call: http, with: { method: get, endpoint: 'http://a.test/' } }
  - second: { set: { all: '${ [.call, $task.input.call] }' } }
catchAll: {}
"
            .split("catchAll")
            .next()
            .unwrap(),
            json!({"n": 1}),
        ),
        (
            "
timeout: { after: P1D }
do:
  - loop:
      for: { each: item, in: .items }
      input: { from: '{ items, sum: 0 }' }
      do:
        - attempt:
            try:
              - call:
                  call: http
                  with: { method: post, endpoint: 'http://a.test/{id}', body: { item: '${ $item }' } }
                  timeout: { after: PT1M }
                  output: { as: '{ sum: ($input.sum + .call) }' }
            catch:
              errors: { with: { status: 503 } }
              retry:
                delay: PT2S
                jitter: { from: PT0S, to: PT5S }
                limit: { attempt: { count: 3, duration: PT30S } }
        - pause: { wait: PT3S }
      export: { as: '$context + { loops: 1 }' }
  - done: { set: { sum: '${ .sum }', loops: '${ $context.loops }' } }
",
            json!({"items": [1, 2, 3]}),
        ),
        (
            "
do:
  - outer:
      do:
        - inner:
            do:
              - attempt:
                  try:
                    - pause: { wait: PT1S }
                    - fail: { raise: { error: { type: 'https://a.b/c', status: 500 } } }
                  catch:
                    as: problem
                    do:
                      - log: { call: http, with: { method: get, endpoint: 'http://a.test/' }, if: 'false' }
                      - rest: { wait: PT2S }
                      - keep: { set: { status: '${ $problem.status }', n: '${ $input.n }' } }
            output: { as: '{ inner: ., before: $input.n }' }
      timeout: { after: PT1M }
",
            json!({"n": 7}),
        ),
        (
            "
do:
  - pause: { wait: PT1S }
  - count: { set: { n: '${ .n + 1 }' }, export: { as: '{ last: .n }' } }
  - again: { switch: [ { more: { when: .n < 4, then: pause }, }, { enough: { when: .n >= 4, then: end } } ] }
  - never: { set: { n: 0 } }
",
            json!({"n": 0}),
        ),
        (
            "
do:
  - outer:
      for: { each: a, in: '[1, 2]' }
      do:
        - inner:
            for: { each: b, in: '[10, 20]', at: j }
            do:
              - pause: { wait: '${ { seconds: $b } }' }
              - add: { set: { all: '${ .all + [ $a + $b + $j ] }' } }
",
            json!({}),
        ),
        (
            "
do:
  - attempt:
      try: [ { slow: { do: [ { one: { wait: PT1H } } ], timeout: { after: PT5S } } } ]
      catch:
        retry: { delay: PT1S, backoff: { linear: {} }, limit: { attempt: { count: 2 } } }
",
            json!({"n": 1}),
        ),
    ]
}

fn once(tasks: &str, input: &Json, restarts: bool) -> Ran {
    let mut world = World::new(tasks, input).answering(SHAKY);
    world.restarts = restarts;
    world.run()
}

#[test]
fn a_run_broken_off_at_every_checkpoint_is_the_same_run() {
    for (tasks, input) in documents() {
        let whole = once(tasks, &input, false);
        let broken = once(tasks, &input, true);
        assert!(whole.checkpoints > 0, "{tasks}: nothing was stored");
        assert_eq!(whole.outcome, broken.outcome, "{tasks}");
        assert_eq!(whole.events, broken.events, "{tasks}");
        assert_eq!(whole.checkpoints, broken.checkpoints, "{tasks}");
        let sent = |ran: &Ran| format!("{:?}", ran.requests);
        assert_eq!(sent(&whole), sent(&broken), "{tasks}");
    }
}

#[test]
fn an_effect_under_way_is_asked_for_again_as_it_was() {
    let tasks =
        "do: [ { call: { call: http, with: { method: get, endpoint: 'http://a.test/' } } } ]";
    let mut world = World::new(tasks, &json!({}));
    let mut machine = world.start();
    let _ = machine.run(world.now, 100);
    let asked = format!("{:?}", machine.take_commands());
    world.commit(&mut machine);
    for _ in 0..3 {
        let mut again = world.resume();
        assert_eq!(format!("{:?}", again.take_commands()), asked);
    }
}

#[test]
fn a_checkpoint_carries_only_what_changed() {
    let tasks = "
do:
  - loop:
      for: { in: .items }
      do: [ { pause: { wait: PT1S } } ]
";
    let items: Vec<u32> = (0..500).collect();
    let mut world = World::new(tasks, &json!({"items": items}));
    let mut machine = world.start();
    let _ = machine.run(world.now, 100);
    world.commit(&mut machine);
    let due = machine.next_due().unwrap();
    let _ = machine.run(due, 100);
    let changes = machine.take_changes();
    let items_again = changes
        .upsert_frames
        .iter()
        .any(|(_, text)| text.starts_with(r#"{"items""#));
    assert!(
        !items_again,
        "the items never change: {:?}",
        changes.upsert_frames
    );
    assert_eq!(changes.delete_frames.len(), 1);
}

#[test]
fn frames_that_cannot_be_read_are_refused() {
    let world = World::new("do: [ { a: { wait: PT1S } } ]", &json!({}));
    let root = r#"{"root":{"context":null}}"#;
    for frames in [
        vec![(1, "nonsense")],
        vec![(2, root)],
        vec![(1, root), (2, r#"{"items":{"parent":9,"items":[]}}"#)],
        vec![
            (1, root),
            (
                2,
                r#"{"task":{"parent":1,"task":"/do/0/b","startedAt":"2026-01-01T00:00:00Z","body":"ready"}}"#,
            ),
        ],
    ] {
        let program = std::sync::Arc::clone(&world.program);
        let resumed = super::Machine::resume(
            program,
            world.about(),
            world.limits,
            frames.clone(),
            1,
            world.now,
        );
        assert!(resumed.is_err(), "{frames:?}");
    }
}
