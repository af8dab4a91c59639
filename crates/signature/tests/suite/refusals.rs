//! What is refused, and what it is called.

use millrace_signature::{AuthError, AuthSpec};
use millrace_types::{ErrorKind, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Case, at};
use crate::vectors::{github, slack, standard, stripe};

/// Each vector of a scheme that signs, and where its signature stands.
fn signing() -> [(Case, &'static str); 4] {
    [
        (standard(), "webhook-signature"),
        (github(), "x-hub-signature-256"),
        (slack(), "x-slack-signature"),
        (stripe(), "stripe-signature"),
    ]
}

fn with_header(mut case: Case, name: &'static str, value: &str) -> Case {
    case.headers.retain(|(n, _)| *n != name);
    case.headers.push((name, value.as_bytes().to_vec()));
    case
}

#[test]
fn a_missing_or_doubled_header_is_refused_by_name() {
    for (case, signature) in signing() {
        for (name, value) in case.headers.clone() {
            let mut missing = case.clone();
            missing.headers.retain(|(n, _)| *n != name);
            let why = missing.judge().unwrap_err();
            assert!(matches!(why, AuthError::Missing(_)), "{name}: {why}");
            assert_eq!(why.to_string(), format!("the header {name} is missing"));

            let mut doubled = case.clone();
            doubled.headers.push((name, value));
            let why = doubled.judge().unwrap_err();
            assert!(matches!(why, AuthError::Duplicate(_)), "{name}: {why}");
        }
        let why = with_header(case, signature, "").judge().unwrap_err();
        assert_eq!(why.reason(), "malformed");
    }
}

#[test]
fn another_body_has_a_wrong_signature_and_says_no_more() {
    for (mut case, _) in signing() {
        case.body.push(b' ');
        let why = case.judge().unwrap_err();
        assert_eq!(why, AuthError::WrongSignature);
        assert_eq!(why.kind(), ErrorKind::Unauthenticated);
    }
}

#[test]
fn a_signed_time_may_be_five_minutes_off_and_not_a_microsecond_more() {
    for (case, signed) in [
        (standard(), 1_614_265_330),
        (slack(), 1_531_420_618),
        (stripe(), 1_614_265_330),
    ] {
        let judge = |now: Timestamp| {
            Case {
                now,
                ..case.clone()
            }
            .judge()
        };
        assert!(judge(at(signed - 300)).is_ok());
        assert!(judge(at(signed + 300)).is_ok());
        let micro = |seconds: i64, by: i64| Timestamp::from_micros(seconds * 1_000_000 + by);
        let old = judge(micro(signed + 300, 1)).unwrap_err();
        assert!(matches!(old, AuthError::TooOld { .. }), "{old}");
        let new = judge(micro(signed - 300, -1)).unwrap_err();
        assert!(matches!(new, AuthError::TooNew { .. }), "{new}");
    }
    // GitHub signs no time.
    assert!(github().at(4_000_000_000).judge().is_ok());
}

#[test]
fn a_time_must_be_plain_seconds() {
    for text in [
        "",
        "+1614265330",
        "-1",
        " 1614265330",
        "1614265330.0",
        "1e9",
        "9".repeat(13).as_str(),
    ] {
        let why = with_header(standard(), "webhook-timestamp", text)
            .judge()
            .unwrap_err();
        assert_eq!(why.reason(), "malformed", "{text:?}");
    }
}

#[test]
fn one_fitting_signature_among_several_is_enough() {
    let good = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let judge = |text: String| with_header(standard(), "webhook-signature", &text).judge();
    assert!(judge(format!("v1,{other} v1a,{other} v1,{good} v2,x")).is_ok());
    assert_eq!(
        judge(format!("v1,{other} v2,{good}")).unwrap_err(),
        AuthError::WrongSignature
    );
    assert_eq!(
        judge(format!("v1a,{good}")).unwrap_err().reason(),
        "malformed"
    );
    let many = vec![format!("v1,{good}"); 17].join(" ");
    assert_eq!(judge(many).unwrap_err().reason(), "malformed");

    let good = "2441c170f5a40feb973fbe3ee4dd44706df2c4f6e56c9a55a04d0225ba3990eb";
    let other = "0".repeat(64);
    let judge = |text: String| with_header(stripe(), "stripe-signature", &text).judge();
    assert!(judge(format!("t=1614265330,v1={other},v1={good},v0={other}")).is_ok());
    for (text, reason) in [
        (format!("t=1614265330,v1={other}"), "wrong-signature"),
        (format!("t=1614265330,v0={good}"), "malformed"),
        (format!("v1={good}"), "malformed"),
        (format!("t=1614265330,t=1614265330,v1={good}"), "malformed"),
        (
            format!("t=1614265330,v1={}", good.to_uppercase()),
            "malformed",
        ),
    ] {
        assert_eq!(judge(text.clone()).unwrap_err().reason(), reason, "{text}");
    }
}

#[test]
fn both_secrets_of_a_rotation_are_accepted_and_told_apart() {
    for (case, _) in signing() {
        let secret = case.auth["secret"].clone();
        let other = json!("whsec_a2tra2tra2tra2tra2tra2tra2tra2tr");
        for (index, secrets) in [[&secret, &other], [&other, &secret]].iter().enumerate() {
            let mut case = case.clone();
            case.auth = json!({"scheme": case.auth["scheme"], "secrets": secrets});
            assert_eq!(case.judge().unwrap().secret, Some(index));
        }
        let mut case = case.clone();
        case.auth["secret"] = other;
        assert_eq!(case.judge().unwrap_err(), AuthError::WrongSignature);
    }
    let auth = json!({"scheme": "bearer", "tokens": ["new", "old"]});
    let judge = |value: &str| Case::new(auth.clone(), &[("authorization", value)], "").judge();
    assert_eq!(judge("bearer  new").unwrap().secret, Some(0));
    assert_eq!(judge("BEARER old").unwrap().secret, Some(1));
    assert_eq!(judge("Bearer ol").unwrap_err(), AuthError::WrongCredential);
    assert_eq!(judge("Basic old").unwrap_err().reason(), "malformed");
    assert_eq!(judge("Bearer").unwrap_err().reason(), "malformed");
}

#[test]
fn an_id_and_time_cannot_be_shifted_into_each_other() {
    // The signed text would be the same: id `msg_p5….1614265330`, and the
    // time taken from a body that begins with one.
    let case = with_header(
        standard(),
        "webhook-id",
        "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330",
    );
    assert_eq!(case.judge().unwrap_err().reason(), "malformed");
    let case = with_header(standard(), "webhook-id", &"a".repeat(256));
    assert_eq!(case.judge().unwrap_err().reason(), "malformed");
}

#[test]
fn a_key_in_the_query_stands_there_once() {
    let auth = json!({"scheme": "apiKey", "query": "key", "key": "abc"});
    let judge = |query: Option<&str>| {
        let mut case = Case::new(auth.clone(), &[("key", "abc")], "");
        case.query = query.map(str::to_owned);
        case.judge()
    };
    assert!(judge(Some("a=1&key=abc")).is_ok());
    assert!(matches!(judge(None), Err(AuthError::Missing(_))));
    assert!(matches!(judge(Some("a=abc")), Err(AuthError::Missing(_))));
    assert!(matches!(
        judge(Some("key=abc&key=abc")),
        Err(AuthError::Duplicate(_))
    ));
    assert_eq!(
        judge(Some("key=ab")).unwrap_err(),
        AuthError::WrongCredential
    );
}

#[test]
fn anyone_may_send_where_nothing_is_demanded() {
    let case = Case::new(
        json!({"scheme": "none"}),
        &[("idempotency-key", "k-1")],
        "x",
    );
    let verified = case.judge().unwrap();
    assert_eq!(verified.message_id.as_deref(), Some("k-1"));
    assert_eq!(verified.secret, None);
    assert_eq!(AuthSpec::none().public_json(), json!({"scheme": "none"}));
}

#[test]
fn no_error_names_a_secret_or_what_was_expected() {
    for (mut case, signature) in signing() {
        let secret = case.auth["secret"].as_str().unwrap().to_owned();
        let expected = String::from_utf8(
            case.headers
                .iter()
                .find(|(n, _)| *n == signature)
                .unwrap()
                .1
                .clone(),
        )
        .unwrap();
        case.body.push(b'!');
        let why = case.judge().unwrap_err();
        let shown = format!("{why} {why:?}");
        assert!(!shown.contains(&secret) && !shown.contains(&expected));
        let spec = AuthSpec::parse(&case.auth, "").unwrap();
        let shown = format!("{spec:?} {}", serde_json::to_value(&spec).unwrap());
        assert!(!shown.contains(&secret), "{shown}");
        assert!(matches!(spec.public_json(), Value::Object(_)));
    }
}
