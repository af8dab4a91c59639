use serde_json::json;

use super::World;

#[test]
fn an_endless_round_of_pure_tasks_ends_in_an_error() {
    for tasks in [
        "do: [ { a: { set: { x: 1 }, then: a } } ]",
        "
do:
  - attempt:
      try: [ { fail: { raise: { error: { type: 'https://a.b/c', status: 500 } } } } ]
      catch: { retry: {} }
",
    ] {
        let mut world = World::new(tasks, &json!({}));
        world.limits.visits = 2_000;
        let ran = world.run();
        let fault = ran.fault();
        assert!(
            fault.kind.ends_with("/errors/runtime"),
            "{tasks}: {fault:?}"
        );
        assert_eq!(ran.history().last().unwrap(), "executionFailed  0");
    }
}

#[test]
fn calls_and_waits_start_the_count_anew() {
    let tasks = "
do:
  - pause: { wait: PT1S }
  - count: { set: { n: '${ .n + 1 }' } }
  - again: { switch: [ { more: { when: .n < 60, then: pause } } ] }
";
    let mut world = World::new(tasks, &json!({"n": 0}));
    world.limits.visits = 10;
    assert_eq!(world.run().output(), &json!({"n": 60}));
}

#[test]
fn a_value_that_is_too_large_is_an_error() {
    let tasks = "do: [ { a: { set: { x: '${ [range(1000)] }' } } } ]";
    let mut world = World::new(tasks, &json!({}));
    world.limits.value_weight = 10_000;
    let ran = world.run();
    assert!(ran.fault().kind.ends_with("/errors/runtime"));
    assert_eq!(ran.fault().instance, "/do/0/a");
}
