use serde_json::json;

use super::{check, run};

#[test]
fn data_is_transformed_in_the_order_of_the_language() {
    check(&[
        // input.from narrows what the task sees.
        (
            "
do:
  - a:
      input: { from: .user.name }
      set: { name: '${ . }', same: '${ $input }', raw: '${ $task.input.user.age }' }
",
            json!({"user": {"name": "Ada", "age": 36}}),
            json!({"name": "Ada", "same": "Ada", "raw": 36}),
        ),
        // output.as sees the raw output, and the input beside it.
        (
            "
do:
  - a:
      set: { n: 2 }
      output: { as: '{ sum: (.n + $input.n), raw: $task.output.n }' }
",
            json!({"n": 40}),
            json!({"sum": 42, "raw": 2}),
        ),
        // export.as replaces the context, and sees output and old context.
        (
            "
do:
  - a:
      set: { n: 1 }
      export: { as: '{ first: $output.n }' }
  - b:
      set: { n: 2 }
      export: { as: '$context + { second: .n }' }
  - c: { set: '${ $context }' }
",
            json!({}),
            json!({"first": 1, "second": 2}),
        ),
        // The workflow's own input and output.
        (
            "
input: { from: '{ n: .deep.n }' }
do:
  - a: { set: { m: '${ .n + 1 }' } }
output: { as: '{ result: .m, was: $workflow.input.deep.n }' }
",
            json!({"deep": {"n": 1}}),
            json!({"result": 2, "was": 1}),
        ),
    ]);
}

#[test]
fn descriptors_tell_of_task_workflow_and_runtime() {
    let tasks = "
do:
  - outer:
      do:
        - tell:
            metadata: { team: orders }
            set:
              task: '${ [$task.name, $task.reference, $task.definition.metadata.team] }'
              workflow: '${ [$workflow.id, $workflow.definition.document.name] }'
              started: '${ $workflow.startedAt }'
              taskStarted: '${ $task.startedAt.epoch.seconds }'
              runtime: '${ $runtime.name }'
";
    let ran = run(tasks, &json!({}));
    assert_eq!(
        ran.output(),
        &json!({
            "task": ["tell", "/do/0/outer/do/0/tell", "orders"],
            "workflow": ["exe_test", "test"],
            "started": {
                "iso8601": "2027-01-15T08:00:00.000000Z",
                "epoch": {"seconds": 1_800_000_000, "milliseconds": 1_800_000_000_000_u64},
            },
            "taskStarted": 1_800_000_000,
            "runtime": "millrace",
        })
    );
}

#[test]
fn what_does_not_fit_a_schema_is_a_validation_error() {
    let schema = "{ format: json, document: { type: object, required: [ n ], properties: { n: { type: integer } } } }";
    let table = [
        (
            format!("input: {{ schema: {schema} }}\ndo: [ {{ a: {{ set: {{ x: 1 }} }} }} ]"),
            "/input",
        ),
        (
            format!("do: [ {{ a: {{ input: {{ schema: {schema} }}, set: {{ x: 1 }} }} }} ]"),
            "/do/0/a",
        ),
        (
            format!("do: [ {{ a: {{ set: {{ x: 1 }}, output: {{ schema: {schema} }} }} }} ]"),
            "/do/0/a",
        ),
        (
            format!(
                "do: [ {{ a: {{ set: {{ x: 1 }}, export: {{ as: ., schema: {schema} }} }} }} ]"
            ),
            "/do/0/a",
        ),
        (
            format!("do: [ {{ a: {{ set: {{ x: 1 }} }} }} ]\noutput: {{ schema: {schema} }}"),
            "/output",
        ),
    ];
    for (tasks, instance) in table {
        let ran = run(&tasks, &json!({"m": 1}));
        let fault = ran.fault();
        assert!(
            fault.kind.ends_with("/errors/validation"),
            "{tasks}: {fault:?}"
        );
        assert_eq!(
            (fault.status, fault.instance.as_str()),
            (400, instance),
            "{tasks}"
        );
        assert_eq!(ran.history().last().unwrap(), "executionFailed  0");
    }
}

#[test]
fn integers_beyond_doubles_and_key_order_survive() {
    let tasks = "do: [ { a: { set: { z: '${ .big }', a: '${ .small }' } } } ]";
    let input: serde_json::Value =
        serde_json::from_str(r#"{"big": 12345678901234567890123, "small": 0.10}"#).unwrap();
    let ran = run(tasks, &input);
    assert_eq!(
        ran.output().to_string(),
        r#"{"z":12345678901234567890123,"a":0.10}"#
    );
}
