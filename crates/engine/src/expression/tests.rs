//! What expressions compute.

use super::*;
use crate::value::{Value, from_json, object, string, to_json};

fn run(source: &str, input: &str) -> String {
    let input = from_json(input.as_bytes()).expect("input is JSON");
    let expression = Expression::compile(source, &[]).unwrap_or_else(|e| panic!("{source}: {e}"));
    match expression.eval(&input, &Variables::default()) {
        Ok(value) => to_json(&value),
        Err(error) => format!("error: {error}"),
    }
}

#[track_caller]
fn check(source: &str, input: &str, output: &str) {
    assert_eq!(run(source, input), output, "{source} of {input}");
}

#[test]
fn values_are_computed_as_in_jq() {
    check(".a + 1", r#"{"a":41}"#, "42");
    check(".a.b[1:].c?", r#"{"a":{"b":[1,{}]}}"#, "null");
    check(
        "[.[] | select(.n > 1) | .n * 2]",
        r#"[{"n":1},{"n":2},{"n":3}]"#,
        "[4,6]",
    );
    check("6 / 2", "null", "3");
    check("[1,2,3] | add / length", "null", "2");
    check(
        r#""x: \(.n) \(.s)""#,
        r#"{"n":1.50,"s":"é"}"#,
        r#""x: 1.50 é""#,
    );
    check(
        "to_entries | map(\"\\(.key)=\\(.value)\") | join(\"&\")",
        r#"{"b":1,"a":2}"#,
        r#""b=1&a=2""#,
    );
    check(
        "with_entries(.value += 1)",
        r#"{"z":1,"a":2}"#,
        r#"{"z":2,"a":3}"#,
    );
    check("{(.k): 1, b}", r#"{"k":"a","b":3}"#, r#"{"a":1,"b":3}"#);
}

#[test]
fn library_filters_work() {
    check(
        "[.[] | length]",
        r#"[null,-5,"é",[1],{"a":1}]"#,
        "[0,5,1,1,1]",
    );
    check(
        "sort_by(.a) | map(.a)",
        r#"[{"a":3},{"a":1},{"a":2}]"#,
        "[1,2,3]",
    );
    check(
        "group_by(.k) | map(length)",
        r#"[{"k":1},{"k":2},{"k":1}]"#,
        "[2,1]",
    );
    check("unique", "[3,1,3,2,1]", "[1,2,3]");
    check("[min, max, min_by(-.), max_by(-.)]", "[2,1,3]", "[1,3,3,1]");
    check("[sort, min, max] | tojson", "[]", r#""[[],null,null]""#);
    check("contains({a:[1]})", r#"{"a":[2,1],"b":0}"#, "true");
    check("[has(\"a\"), has(\"b\")]", r#"{"a":null}"#, "[true,false]");
    check("indices(\"a\")", r#""banana""#, "[1,3,5]");
    check("indices([1,2])", "[0,1,2,1,2]", "[1,3]");
    check("index(1)", "[0,1,2]", "1");
    check("\"123\" | tonumber", "null", "123");
    check(
        "tojson | fromjson",
        r#"{"a":[1.0,"x"]}"#,
        r#"{"a":[1.0,"x"]}"#,
    );
    check("@base64, @base64d", r#""aGk=""#, r#""YUdrPQ==""#);
    check(
        "[@uri, @html, @sh, @json, @text]",
        r#""a b<'""#,
        r#"["a%20b%3C%27","a b&lt;&apos;","'a b<'\\'''","\"a b<'\"","a b<'"]"#,
    );
    check("@csv", r#"["a\"b",1,null,true]"#, r#""\"a\"\"b\",1,,true""#);
    check("@tsv", r#"["a\tb",1]"#, r#""a\\tb\t1""#);
    check("explode | implode", r#""aé😀""#, r#""aé😀""#);
    check(
        "walk(if type == \"number\" then . + 1 else . end)",
        r#"[1,{"a":2}]"#,
        r#"[2,{"a":3}]"#,
    );
    check("[paths]", r#"{"a":[1]}"#, r#"[["a"],["a",0]]"#);
    check("[limit(3; range(10))]", "null", "[0,1,2]");
    check("[range(0; 10; 4)]", "null", "[0,4,8]");
    check("first(range(5; 10))", "null", "5");
    check(
        "[.[] as [$a, {b: $c}] | $a + $c]",
        r#"[[1,{"b":2}]]"#,
        "[3]",
    );
    check("reduce .[] as $x (0; . + $x)", "[1,2,3]", "6");
    check(
        "[foreach .[] as $x (0; . + $x; [$x, .])]",
        "[1,2]",
        "[[1,1],[2,3]]",
    );
    check("[while(. < 20; . * 2)]", "3", "[3,6,12]");
    check("until(. > 100; . * 2)", "3", "192");
    check(
        "[recurse(if . < 3 then . + 1 else empty end)]",
        "0",
        "[0,1,2,3]",
    );
    check(
        "[.[] | tostring]",
        r#"[1,"a",[1],null]"#,
        r#"["1","a","[1]","null"]"#,
    );
    check(
        "from_entries",
        r#"[{"name":"a","value":1},{"k":"b","v":2}]"#,
        r#"{"a":1,"b":2}"#,
    );
    check("ascii_downcase | split(\",\")", r#""A,B""#, r#"["a","b"]"#);
    check("transpose", "[[1,2],[3]]", "[[1,3],[2,null]]");
    check("todate", "0", r#""1970-01-01T00:00:00Z""#);
    check("now | type", "null", r#""number""#);
    check("any(.[]; . > 2), all", "[1,2,3]", "true");
    check("flatten", "[1,[2,[3]]]", "[1,2,3]");
    check("IN(2, 3)", "2", "true");
    check(
        "INDEX(.id) | keys",
        r#"[{"id":1},{"id":"b"}]"#,
        r#"["1","b"]"#,
    );
}

#[test]
fn regular_expressions_work() {
    check("test(\"^a.c$\")", r#""abc""#, "true");
    check(
        "[match(\"(?<x>b)(z)?\"; \"g\") | .offset, .captures[0].name, .captures[1].string]",
        r#""éb""#,
        r#"[1,"x",null]"#,
    );
    check(
        "capture(\"(?<y>\\\\d+)-(?<m>\\\\d+)\")",
        r#""2026-11""#,
        r#"{"y":"2026","m":"11"}"#,
    );
    check(
        "gsub(\"[aeiou]\"; \"<\\(.)>\")",
        r#""hello""#,
        r#""h<{}>ll<{}>""#,
    );
    check(
        "gsub(\"(?<v>[aeiou])\"; \"<\\(.v)>\")",
        r#""hello""#,
        r#""h<e>ll<o>""#,
    );
    check("[splits(\", *\")]", r#""a, b,c""#, r#"["a","b","c"]"#);
    check("[scan(\"\\\\w\")]", r#""ab""#, r#"["a","b"]"#);
    check("sub(\"a\"; \"b\")", r#""aa""#, r#""ba""#);
}

#[test]
fn updates_make_what_they_need_and_keep_order() {
    check(".a.b = 1", "null", r#"{"a":{"b":1}}"#);
    check(".[2] = 1", "null", "[null,null,1]");
    check(".[-1] = 9", "[1,2]", "[1,9]");
    check(".[-3] = 9", "[1,2]", "error: index -3 out of bounds");
    check(
        "del(.b)",
        r#"{"a":1,"b":2,"c":3,"d":4}"#,
        r#"{"a":1,"c":3,"d":4}"#,
    );
    check("del(.[0, 2])", "[1,2,3,4]", "[2,4]");
    check("del(.a.b, .x?)", r#"{"a":null}"#, r#"{"a":null}"#);
    check(".[1:3] = [\"x\"]", "[0,1,2,3]", r#"[0,"x",3]"#);
    check(".[1:2] |= ascii_upcase", r#""abc""#, r#""aBc""#);
    check(".. |= (numbers |= . + 1)", "[1,[2]]", "[2,[3]]");
    check("setpath([\"a\",0]; 1)", "null", r#"{"a":[1]}"#);
    check("map_values(. + 1)", r#"{"a":1}"#, r#"{"a":2}"#);
    check(".a += 1", r#"{"a":1}"#, r#"{"a":2}"#);
    check(".a //= 7", "{}", r#"{"a":7}"#);
    check("to_entries", r#"{"b":1}"#, r#"[{"key":"b","value":1}]"#);
}

#[test]
fn numbers_stay_exact() {
    check(
        ".",
        "123456789012345678901234567890",
        "123456789012345678901234567890",
    );
    check(
        ". + 1",
        "123456789012345678901234567890",
        "123456789012345678901234567891",
    );
    check("9007199254740993 * 3", "null", "27021597764222979");
    check(".a", r#"{"a":1.10}"#, "1.10");
    check(
        "[nan, infinite, -infinite] | tojson",
        "null",
        r#""[null,1.7976931348623157e308,-1.7976931348623157e308]""#,
    );
    check(".[1.7]", "[1,2]", "2");
    check("1 % 0", "null", "error: cannot calculate 1 % 0");
}

#[test]
fn the_first_output_counts_and_none_is_null() {
    check("1, 2, error(\"not reached\")", "null", "1");
    check("empty", "1", "null");
    check(".[]", "[]", "null");
}

#[test]
fn errors_are_the_authors_to_see_and_to_catch() {
    check("error(\"no\")", "null", "error: no");
    check("try error({a:1}) catch .a", "null", "1");
    check(".a", "[1]", "error: cannot index [1] with \"a\"");
    check("try (1 + {}) catch \"caught\"", "null", r#""caught""#);
    check("(.a | error)? // 3", "{}", "3");
    let failed = Expression::compile("error({code: 7})", &[]).expect("compiles");
    match failed.eval(&Value::Null, &Variables::default()) {
        Err(EvalError::Failed { value, .. }) => assert_eq!(to_json(&value), r#"{"code":7}"#),
        other => panic!("{other:?}"),
    }
}

#[test]
fn variables_are_seen_by_name_and_unset_ones_are_null() {
    let expression = Expression::compile("[$context.a, $item, $input, $index]", &["item", "index"]);
    let expression = expression.expect("compiles");
    let mut vars = Variables::default()
        .with("item", string("x"))
        .with("index", 3.into());
    vars.context = object([("a", 1)]);
    let value = expression.eval(&Value::Null, &vars).expect("evaluates");
    assert_eq!(to_json(&value), r#"[1,"x",null,3]"#);
    assert!(expression.uses("context") && expression.uses("item") && !expression.uses("secrets"));
}

#[test]
fn what_does_not_compile_says_where() {
    let error = |source| Expression::compile(source, &["item"]).expect_err(source);
    assert_eq!(error(".a | $nope").message, "there is no variable $nope");
    assert_eq!(error(".a | $nope").offset, Some(5));
    assert_eq!(error("nope(1)").message, "there is no filter nope/1");
    assert_eq!(error(".a |").message, "expected term, found the end");
    assert_eq!(error("1 & 2").offset, Some(2));
    assert_eq!(error("(1").message, "expected closing parenthesis");
    for source in [
        "",
        "import \"a\" as a; .",
        "include \"a\"; .",
        "a::b",
        "$ENV",
        "$__prog_args",
        "$__loc__",
        "$item2",
    ] {
        error(source);
    }
}

#[test]
fn templates_evaluate_only_whole_strings_of_the_strict_form() {
    let value = serde_json::json!({
        "lit": "a ${ .b }", "x": "${ .n + 1 }", "deep": [1, {"y": "${.s}"}], "${ .n }": " ${ .n } "
    });
    let template = Template::compile(&value, &[]).expect("compiles");
    let input = from_json(br#"{"n":1,"s":"t"}"#).expect("is JSON");
    let out = template
        .eval(&input, &Variables::default())
        .expect("evaluates");
    assert_eq!(
        to_json(&out),
        r#"{"lit":"a ${ .b }","x":2,"deep":[1,{"y":"t"}],"${ .n }":1}"#
    );
}

#[test]
fn a_template_reports_every_error_with_its_pointer() {
    let value = serde_json::json!({"a/b": ["x", "${ | }"], "c": "${ $secrets }", "d": "${ nope }"});
    let errors = Template::compile(&value, &[]).expect_err("does not compile");
    let pointers: Vec<_> = errors.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/a~1b/1", "/d"]);
    let secret = Template::compile(&serde_json::json!(["${ $secrets.a }"]), &[]).expect("compiles");
    assert!(secret.uses("secrets") && !secret.uses("input"));
}

#[test]
fn a_literal_template_is_shared_not_copied() {
    let template = Template::compile(&serde_json::json!({"a": [1]}), &[]).expect("compiles");
    let once = template
        .eval(&Value::Null, &Variables::default())
        .expect("evaluates");
    let (Value::Obj(a), Some(Value::Obj(b))) = (&once, template.literal()) else {
        panic!()
    };
    assert!(std::sync::Arc::ptr_eq(a, b));
}

#[test]
fn the_expressions_of_a_template_share_one_budget() {
    let one = "${ [range(90000)] | map(. + 1) | length }";
    let run = |n| {
        let value = serde_json::Value::from(vec![one; n]);
        let template = Template::compile(&value, &[]).expect("compiles");
        template.eval(&Value::Null, &Variables::default())
    };
    assert!(run(1).is_ok(), "{:?}", run(1));
    assert!(matches!(run(50), Err(EvalError::Limit(_))));
}

#[test]
fn expressions_are_shared_between_threads() {
    fn shared<T: Clone + Send + Sync>() {}
    shared::<Expression>();
    shared::<Template>();
    shared::<Variables>();
    shared::<Value>();
}

#[test]
fn evaluating_takes_microseconds() {
    let expression = Expression::compile(".a + 1", &[]).expect("compiles");
    let (input, vars) = (object([("a", 1)]), Variables::default());
    let rounds = 10_000;
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        expression.eval(&input, &vars).expect("evaluates");
    }
    let each = start.elapsed() / rounds;
    println!(".a + 1 takes {each:?}");
    assert!(each < std::time::Duration::from_millis(1), "{each:?}");
}
