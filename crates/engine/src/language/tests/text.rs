//! Texts that are no document at all, and what YAML does to expressions.

use std::fmt::Write as _;

use super::{accepted, errors, listed, with_head};

#[test]
fn expressions_that_yaml_misreads_come_with_the_way_to_quote_them() {
    for (task, fragment) in [
        ("set: ${ {a: .b} }", "quoted as a whole: '${ {a: .b} }'"),
        (
            "set:\n        x: ${ {a: .b} }",
            "quoted as a whole: '${ {a: .b} }'",
        ),
        (
            "set:\n        x: ${ \"x: \\(.n)\" }",
            "quoted as a whole: '${ \"x: \\(.n)\" }'",
        ),
        ("set: {x: ${ .y }}", "quoted as a whole"),
        (
            "set:\n        x: ${ .x # y }",
            "cuts this expression off at ` #`",
        ),
        (
            "set:\n        x: ok\n      if: ${ .x # y }",
            "cuts this expression off at ` #`",
        ),
        (
            "call: http\n      with: {method: GET, endpoint: ${ .x # y\n        }}",
            "quoted as a whole",
        ),
    ] {
        let found = errors(&with_head(&format!("do:\n  - a:\n      {task}\n")));
        assert!(
            found
                .iter()
                .any(|f| f.message.contains(fragment) && f.line >= 8),
            "{task}: {}",
            listed(&found)
        );
    }
}

#[test]
fn a_cut_expression_is_one_finding_at_its_pointer() {
    let found = errors(&with_head(
        "do:\n  - a:\n      set:\n        x: ${ .x # y }\n",
    ));
    assert_eq!(found.len(), 1, "{}", listed(&found));
    assert_eq!(
        (found[0].pointer.as_str(), found[0].line, found[0].column),
        ("/do/0/a/set/x", 9, 12)
    );
}

#[test]
fn text_around_an_expression_is_warned_about() {
    let parsed = accepted(&with_head(
        "do:\n  - a:\n      set: {x: 'Hello ${ .name }'}\n",
    ));
    assert_eq!(parsed.warnings.len(), 1, "{}", listed(&parsed.warnings));
    assert_eq!(parsed.warnings[0].pointer, "/do/0/a/set/x");
    assert!(parsed.warnings[0].message.contains("passed on as it is"));
}

#[test]
fn a_case_that_hides_others_is_warned_about() {
    let parsed = accepted(&with_head(
        "do:\n  - a:\n      switch:\n        - b: {then: end}\n        - c: {when: .x, then: exit}\n",
    ));
    assert_eq!(parsed.warnings.len(), 1, "{}", listed(&parsed.warnings));
    assert_eq!(parsed.warnings[0].pointer, "/do/0/a/switch/0/b");
}

#[test]
fn texts_that_are_no_yaml_name_the_line_of_the_fault() {
    for (text, line, fragment) in [
        ("", 1, "empty"),
        ("   \n", 1, "empty"),
        ("{", 1, "broken"),
        ("{\"document\": }", 1, "broken JSON"),
        ("document:\n  name: [\n", 2, "broken YAML"),
        ("document:\n  name: 'x\n", 0, "broken YAML"),
        ("document:\n name: x\n  dsl: y\n", 3, "broken YAML"),
        ("a: b: c\n", 1, "broken YAML"),
        ("%\n", 1, "broken YAML"),
        ("\u{0}", 1, ""),
    ] {
        let found = errors(text);
        assert_eq!(found.len(), 1, "{text:?}: {}", listed(&found));
        assert!(line == 0 || found[0].line == line, "{text:?}: {}", found[0]);
        assert!(
            found[0].line > 0 && found[0].column > 0,
            "{text:?}: {}",
            found[0]
        );
        assert!(
            found[0].message.contains(fragment),
            "{text:?}: {}",
            found[0]
        );
    }
}

#[test]
fn oversized_documents_are_refused() {
    let found = errors(&with_head(&format!(
        "do: []\n# {}\n",
        "x".repeat(1024 * 1024)
    )));
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("at most 1048576"), "{}", found[0]);

    let mut nested = String::from("do:\n");
    for depth in 0..40 {
        let indent = " ".repeat(depth * 6 + 2);
        let _ = writeln!(
            nested,
            "{indent}- t:
{indent}    do:"
        );
    }
    let found = errors(&with_head(&nested));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].message.contains("nested more than 64 deep"),
        "{}",
        found[0]
    );

    let mut many = String::from("do:\n  - a:\n      set:\n");
    for key in 0..4200 {
        let _ = writeln!(many, "        k{key}: '${{ . }}'");
    }
    let found = errors(&with_head(&many));
    assert_eq!(found.len(), 1, "{}", listed(&found));
    assert!(
        found[0].message.contains("more than 4096 expressions"),
        "{}",
        found[0]
    );
}

#[test]
fn flow_style_yaml_is_no_broken_json() {
    let text = "{document: {dsl: 1.0.3, namespace: a, name: b, version: 1.0.0}, # fine\n do: []}";
    assert!(accepted(text).workflow.do_.is_empty());
}

#[test]
fn a_document_full_of_faults_is_told_in_part() {
    let mut text = String::from("do:\n");
    for index in 0..5000 {
        let _ = writeln!(
            text,
            "  - t{index}: {{set: {{x: 1}}, then: nowhere{index}}}"
        );
    }
    let found = errors(&with_head(&text));
    assert_eq!(found.len(), 201);
    assert_eq!(found[0].line, 7);
    assert!(
        found[200].message.contains("only 200 findings are told"),
        "{}",
        found[200]
    );
}

#[test]
fn a_long_definition_cannot_be_put_in_place_without_bound() {
    let mut text = format!(
        "use:\n  errors:\n    e: {{type: 'a:b', status: 400, detail: {}}}\ndo:\n",
        "x".repeat(500_000)
    );
    for index in 0..1000 {
        let _ = writeln!(text, "  - t{index}: {{raise: {{error: e}}}}");
    }
    let found = errors(&with_head(&text));
    assert!(
        found[0].message.contains("referred to too often"),
        "{}",
        found[0]
    );
}

#[test]
fn messages_never_quote_a_document_at_length() {
    let long = "x: ".repeat(100_000);
    for text in [
        long.clone(),
        with_head(&format!("do: []\n'{long}': 1\n")),
        with_head(&format!("do:\n  - a:\n      wait: '{long}'\n")),
        with_head(&format!(
            "do:\n  - a:\n      wait: PT0S\n      then: '{long}'\n"
        )),
    ] {
        for finding in errors(&text) {
            assert!(
                finding.message.chars().count() <= 501,
                "{}",
                finding.message
            );
        }
    }
}
