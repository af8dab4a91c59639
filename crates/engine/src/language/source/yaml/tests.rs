use std::fmt::Write as _;

use serde_json::json;

use super::*;

#[test]
fn values_keep_their_order_their_digits_and_their_place() {
    let node = read("z: [1.10, 'yes', on]\na:\n  é: \"x\\ty\"\n  big: 123456789012345678901\nb: |\n  l1\n  l2\n")
        .expect("reads");
    assert_eq!(
        node.to_json().to_string(),
        r#"{"z":[1.10,"yes","on"],"a":{"é":"x\ty","big":123456789012345678901},"b":"l1\nl2\n"}"#
    );
    let big = node.get("a").and_then(|a| a.value.get("big")).expect("big");
    assert_eq!(big.key_at, Position { line: 4, column: 3 });
    assert_eq!(big.value.at, Position { line: 4, column: 8 });
}

#[test]
fn aliases_are_filled_in() {
    let node = read("a: &x {b: [1]}\nc: *x\nd: [*x, *x]\n").expect("reads");
    assert_eq!(
        node.to_json(),
        json!({"a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}, {"b": [1]}]})
    );
}

#[test]
fn broken_yaml_names_its_place() {
    for (text, line, pointer, fragment) in [
        ("", 1, "", "empty"),
        ("# only a comment\n", 1, "", "empty"),
        ("a: [1, 2\nb: 3\n", 2, "", "broken YAML"),
        ("a:\n\tb: 2\n", 2, "", "broken YAML"),
        ("a: 1\n---\nb: 2\n", 2, "", "second YAML document"),
        ("a: 1\nb:\n  a: 1\n  a: 2\n", 4, "/b/a", "twice"),
        ("a:\n  - x: *nope\n", 2, "/a/0/x", "no anchor"),
        ("a: &x [*x]\n", 1, "/a/0", "inside of what it stands for"),
        ("a: !secret x\n", 1, "/a", "means nothing"),
        ("a: .nan\n", 1, "/a", "not a number that JSON can hold"),
        ("a:\n  <<: {b: 1}\n", 2, "/a/<<", "merge keys"),
        ("? [a]\n: b\n", 1, "", "a key must be a text"),
    ] {
        let fault = read(text).expect_err(text);
        assert_eq!(
            (fault.line, fault.pointer.as_str()),
            (line, pointer),
            "{text:?}: {fault}"
        );
        assert!(fault.message.contains(fragment), "{text:?}: {fault}");
    }
}

#[test]
fn alias_bombs_are_refused_before_they_unfold() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(text, "a{level}: &a{level} [{aliases}]");
    }
    let fault = read(&text).expect_err("a bomb");
    assert!(fault.message.contains("50000 values"), "{fault}");

    let text = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(500_000),
        "*a, ".repeat(50)
    );
    let fault = read(&text).expect_err("a long text, often");
    assert!(fault.message.contains("bytes of text"), "{fault}");
}

#[test]
fn deep_nesting_is_refused_in_either_style() {
    let text = format!("a: {}{}", "[".repeat(70), "]".repeat(70));
    let fault = read(&text).expect_err("flow");
    assert!(fault.message.contains("nested more than 64"), "{fault}");
    let fault = read(&"[".repeat(100_000)).expect_err("flow, far too deep");
    assert!(fault.line == 1, "{fault}");
    let fault = read(&"- ".repeat(70)).expect_err("block");
    assert!(fault.message.contains("nested more than 64"), "{fault}");
    let mut text = "a0: &a0 [[[[[[[[[[x]]]]]]]]]]\n".to_owned();
    for level in 1..8 {
        let inner = level - 1;
        let _ = writeln!(text, "a{level}: &a{level} [[[[[[[[[[*a{inner}]]]]]]]]]]");
    }
    let fault = read(&text).expect_err("through aliases");
    assert!(fault.message.contains("nested more than 64"), "{fault}");
}

#[test]
fn a_comment_behind_an_unquoted_text_is_noticed() {
    let node = read("a: ${ .x # y }\nb: '${ .x # y }'\nc: ${ .x }\n").expect("reads");
    let cut = |key: &str| match &node.get(key).expect("there").value.data {
        Data::Text(text) => text.cut_by_comment,
        other => panic!("{other:?}"),
    };
    assert_eq!((cut("a"), cut("b"), cut("c")), (true, false, false));
}
