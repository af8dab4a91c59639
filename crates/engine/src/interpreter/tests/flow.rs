use serde_json::json;

use super::{check, run};

#[test]
fn tasks_run_in_order_and_hand_on_their_output() {
    let tasks = "
do:
  - red: { set: { colors: '${ .colors + [\"red\"] }' } }
  - inner:
      do:
        - green: { set: { colors: '${ .colors + [\"green\"] }' } }
        - empty: { do: [] }
  - blue: { set: { colors: '${ .colors + [\"blue\"] }' } }
";
    let ran = run(tasks, &json!({}));
    assert_eq!(ran.output(), &json!({"colors": ["red", "green", "blue"]}));
    assert_eq!(ran.checkpoints, 0, "pure tasks store nothing on their own");
    assert_eq!(
        ran.history(),
        [
            "executionStarted  0",
            "taskStarted red 1",
            "taskSucceeded red 1",
            "taskStarted inner 1",
            "taskStarted green 1",
            "taskSucceeded green 1",
            "taskStarted empty 1",
            "taskSucceeded empty 1",
            "taskSucceeded inner 1",
            "taskStarted blue 1",
            "taskSucceeded blue 1",
            "executionSucceeded  0",
        ]
    );
}

#[test]
fn directives_lead_where_they_say() {
    check(&[
        // A name leads to a sibling, before or after.
        (
            "
do:
  - a: { set: { x: '${ .x + [\"a\"] }' }, then: c }
  - b: { set: { x: '${ .x + [\"b\"] }' }, then: end }
  - c: { set: { x: '${ .x + [\"c\"] }' }, then: b }
",
            json!({"x": []}),
            json!({"x": ["a", "c", "b"]}),
        ),
        // `exit` ends the list it is in, `end` all of them.
        (
            "
do:
  - outer:
      do:
        - a: { set: { x: 1 }, then: exit }
        - b: { set: { x: 2 } }
  - c: { set: { x: '${ .x + 10 }' } }
",
            json!({}),
            json!({"x": 11}),
        ),
        (
            "
do:
  - outer:
      do:
        - a: { set: { x: 1 }, then: end }
      output: { as: '{ never: true }' }
  - c: { set: { x: 3 } }
output: { as: '{ result: .x }' }
",
            json!({}),
            json!({"result": 1}),
        ),
        // A skipped task hands on its raw input, and its `then` is not taken.
        (
            "
do:
  - stop: { if: .x > 5, set: { y: 1 }, then: end }
  - c: { set: { x: '${ .x + 1 }' } }
",
            json!({"x": 5}),
            json!({"x": 6}),
        ),
    ]);
}

#[test]
fn ending_inside_closes_what_is_around() {
    let tasks = "
do:
  - outer:
      do:
        - a: { set: { x: 1 }, then: end }
";
    assert_eq!(
        run(tasks, &json!({})).history(),
        [
            "executionStarted  0",
            "taskStarted outer 1",
            "taskStarted a 1",
            "taskSucceeded a 1",
            "taskSucceeded outer 1",
            "executionSucceeded  0",
        ]
    );
}

#[test]
fn a_switch_takes_the_first_case_that_holds() {
    let tasks = "
do:
  - choose:
      switch:
        - small: { when: .n < 10, then: setSmall }
        - medium: { when: .n < 100, then: setMedium }
        - other: { then: setLarge }
  - setSmall: { set: { size: small }, then: end }
  - setMedium: { set: { size: medium }, then: end }
  - setLarge: { set: { size: large }, then: end }
";
    check(&[
        (tasks, json!({"n": 5}), json!({"size": "small"})),
        (tasks, json!({"n": 50}), json!({"size": "medium"})),
        (tasks, json!({"n": 500}), json!({"size": "large"})),
    ]);
}

#[test]
fn an_unmatched_switch_goes_on_to_its_own_then() {
    let cases = "
do:
  - choose:
      switch:
        - small: { when: .n < 10, then: end }
      then: last
  - between: { set: { n: 0 } }
  - last: { set: { n: '${ .n + 1 }' } }
";
    check(&[(cases, json!({"n": 50}), json!({"n": 51}))]);
}

#[test]
fn a_loop_hands_each_output_to_the_next_iteration() {
    check(&[
        (
            "
do:
  - loop:
      for: { each: color, in: .colors }
      do:
        - mark:
            set:
              seen: '${ .seen + [ $color ] }'
              at: '${ .at + [ $index ] }'
",
            json!({"colors": ["red", "green"]}),
            json!({"seen": ["red", "green"], "at": [0, 1]}),
        ),
        // Without items the input comes through.
        (
            "do: [ { loop: { for: { in: .none }, do: [ { a: { set: { x: 1 } } } ] } } ]",
            json!({"none": [], "y": 2}),
            json!({"none": [], "y": 2}),
        ),
        // `while` is asked before each iteration, `exit` ends only the one.
        (
            "
do:
  - loop:
      for: { each: n, in: '[1, 2, 3, 4]', at: i }
      while: $i < 3
      do:
        - skipEven:
            switch:
              - even: { when: $n % 2 == 0, then: exit }
        - add: { set: { sum: '${ .sum + $n }' } }
",
            json!({"sum": 0}),
            json!({"sum": 4}),
        ),
        // Loops within loops see both items.
        (
            "
do:
  - outer:
      for: { each: a, in: '[1, 2]' }
      do:
        - inner:
            for: { each: b, in: '[10, 20]', at: j }
            do:
              - add: { set: { all: '${ .all + [ $a + $b + $index + $j ] }' } }
",
            json!({}),
            json!({"all": [11, 22, 13, 24]}),
        ),
    ]);
}

#[test]
fn jumping_back_counts_visits() {
    let tasks = "
do:
  - count: { set: { n: '${ .n + 1 }' } }
  - again:
      switch:
        - more: { when: .n < 3, then: count }
";
    let ran = run(tasks, &json!({"n": 0}));
    assert_eq!(ran.output(), &json!({"n": 3}));
    let visits: Vec<_> = ran
        .events
        .iter()
        .filter(|event| event.kind.as_str() == "taskStarted" && event.task.ends_with("count"))
        .map(|event| event.detail.clone())
        .collect();
    assert_eq!(visits, ["", r#"{"visit":2}"#, r#"{"visit":3}"#]);
}

#[test]
fn iterations_are_told_apart_in_the_history() {
    let tasks = "do: [ { loop: { for: { in: '[7, 8]' }, do: [ { a: { set: { x: 1 } } } ] } } ]";
    let ran = run(tasks, &json!({}));
    let details: Vec<_> = ran
        .events
        .iter()
        .filter(|event| event.kind.as_str() == "taskStarted" && event.task.ends_with("/a"))
        .map(|event| event.detail.clone())
        .collect();
    assert_eq!(details, [r#"{"iteration":[0]}"#, r#"{"iteration":[1]}"#]);
}
