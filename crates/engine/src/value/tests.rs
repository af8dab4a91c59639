use super::*;

fn read(text: &str) -> Value {
    from_json(text.as_bytes()).expect("is JSON")
}

#[test]
fn json_survives_with_key_order_big_integers_and_decimals() {
    let text = r#"{"z":1,"a":123456789012345678901234567890,"d":1.10,"n":-0,"s":"\u0000\"é😀","e":1E+2,"x":[[],{},null,true,false]}"#;
    assert_eq!(to_json(&read(text)), text);
}

#[test]
fn only_strict_json_is_read() {
    for bad in [
        "",
        " ",
        "nul",
        "NaN",
        "+1",
        "01",
        "1.",
        ".5",
        "1e",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "[1 2]",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"a",
        "\"\n\"",
        "1 2",
        "# c\n1",
        "b\"x\"",
    ] {
        assert!(from_json(bad.as_bytes()).is_err(), "{bad:?} was read");
    }
    assert!(from_json(b"\"\xff\"").is_err());
}

#[test]
fn depth_is_bounded_when_reading() {
    let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let most = usize::from(MAX_DEPTH);
    assert_eq!(read(&nested(most)).depth(), MAX_DEPTH);
    assert_eq!(
        from_json(nested(most + 1).as_bytes()).unwrap_err().reason,
        "nested too deeply"
    );
    assert!(from_json("[".repeat(1_000_000).as_bytes()).is_err());
}

#[test]
fn what_json_cannot_say_is_written_as_jq_does() {
    assert_eq!(
        to_json(&array([f64::NAN, f64::INFINITY])),
        "[null,1.7976931348623157e308]"
    );
    assert_eq!(
        to_json(&array([3.0, 2.5, 1e300, -0.001])),
        "[3,2.5,1e300,-0.001]"
    );
}

#[test]
fn serde_round_trip_keeps_everything() {
    let text =
        r#"{"b":[1,2.50,123456789012345678901234567890],"a":{"$serde_json::private::Number":"1"}}"#;
    let serde: serde_json::Value = to_serde(&read(text));
    assert_eq!(to_json(&from_serde(&serde)), text);
}

#[test]
fn a_message_carries_only_the_start_of_a_long_value() {
    let long = string("é".repeat(1000)).to_string();
    assert!(long.len() < 220 && long.ends_with('…'), "{long}");
}

#[test]
fn order_is_that_of_jq() {
    let mut values = [
        "{}",
        "[]",
        "\"a\"",
        "1",
        "true",
        "false",
        "null",
        "[1]",
        "{\"a\":1}",
    ]
    .map(read);
    values.sort();
    let sorted = to_json(&array(values));
    assert_eq!(sorted, r#"[null,false,true,1,"a",[],[1],{},{"a":1}]"#);
}
