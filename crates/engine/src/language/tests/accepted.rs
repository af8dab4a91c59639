//! Documents that are read, and the model that they become.

use std::time::Duration;

use serde_json::json;

use super::{accepted, with_head};
use crate::language::duration::DurationSource;
use crate::language::model::{
    Authentication, Backoff, Call, Credentials, FlowDirective, HttpOutput, TaskKind, Transform, Uri,
};

const ORDER_INTAKE: &str = r#"document:
  dsl: '1.0.3'
  namespace: shop
  name: order-intake
  version: '0.1.0'
  title: Takes orders in
  summary: Prices an order and **answers**.
  tags: {team: sales}
  metadata: {owner: {mail: a@b.c}}
use:
  secrets: [pricing-token]
  authentications:
    pricing:
      bearer:
        token: '${ $secrets["pricing-token"] }'
  errors:
    tooLarge:
      type: https://shop.example/errors/too-large
      status: 422
      title: Order too large
      detail: '${ "order over \(.amount)" }'
  retries:
    patient:
      delay: PT1S
      backoff:
        exponential: {}
      jitter: {from: {milliseconds: 10}, to: {milliseconds: 50}}
      limit:
        attempt: {count: 3, duration: PT5S}
        duration: PT1M
      exceptWhen: $fault.status == 404
  timeouts:
    short: {after: PT30S}
input:
  schema:
    format: json
    document:
      type: object
      required: [amount, items]
      properties:
        amount: {type: number, minimum: 0}
        items: {type: array, items: {type: object}}
  from: .order
timeout: {after: {minutes: 10}}
do:
  - branch:
      switch:
        - large:
            when: .amount > 1000
            then: refuse
        - normal:
            when: ${ .amount > 0 }
            then: price
        - other:
            then: end
  - refuse:
      raise:
        error: tooLarge
  - price:
      try:
        - callPricing:
            call: http
            with:
              method: post
              endpoint:
                uri: https://pricing.example/v1/{region}/prices
                authentication: {use: pricing}
              headers: {X-Trace: '${ $workflow.id }', X-Level: 3}
              query: {dry: true}
              body: '${ {items: .items} }'
              output: response
              redirect: true
            timeout: short
            output: {as: .body}
      catch:
        errors:
          with:
            type: https://serverlessworkflow.io/dsl/errors/types/communication
            status: 503
        as: fault
        when: $fault.status >= 500
        retry: patient
        do:
          - fallBack:
              set: {price: 0, reason: '${ $fault.title }'}
        then: pause
      export:
        as: '${ $context + {price: .price} }'
  - pause:
      if: .price == 0
      wait: PT8S
      metadata: {note: be kind}
  - each:
      for:
        each: line
        at: position
        in: .items
      while: $position < 10
      do:
        - line:
            set:
              line: '${ $line }'
              at: '${ $position }'
              sum: 12345678901234567890123
            then: exit
  - later:
      do:
        - nap:
            wait: {seconds: 1, milliseconds: 500}
        - sleep:
            wait: '${ .seconds | "PT\(.)S" }'
  - done:
      set: '${ $input }'
output:
  as: {result: '${ . }'}
"#;

fn pointer(parsed: &super::Parsed, index: usize) -> &crate::language::model::NamedTask {
    parsed.workflow.do_.get(index).expect("a task")
}

#[test]
fn a_realistic_document_becomes_a_model() {
    let parsed = accepted(ORDER_INTAKE);
    assert_eq!(parsed.warnings, []);
    let workflow = &parsed.workflow;
    assert_eq!(workflow.info.name, "order-intake");
    assert_eq!(workflow.info.title.as_deref(), Some("Takes orders in"));
    assert_eq!(&*workflow.secrets, ["pricing-token".into()]);
    assert!(matches!(
        workflow.timeout,
        Some(DurationSource::Fixed(after)) if after == Duration::from_mins(10)
    ));
    assert!(matches!(
        workflow.input.from,
        Some(Transform::Expression(_))
    ));
    assert!(matches!(workflow.output.as_, Some(Transform::Template(_))));

    let schema = workflow.input.schema.as_ref().expect("a schema");
    assert_eq!(schema.validate(&json!({"amount": 5, "items": []})), Ok(()));
    let violations = schema
        .validate(&json!({"amount": -1, "items": [{}, 7]}))
        .expect_err("does not fit");
    let pointers: Vec<_> = violations.iter().map(|v| v.pointer.as_str()).collect();
    assert_eq!(pointers, ["/amount", "/items/1"]);

    let names: Vec<_> = workflow.do_.tasks.iter().map(|task| &*task.name).collect();
    assert_eq!(
        names,
        [
            "branch", "refuse", "price", "pause", "each", "later", "done"
        ]
    );
}

#[test]
fn directives_are_resolved_to_the_tasks_they_name() {
    let parsed = accepted(ORDER_INTAKE);
    let TaskKind::Switch(switch) = &pointer(&parsed, 0).task.kind else {
        panic!("a switch");
    };
    let thens: Vec<_> = switch.cases.iter().map(|case| case.then).collect();
    assert_eq!(
        thens,
        [
            FlowDirective::Goto(1),
            FlowDirective::Goto(2),
            FlowDirective::End
        ]
    );
    assert!(switch.cases[0].when.is_some() && switch.cases[2].when.is_none());
    let TaskKind::Try(attempt) = &pointer(&parsed, 2).task.kind else {
        panic!("a try");
    };
    assert_eq!(attempt.catch.then, Some(FlowDirective::Goto(3)));
    let task = parsed
        .workflow
        .task("/do/4/each/do/0/line")
        .expect("a task");
    assert_eq!(task.task.common.then, FlowDirective::Exit);
}

#[test]
fn calls_and_retries_hold_what_they_refer_to() {
    let parsed = accepted(ORDER_INTAKE);
    let task = parsed
        .workflow
        .task("/do/2/price/try/0/callPricing")
        .expect("a task");
    let TaskKind::Call(Call::Http(call)) = &task.task.kind else {
        panic!("a call");
    };
    assert_eq!(call.method, http::Method::POST);
    assert_eq!((call.output, call.redirect), (HttpOutput::Response, true));
    let Uri::Template(uri) = &call.endpoint.uri else {
        panic!("a URI template");
    };
    assert_eq!(
        uri.expand(&json!({"region": "eu west"})).as_deref(),
        Ok("https://pricing.example/v1/eu%20west/prices")
    );
    assert!(matches!(
        call.endpoint.authentication,
        Some(Authentication::Bearer(Credentials::Inline(_)))
    ));
    assert!(matches!(
        task.task.common.timeout,
        Some(DurationSource::Fixed(after)) if after == Duration::from_secs(30)
    ));

    let TaskKind::Try(attempt) = &pointer(&parsed, 2).task.kind else {
        panic!("a try");
    };
    let catch = &attempt.catch;
    assert_eq!(&*catch.as_, "fault");
    let filter = catch.errors.as_ref().expect("a filter");
    let error = |type_: &str| json!({"type": type_, "status": 503});
    assert!(filter.matches(&error(crate::language::error_type::COMMUNICATION)));
    assert!(!filter.matches(&error(crate::language::error_type::TIMEOUT)));
    let retry = catch.retry.as_ref().expect("a policy");
    assert_eq!(retry.backoff, Backoff::Exponential);
    assert_eq!(retry.limit.attempt_count, Some(3));
    assert!(retry.jitter.is_some() && retry.delay.is_some() && retry.except_when.is_some());
}

#[test]
fn lists_and_tasks_are_found_by_their_pointers() {
    let workflow = accepted(ORDER_INTAKE).workflow;
    for (list, len) in [
        ("/do", 7),
        ("/do/2/price/try", 1),
        ("/do/2/price/catch/do", 1),
        ("/do/4/each/do", 1),
        ("/do/5/later/do", 2),
    ] {
        let found = workflow.list(list).unwrap_or_else(|| panic!("{list}"));
        assert_eq!((&*found.pointer, found.len()), (list, len));
        for task in &*found.tasks {
            let same = workflow.task(&task.pointer).expect("its own pointer");
            assert!(std::ptr::eq(same, task), "{}", task.pointer);
        }
    }
    for nothing in [
        "",
        "/",
        "/do/7",
        "/do/2/pric",
        "/do/2/price/try/1/x",
        "/do/x/y",
        "do",
    ] {
        assert!(workflow.list(nothing).is_none(), "{nothing}");
        assert!(workflow.task(nothing).is_none(), "{nothing}");
    }
}

#[test]
fn the_definition_keeps_order_and_digits_from_yaml_and_from_json() {
    let parsed = accepted(ORDER_INTAKE);
    let text = &parsed.definition_json;
    assert!(
        text.starts_with(r#"{"document":{"dsl":"1.0.3","namespace":"shop""#),
        "{text}"
    );
    assert!(text.contains(r#""sum":12345678901234567890123"#), "{text}");

    let again = accepted(text);
    assert_eq!(&again.definition_json, text);
    assert_eq!(again.workflow.do_.len(), 7);
}

#[test]
fn names_with_slashes_are_escaped_in_pointers() {
    let parsed = accepted(&with_head(
        "do:\n  - a/b~c:\n      do:\n        - x: {wait: PT0S}\n",
    ));
    let list = parsed
        .workflow
        .list("/do/0/a~1b~0c/do")
        .expect("the inner list");
    assert_eq!(&*list.tasks[0].pointer, "/do/0/a~1b~0c/do/0/x");
}

#[test]
fn small_variants_are_accepted() {
    for rest in [
        "do: []\n",
        "do:\n  - a:\n      set: {x: 1}\n      then: a\n",
        "do:\n  - a:\n      for: {in: [{x: 1}, '${ .y }']}\n      do: []\n",
        "do:\n  - a:\n      for: {in: .x}\n      while: $item != null and $index < 3\n      do: []\n",
        "do:\n  - a:\n      try: []\n      catch: {}\n",
        "do:\n  - a:\n      try: []\n      catch:\n        retry: {delay: {seconds: 1}}\n",
        "do:\n  - a:\n      call: http\n      with: {method: GET, endpoint: '${ .url }'}\n",
        "do:\n  - a:\n      call: http\n      with: {method: GET, endpoint: '{+base}/x'}\n",
        "do:\n  - a:\n      call: http\n      with:\n        method: GET\n        endpoint: http://localhost:1/x\n        headers: ${ .headers }\n        query: ${ .query }\n",
        "do:\n  - a:\n      raise:\n        error: {type: https://a.b/c, status: 400, instance: /do/0}\n",
        "do:\n  - a:\n      raise:\n        error: {type: '${ .type }', status: 599}\n",
        "do:\n  - a:\n      wait: {days: 1}\n      timeout: {after: '${ .limit }'}\n",
        "do:\n  - a:\n      listen: {to: {one: {with: {type: x, data: .a > 1, source: '${ .s }'}}}, read: raw}\n",
        "do:\n  - a:\n      listen: {to: {any: [], until: '( . | length ) > 3'}}\n",
        "do:\n  - a:\n      listen:\n        to:\n          all:\n            - with: {type: x}\n              correlate: {o: {from: .data.o, expect: '${ .o }'}}\n",
        "do:\n  - a:\n      listen: {to: {one: {with: {type: x}, correlate: {o: {from: .data.o}}}}}\n",
        "do:\n  - a:\n      listen: {to: {any: []}}\n      foreach: {}\n",
        "do:\n  - a:\n      listen: {to: {any: []}}\n      foreach: {item: e, at: n, do: [{b: {set: {x: '${ $e + $n }'}}}], output: {as: $e}, export: {as: '$context + $output'}}\n",
        "do:\n  - a:\n      listen: {to: {any: [{with: {type: x}}], until: {one: {with: {type: y}}}}}\n",
        "do:\n  - a:\n      emit: {event: {with: {type: x, data: {a: ['${ .a }']}}}}\n",
        "schedule: {after: PT1M}\ndo: []\n",
        "schedule: {on: {one: {with: {type: x, data: .a > 1}}}}\ndo: []\n",
        "schedule: {on: {all: [{with: {type: x}}, {with: {type: y}}]}}\ndo: []\n",
        "schedule: {on: {any: [{with: {type: x}}, {with: {type: y}}]}}\ndo: []\n",
        "do: []\nevaluate: {language: jq, mode: strict}\n",
        "do: []\nuse: {secrets: [a], retries: {}, errors: {}}\n",
        "do: []\ninput: {schema: {document: true}}\n",
    ] {
        let parsed = accepted(&with_head(rest));
        assert_eq!(parsed.warnings, [], "{rest}");
    }
}

#[test]
fn an_error_variable_is_known_to_a_policy_where_it_is_used() {
    // `$trouble` is known only through the `as` of the `catch`.
    accepted(&with_head(
        "use:\n  retries:\n    r: {when: $trouble.status == 503}\n\
         do:\n  - a:\n      try: []\n      catch: {as: trouble, retry: r}\n",
    ));
}

#[test]
fn secrets_may_be_read_inside_of_a_call() {
    accepted(&with_head(
        "use:\n  secrets: [token, login]\ndo:\n  - a:\n      call: http\n      with:\n        \
         method: GET\n        endpoint:\n          uri: https://a.b/c\n          \
         authentication: {basic: {use: login}}\n        \
         headers: {X-Token: '${ $secrets.token }'}\n",
    ));
}
