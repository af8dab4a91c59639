use serde_json::json;

use crate::effects::http::HttpAuth;

use super::{Answers, FailureKind, HttpFailure, World, check, count, run};

/// 503 for the first two calls.
const FAILS_TWICE: Answers = |request, before| {
    if before < 2 {
        return Err(HttpFailure {
            kind: FailureKind::Communication,
            status: Some(503),
            detail: "busy".to_owned(),
        });
    }
    count(request, before)
};

const CALL: &str = "{ call: http, with: { method: get, endpoint: 'http://pets.test/' } }";

#[test]
fn an_uncaught_error_fails_the_execution_with_its_place() {
    let ran = run(
        "
do:
  - outer:
      do:
        - fail:
            raise:
              error: { type: 'https://acme.com/errors/x', status: 422, title: Bad, detail: '${ \"n is \\(.n)\" }' }
",
        &json!({"n": 3}),
    );
    let fault = serde_json::to_value(ran.fault()).unwrap();
    assert_eq!(
        fault,
        json!({
            "type": "https://acme.com/errors/x",
            "status": 422,
            "title": "Bad",
            "detail": "n is 3",
            "instance": "/do/0/outer/do/0/fail",
        })
    );
    assert_eq!(
        ran.history()[1..],
        [
            "taskStarted outer 1",
            "taskStarted fail 1",
            "taskFailed fail 1",
            "taskFailed outer 1",
            "executionFailed  0",
        ]
    );
}

#[test]
fn an_expression_that_fails_is_an_error_at_its_task() {
    let ran = run(
        "do: [ { a: { set: { x: '${ .n + {} }' } } } ]",
        &json!({"n": 1}),
    );
    let fault = ran.fault();
    assert!(fault.kind.ends_with("/errors/expression"), "{fault:?}");
    assert_eq!((fault.status, fault.instance.as_str()), (400, "/do/0/a"));
}

#[test]
fn errors_are_caught_by_their_properties() {
    let document = |catch: &str| {
        format!(
            "
use: {{ errors: {{ sold: {{ type: 'https://serverlessworkflow.io/dsl/errors/types/communication', status: 409, title: Sold out }} }} }}
do:
  - attempt:
      try:
        - fail: {{ raise: {{ error: sold }} }}
      catch:
        {catch}
        do:
          - handle: {{ set: {{ caught: true }} }}
"
        )
    };
    let table = [
        ("errors: { with: { status: 409 } }", true),
        ("errors: { with: { status: 410 } }", false),
        (
            "errors: { with: { type: 'https://serverlessworkflow.io/spec/1.0.0/errors/communication' } }",
            true,
        ),
        (
            "errors: { with: { type: 'https://serverlessworkflow.io/spec/1.0.0/errors/timeout' } }",
            false,
        ),
        (
            "errors: { with: { instance: /do/0/attempt/try/0/fail } }",
            true,
        ),
        ("errors: { with: { title: Sold out, status: 409 } }", true),
        ("errors: { with: { title: Sold out, status: 408 } }", false),
        ("when: $error.status == 409", true),
        ("when: $error.status == 410", false),
        ("exceptWhen: $error.status == 409", false),
        ("exceptWhen: $error.status == 410", true),
        ("{}", true),
    ];
    for (catch, caught) in table {
        let tasks = document(if catch == "{}" { "as: error" } else { catch });
        let ran = run(&tasks, &json!({}));
        assert_eq!(ran.outcome.is_ok(), caught, "{catch}: {:?}", ran.outcome);
        assert_eq!(
            ran.of_kind("errorCaught").len(),
            usize::from(caught),
            "{catch}"
        );
    }
}

#[test]
fn catching_hands_the_error_to_its_tasks() {
    check(&[
        (
            "
do:
  - attempt:
      try:
        - fail: { set: { x: '${ error(\"no\") }' } }
      catch:
        as: problem
        do:
          - handle: { set: { at: '${ $problem.instance }', input: '${ .n }' } }
  - after: { set: { at: '${ .at }', input: '${ .input }', after: true } }
",
            json!({"n": 5}),
            json!({"at": "/do/0/attempt/try/0/fail", "input": 5, "after": true}),
        ),
        // Without `catch.do` the error is swallowed and the input comes through.
        (
            "
do:
  - attempt:
      try: [ { fail: { raise: { error: { type: 'https://a.b/c', status: 500 } } } } ]
      catch: { errors: { with: { status: 500 } } }
",
            json!({"n": 5}),
            json!({"n": 5}),
        ),
        // What a handler raises is for the next one outside.
        (
            "
do:
  - outer:
      try:
        - inner:
            try: [ { fail: { raise: { error: { type: 'https://a.b/1', status: 501 } } } } ]
            catch:
              do: [ { again: { raise: { error: { type: 'https://a.b/2', status: 502 } } } } ]
      catch:
        do: [ { handle: { set: { status: '${ $error.status }' } } } ]
",
            json!({}),
            json!({"status": 502}),
        ),
    ]);
}

#[test]
fn a_failed_call_is_retried_until_it_succeeds() {
    let tasks = format!(
        "
do:
  - attempt:
      try: [ {{ call: {CALL} }} ]
      catch:
        errors: {{ with: {{ status: 503 }} }}
        retry:
          delay: {{ seconds: 3 }}
          backoff: {{ exponential: {{}} }}
          limit: {{ attempt: {{ count: 5 }} }}
"
    );
    let ran = World::new(&tasks, &json!({})).answering(FAILS_TWICE).run();
    assert_eq!(ran.output(), &json!({"call": 3}));
    assert_eq!(ran.took.as_secs(), 3 + 6);
    assert_eq!(
        ran.history()[1..],
        [
            "taskStarted attempt 1",
            "taskStarted call 1",
            "taskFailed call 1",
            "retryScheduled attempt 1",
            "taskStarted call 2",
            "taskFailed call 2",
            "retryScheduled attempt 2",
            "taskStarted call 3",
            "taskSucceeded call 3",
            "taskSucceeded attempt 1",
            "executionSucceeded  0",
        ]
    );
    let mut keys: Vec<_> = ran
        .requests
        .iter()
        .map(|request| request.headers["idempotency-key"].clone())
        .collect();
    keys.dedup();
    assert_eq!(keys.len(), 3, "each attempt has a key of its own");
}

#[test]
fn catch_do_runs_once_the_retries_are_used_up() {
    let tasks = format!(
        "
use: {{ retries: {{ twice: {{ delay: PT1S, limit: {{ attempt: {{ count: 1 }} }} }} }} }}
do:
  - attempt:
      try: [ {{ call: {CALL} }} ]
      catch:
        retry: twice
        do: [ {{ handle: {{ set: {{ status: '${{ $error.status }}' }} }} }} ]
"
    );
    let ran = World::new(&tasks, &json!({})).answering(FAILS_TWICE).run();
    assert_eq!(ran.output(), &json!({"status": 503}));
    assert_eq!(ran.requests.len(), 2);
    assert_eq!(ran.of_kind("errorCaught"), ["attempt"]);
}

#[test]
fn a_retry_condition_that_does_not_hold_leaves_it_to_catch_do() {
    let tasks = format!(
        "
do:
  - attempt:
      try: [ {{ call: {CALL} }} ]
      catch:
        retry: {{ when: '$error.status == 500', delay: PT1S }}
        do: [ {{ handle: {{ set: {{ handled: true }} }} }} ]
"
    );
    let ran = World::new(&tasks, &json!({})).answering(FAILS_TWICE).run();
    assert_eq!(ran.output(), &json!({"handled": true}));
    assert_eq!(ran.requests.len(), 1);
}

#[test]
fn a_call_takes_its_credentials_from_secrets() {
    let call = |authentication: &str| {
        format!(
            "
use: {{ secrets: [login, token, missing] }}
do:
  - call:
      call: http
      with:
        method: get
        endpoint: {{ uri: 'https://pets.test', authentication: {authentication} }}
        headers: {{ x-key: '${{ $secrets.token }}' }}
"
        )
    };
    let run = |authentication: &str| {
        let mut world = World::new(&call(authentication), &json!({}));
        world.secrets = json!({"login": {"username": "ada", "password": "pw"}, "token": "s3cret"});
        world.run()
    };
    for restarts in [false, true] {
        let mut world = World::new(&call("{ basic: { use: login } }"), &json!({}));
        world.secrets = json!({"login": {"username": "ada", "password": "pw"}, "token": "s3cret"});
        world.restarts = restarts;
        let ran = world.run();
        assert_eq!(ran.requests[0].headers["x-key"], "s3cret");
        let auth = ran.requests[0].auth.as_ref().unwrap();
        assert!(
            matches!(auth, HttpAuth::Basic { username, password } if username == "ada" && password == "pw")
        );
        let stored = format!("{:?}", ran.events);
        assert!(!stored.contains("s3cret"), "{stored}");
    }
    let ran = run("{ bearer: { use: token } }");
    let auth = ran.requests[0].auth.as_ref().unwrap();
    assert!(matches!(auth, HttpAuth::Bearer(token) if token == "s3cret"));
    for (authentication, why) in [
        (
            "{ bearer: { use: missing } }",
            "there is no secret `missing`",
        ),
        (
            "{ bearer: { use: login } }",
            "the secret `login` has no text `token`",
        ),
        (
            "{ basic: { use: token } }",
            "the secret `token` has no text `username`",
        ),
    ] {
        let fault = run(authentication).outcome.unwrap_err().to_json();
        assert!(fault.contains(why) && fault.contains("403"), "{fault}");
    }
}

#[test]
fn a_call_is_sent_as_its_task_says() {
    let tasks = "
do:
  - call:
      call: http
      with:
        method: post
        endpoint:
          uri: https://pets.test/{kind}/find
          authentication: { basic: { username: ada, password: '${ .word }' } }
        headers: { x-kind: '${ .kind }', x-none: '${ null }' }
        query: { limit: 5, tag: '${ [\"a\", \"b\"] }' }
        body: { name: '${ .name }' }
";
    let input = json!({"kind": "cat", "name": "Milou", "word": "secret"});
    let ran = World::new(tasks, &input).run();
    let [request] = &ran.requests[..] else {
        panic!("{} requests", ran.requests.len());
    };
    assert_eq!(request.method, http::Method::POST);
    assert_eq!(request.uri, "https://pets.test/cat/find");
    let query: Vec<_> = request
        .query
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(query, ["limit=5", "tag=a", "tag=b"]);
    assert_eq!(
        request.body,
        Some(crate::value::from_serde(&json!({"name": "Milou"})))
    );
    assert_eq!(request.headers["x-kind"], "cat");
    assert!(!request.headers.contains_key("x-none"));
    let auth = request.auth.as_ref().unwrap();
    assert!(
        matches!(auth, HttpAuth::Basic { username, password } if username == "ada" && password == "secret")
    );
    assert_eq!(request.headers["millrace-fencing-token"], "7");
    assert_eq!(request.headers["idempotency-key"].len(), 64);
}
