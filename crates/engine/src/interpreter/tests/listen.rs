//! Events that are waited for, and those that are published.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Listener, Ran, Status, World};

pub(super) fn event(id: u64, kind: &str, data: &Json) -> Json {
    json!({"specversion": "1.0", "id": id.to_string(), "source": "/s", "type": kind, "data": data})
}

/// The execution as these events come, a second after each other; the same
/// when its process dies after each step.
pub(super) fn listening(tasks: &str, events: &[Json]) -> Ran {
    let world = |restarts| {
        let mut world = World::new(tasks, &json!({"order": 7}));
        world.restarts = restarts;
        world.posts = events.iter().map(|event| (1_000, event.clone())).collect();
        world.run()
    };
    let (plain, restarted) = (world(false), world(true));
    assert_eq!(plain.history(), restarted.history());
    assert_eq!(plain.outcome.ok(), restarted.outcome.as_ref().ok().cloned());
    restarted
}

/// What the first task waits for.
fn listeners(tasks: &str) -> Vec<Listener> {
    let mut world = World::new(tasks, &json!({"order": 7}));
    let mut machine = world.start();
    assert_eq!(machine.run(world.now, 100), Status::Blocked);
    assert!(machine.is_listening());
    world.commit(&mut machine);
    world.listeners.into_values().collect()
}

#[test]
fn one_event_ends_the_wait_with_its_data() {
    let tasks = "
do:
  - paid: { listen: { to: { one: { with: { type: paid } } } } }
  - after: { set: { amount: '${ .[0].amount }', events: '${ length }' } }
";
    let ran = listening(
        tasks,
        &[
            event(1, "made", &json!({"amount": 1})),
            event(2, "paid", &json!({"amount": 2})),
        ],
    );
    assert_eq!(ran.output(), &json!({"amount": 2, "events": 1}));
    assert_eq!(ran.of_kind("listening"), ["paid"]);
    assert_eq!(ran.of_kind("eventReceived"), ["paid"]);
    let received = ran
        .events
        .iter()
        .find(|e| e.kind.as_str() == "eventReceived");
    assert!(
        (received.unwrap().detail).contains(r#""event":{"id":"2","source":"/s","type":"paid"}"#),
        "{received:?}"
    );
}

#[test]
fn any_is_content_with_the_first_and_all_wants_each() {
    let filters = "[ { with: { type: a } }, { with: { type: b } } ]";
    let any = format!("do: [ {{ it: {{ listen: {{ to: {{ any: {filters} }} }} }} }} ]");
    let ran = listening(&any, &[event(1, "b", &json!("first"))]);
    assert_eq!(ran.output(), &json!(["first"]));

    let all = format!("do: [ {{ it: {{ listen: {{ to: {{ all: {filters} }} }} }} }} ]");
    let events = [
        event(1, "b", &json!("first")),
        event(2, "b", &json!("not wanted any more")),
        event(3, "a", &json!("last")),
    ];
    let ran = listening(&all, &events);
    assert_eq!(ran.output(), &json!(["first", "last"]));
    assert_eq!(ran.took, Duration::from_secs(3));
}

#[test]
fn until_goes_on_taking_events() {
    let events = [
        event(1, "t", &json!(1)),
        event(2, "t", &json!(2)),
        event(3, "t", &json!(3)),
        event(4, "stop", &json!(4)),
    ];
    let condition = "do: [ { it: { listen: { to: { any: [], until: '( . | length ) >= 3' } } } } ]";
    assert_eq!(listening(condition, &events).output(), &json!([1, 2, 3]));
    let of_input = "do: [ { it: { listen: { to: { any: [], until: '. | length == ($input.order - 5)' } } } } ]";
    assert_eq!(listening(of_input, &events).output(), &json!([1, 2]));
    let stop = "
do:
  - it:
      listen:
        to:
          any: [ { with: { type: t } } ]
          until: { one: { with: { type: stop } } }
";
    assert_eq!(listening(stop, &events).output(), &json!([1, 2, 3]));
}

#[test]
fn events_are_read_as_the_document_says() {
    for (read, data, expected) in [
        ("data", json!({"a": 1}), json!([{"a": 1}])),
        ("raw", json!({"a": [1, "x"]}), json!([r#"{"a":[1,"x"]}"#])),
        ("raw", json!("plain"), json!(["plain"])),
        ("envelope", json!(5), json!([event(1, "t", &json!(5))])),
    ] {
        let tasks =
            format!("do: [ {{ it: {{ listen: {{ to: {{ any: [] }}, read: {read} }} }} }} ]");
        let ran = listening(&tasks, &[event(1, "t", &data)]);
        assert_eq!(ran.output(), &expected, "{read}");
    }
}

#[test]
fn a_filter_carries_what_it_compares_events_to() {
    let tasks = "
do:
  - it:
      listen:
        to:
          all:
            - with: { type: '${ \"order.\\(.order)\" }', region: eu, data: .amount > $input.order }
              correlate:
                order: { from: .data.order, expect: '${ .order }' }
            - with: { source: /s }
";
    let listeners = listeners(tasks);
    assert_eq!(listeners.len(), 2);
    assert!(listeners.iter().all(|one| one.once));
    let first = &listeners[0].filters[0];
    assert_eq!(first.event_type, "order.7");
    assert_eq!(
        serde_json::from_str::<Json>(&first.filter).unwrap(),
        json!({
            "with": {"type": "order.7", "region": "eu"},
            "data": ".amount > $input.order",
            "correlate": [{"from": ".data.order", "expect": 7}],
            "variables": {"input": {"order": 7}},
        })
    );
    assert_eq!(listeners[1].filters[0].event_type, "");
}

/// An order for each of its parts, whatever comes first.
const PARTS: &str = "
do:
  - it:
      listen:
        to:
          all:
            - { with: { type: a }, correlate: { order: { from: .data.order } } }
            - { with: { type: b }, correlate: { order: { from: .data.of } } }
";

#[test]
fn the_first_event_fixes_what_later_ones_have_to_equal() {
    let events = [
        event(1, "a", &json!({"order": null})),
        event(2, "b", &json!({"of": 7, "n": 1})),
        event(3, "a", &json!({"order": 8})),
        event(4, "b", &json!({"of": 9})),
        event(5, "a", &json!({"order": 7})),
    ];
    let ran = listening(PARTS, &events);
    let expected = json!([{"of": 7, "n": 1}, {"order": 7}]);
    assert_eq!(ran.output(), &expected);
    let received: Vec<Json> = (ran.events.iter())
        .filter(|event| event.kind.as_str() == "eventReceived")
        .map(|event| serde_json::from_str(&event.detail).unwrap())
        .collect();
    assert_eq!(received.len(), 2, "{received:?}");
    assert_eq!(received[0]["correlation"], json!({"order": 7}));
    assert_eq!(received[1]["correlation"], Json::Null);
}

#[test]
fn what_comes_at_once_is_asked_in_its_order() {
    let mut world = World::new(PARTS, &json!({}));
    let mut machine = world.start();
    assert_eq!(machine.run(world.now, 100), Status::Blocked);
    world.commit(&mut machine);
    assert!(
        world.listeners.values().all(|listener| !listener.once),
        "which one it takes is not known yet"
    );
    for (id, kind, data) in [
        (1, "a", json!({"order": 7})),
        (2, "b", json!({"of": 8})),
        (3, "b", json!({"of": 7})),
    ] {
        world.posts.push_back((0, event(id, kind, &data)));
    }
    let (mut received, mut number) = (Vec::new(), 0);
    while world.post() {
        for mut one in world.inbox.drain(..) {
            number += 1;
            one.number = number;
            received.push(one);
        }
    }
    machine.handle(super::Event::Received(received), world.now);
    world.commit(&mut machine);
    let Some(super::Outcome::Succeeded(output)) = machine.outcome() else {
        panic!("it goes on: {:?}", machine.outcome());
    };
    let output = crate::value::to_serde(output);
    assert_eq!(output, json!([{"order": 7}, {"of": 7}]));
}

#[test]
fn listeners_are_narrowed_to_what_is_fixed() {
    let tasks = "
do:
  - it:
      listen:
        to:
          any:
            - { with: { type: t }, correlate: { order: { from: .data.order } } }
            - { with: { type: t, source: /none } }
          until: { one: { with: { type: stop }, correlate: { order: { from: .data.order } } } }
";
    let mut world = World::new(tasks, &json!({}));
    let mut machine = world.start();
    machine.run(world.now, 100);
    world.commit(&mut machine);
    let open: Vec<bool> = world.listeners.values().map(|one| one.once).collect();
    assert_eq!(open, [false, false]);
    world.posts = [(0, event(1, "t", &json!({"order": [7]})))].into();
    assert!(world.post());
    let received = std::mem::take(&mut world.inbox);
    machine.handle(super::Event::Received(received), world.now);
    world.commit(&mut machine);
    for listener in world.listeners.values() {
        let filter: Json = serde_json::from_str(&listener.filters[0].filter).unwrap();
        assert_eq!(filter["correlate"][0]["expect"], json!([7]), "{filter}");
    }
    let all = [
        event(1, "t", &json!({"order": 1, "n": 1})),
        event(2, "t", &json!({"order": 2, "n": 2})),
        event(3, "stop", &json!({"order": 2})),
        event(4, "t", &json!({"order": 1, "n": 4})),
        event(5, "stop", &json!({"order": 1})),
    ];
    let ran = listening(tasks, &all);
    let expected = json!([{"order": 1, "n": 1}, {"order": 1, "n": 4}]);
    assert_eq!(ran.output(), &expected);
}

#[test]
fn a_timeout_ends_the_wait_and_comes_before_a_late_event() {
    let tasks = "
do:
  - guarded:
      try:
        - it:
            listen: { to: { one: { with: { type: t } } } }
            timeout: { after: PT2S }
      catch: { do: [ { late: { set: { late: true } } } ] }
";
    let mut world = World::new(tasks, &json!({}));
    world.restarts = true;
    assert_eq!(world.run().output(), &json!({"late": true}));
    // It comes after three seconds, before anyone has looked at the timer.
    let ran = {
        let mut world = World::new(tasks, &json!({}));
        world.posts = [(3_000, event(1, "t", &json!(1)))].into();
        world.run()
    };
    assert_eq!(ran.output(), &json!({"late": true}));
    assert!(ran.of_kind("eventReceived").is_empty());
}

#[test]
fn a_loop_listens_anew_each_time() {
    let tasks = "
do:
  - each:
      for: { each: kind, in: '${ [\"a\", \"b\"] }' }
      do:
        - it:
            listen: { to: { one: { with: { type: '${ $kind }' } } } }
            output: { as: '${ .[0] }' }
";
    let events = [
        event(1, "b", &json!("too early")),
        event(2, "a", &json!("a")),
        event(3, "b", &json!("b")),
    ];
    let ran = listening(tasks, &events);
    assert_eq!(ran.output(), &json!("b"));
    assert_eq!(ran.of_kind("eventReceived"), ["it", "it"]);
}

#[test]
fn what_is_emitted_is_an_event_with_an_id_of_its_visit() {
    let tasks = "
do:
  - each:
      for: { in: '${ [1, 2] }' }
      do:
        - tell:
            emit:
              event:
                with:
                  type: com.example.told
                  subject: '${ \"item-\\($item)\" }'
                  data: { item: '${ $item }' }
";
    let ran = listening(tasks, &[]);
    let again = listening(tasks, &[]);
    assert_eq!(ran.emits.len(), 2);
    assert_eq!(ran.output(), &ran.emits[1]);
    let ids: HashSet<_> = ran.emits.iter().map(|e| e["id"].to_string()).collect();
    assert_eq!(ids.len(), 2, "each visit has its own");
    for (index, (one, other)) in ran.emits.iter().zip(&again.emits).enumerate() {
        assert_eq!(one["id"], other["id"], "a repeated one has the same");
        assert_eq!(one["source"], "/test/test/1.0.0");
        assert_eq!(one["specversion"], "1.0");
        assert_eq!(one["type"], "com.example.told");
        assert_eq!(one["subject"], format!("item-{}", index + 1));
        assert_eq!(one["data"], json!({"item": index + 1}));
    }
    assert_eq!(ran.of_kind("eventEmitted"), ["tell", "tell"]);
}

#[test]
fn what_is_no_attribute_fails_the_task() {
    let tasks = "do: [ { tell: { emit: { event: { with: { type: '${ .kind }' } } } } } ]";
    let ran = listening(tasks, &[]);
    assert_eq!(ran.fault().status, 400);
    assert!(ran.emits.is_empty());
    let tasks = "do: [ { it: { listen: { to: { one: { with: { type: '${ {} }' } } } } } } ]";
    assert_eq!(listening(tasks, &[]).fault().status, 400);
}

#[test]
fn control_characters_in_attributes_fail_the_task() {
    for task in ["emit: { event: { with: ", "listen: { to: { one: { with: "] {
        let end = "} ".repeat(task.matches('{').count());
        for name in ["type", "subject"] {
            let with = format!("{{ {name}: '${{ [97, 0] | implode }}', source: /s }}");
            let given = if name == "type" { "" } else { "type: t, " };
            let with = with.replacen("{ ", &format!("{{ {given}"), 1);
            let tasks = format!("do: [ {{ it: {{ {task}{with} {end}}} }} ]");
            let ran = listening(&tasks, &[]);
            assert_eq!(ran.fault().status, 400, "{tasks}");
            let detail = ran.fault().detail.clone().unwrap_or_default();
            assert!(detail.contains("U+0000"), "{detail}");
            assert!(ran.emits.is_empty());
        }
    }
}

#[test]
fn a_rerun_listens_anew() {
    let tasks = "
do:
  - before: { set: { kept: true }, export: { as: . } }
  - it:
      listen: { to: { one: { with: { type: t } } } }
      timeout: { after: PT2S }
  - after: { set: { event: '${ .[0] }', kept: '${ $context.kept }' } }
";
    let failed = World::new(tasks, &json!({})).run();
    assert_eq!(failed.fault().status, 408);
    let mut world = World::new(tasks, &json!({})).going_on_from(&failed);
    world.restarts = true;
    world.posts = [(1_000, event(1, "t", &json!(5)))].into();
    let ran = world.run();
    assert_eq!(ran.output(), &json!({"event": 5, "kept": true}));
    assert_eq!(ran.of_kind("taskStarted"), ["it", "after"]);
}
