//! Going on where another execution failed.

use serde_json::json;

use super::{FailureKind, HttpAnswer, HttpFailure, HttpRequest, Ran, World, count, run};
use crate::value;

fn second_fails(request: &HttpRequest, before: usize) -> Result<HttpAnswer, HttpFailure> {
    if before == 1 {
        return Err(HttpFailure {
            kind: FailureKind::Communication,
            status: Some(503),
            detail: "busy".to_owned(),
        });
    }
    count(request, before)
}

/// Answers with the number of the call, past those of the first execution.
#[expect(clippy::unnecessary_wraps, reason = "the signature of `Answers`")]
fn later(_: &HttpRequest, before: usize) -> Result<HttpAnswer, HttpFailure> {
    Ok(HttpAnswer {
        status: 200,
        output: value::from_serde(&json!({"call": before + 10})),
    })
}

fn call(name: &str) -> String {
    format!("- {name}: {{call: http, with: {{method: get, endpoint: 'http://x/{name}'}}}}")
}

fn again(tasks: &str, failed: &Ran) -> (Ran, Ran) {
    let once = || {
        World::new(tasks, &json!({"n": 1}))
            .answering(later)
            .going_on_from(failed)
    };
    let mut restarting = once();
    restarting.restarts = true;
    (once().run(), restarting.run())
}

#[test]
fn what_came_before_the_failed_task_is_not_done_again() {
    let tasks = format!(
        "do:\n{}\n- keep: {{set: {{first: '${{ .call }}'}}, export: {{as: .}}}}\n{}\n\
         - last: {{set: {{kept: '${{ $context }}', now: '${{ .call }}'}}}}\n",
        call("one"),
        call("two"),
    );
    let failed = World::new(&tasks, &json!({"n": 1}))
        .answering(second_fails)
        .run();
    assert_eq!(failed.fault().status, 503);
    let (plain, restarted) = again(&tasks, &failed);
    for ran in [plain, restarted] {
        assert_eq!(ran.output(), &json!({"kept": {"first": 1}, "now": 10}));
        assert_eq!(ran.requests.len(), 1);
        let history = ran.history();
        assert_eq!(history[..2], ["executionStarted  0", "taskStarted two 1"]);
    }
}

#[test]
fn a_loop_goes_on_with_its_item_and_a_try_counts_anew() {
    let tasks = "do:\n- each:\n    for: {in: '[1, 2, 3]'}\n    do:\n    - attempt:\n        try:\n        \
                 - one: {call: http, with: {method: get, endpoint: 'http://x/one'}}\n        \
                 catch: {errors: {with: {status: 404}}}\n";
    let failed = World::new(tasks, &json!({"n": 1}))
        .answering(second_fails)
        .run();
    assert_eq!(failed.requests.len(), 2);
    let (plain, restarted) = again(tasks, &failed);
    for ran in [plain, restarted] {
        assert_eq!(ran.output(), &json!({"call": 11}));
        assert_eq!(ran.requests.len(), 2, "the second item and the third");
    }
}

#[test]
fn a_task_that_needs_no_call_is_entered_again_too() {
    let tasks = "do:\n- one: {set: {n: '${ .n + 1 }'}}\n\
                 - two: {raise: {error: {type: 'https://x/y', status: 418}}}\n";
    let failed = run(tasks, &json!({"n": 1}));
    let (plain, _) = again(tasks, &failed);
    assert_eq!(plain.fault().status, 418);
    assert_eq!(plain.of_kind("taskStarted"), ["two"]);
    // And so on: what failed again can be entered once more.
    assert_eq!(plain.kept.len(), failed.kept.len());
}

#[test]
fn only_what_fails_keeps_frames() {
    let caught = "do:\n- t:\n    try:\n    - one: {raise: {error: {type: 'https://x/y', status: 418}}}\n    catch: {}\n";
    let ran = run(caught, &json!({}));
    ran.output();
    assert!(ran.kept.is_empty());
    let refused = "input: {schema: {document: {type: string}}}\ndo:\n- one: {set: {n: 1}}\n";
    let ran = run(refused, &json!({}));
    ran.fault();
    assert!(ran.kept.is_empty(), "it failed before its first task");
}
