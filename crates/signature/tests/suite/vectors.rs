//! Published vectors are accepted, and refused with any one bit changed.

use http::Method;
use serde_json::json;

use crate::harness::Case;

/// The example of the reference libraries' tests ("sign function works") at
/// github.com/standard-webhooks/standard-webhooks.
pub fn standard() -> Case {
    Case::new(
        json!({"scheme": "standard", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}),
        &[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            (
                "webhook-signature",
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ],
        r#"{"test": 2432232314}"#,
    )
    .at(1_614_265_330)
}

/// GitHub Docs, "Validating webhook deliveries", "Testing the webhook payload
/// validation".
pub fn github() -> Case {
    Case::new(
        json!({"scheme": "github", "secret": "It's a Secret to Everybody"}),
        &[(
            "x-hub-signature-256",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        )],
        "Hello, World!",
    )
}

/// Slack's documentation, "Verifying requests from Slack".
pub fn slack() -> Case {
    Case::new(
        json!({"scheme": "slack", "secret": "8f742231b10e8888abcd99yyyzzz85a5"}),
        &[
            ("x-slack-request-timestamp", "1531420618"),
            (
                "x-slack-signature",
                "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
            ),
        ],
        "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
         &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
         &command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com\
         %2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
         &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
    )
    .at(1_531_420_618)
}

/// Stripe publishes the scheme ("Verify webhook signatures manually") but no
/// vector with secret and body. This one is computed by it with OpenSSL:
/// `printf '1614265330.<body>' | openssl dgst -sha256 -hmac <secret>`.
pub fn stripe() -> Case {
    Case::new(
        json!({"scheme": "stripe", "secret": "whsec_millrace_test_secret"}),
        &[(
            "stripe-signature",
            "t=1614265330,v1=2441c170f5a40feb973fbe3ee4dd44706df2c4f6e56c9a55a04d0225ba3990eb",
        )],
        r#"{"id": "evt_test_webhook", "object": "event"}"#,
    )
    .at(1_614_265_330)
}

#[test]
fn standard_webhooks_example_is_accepted_and_every_changed_bit_refused() {
    let case = standard();
    let verified = case.judge().unwrap();
    assert_eq!(
        verified.message_id.as_deref(),
        Some("msg_p5jXN8AQM9LWM0D4loKWxJek")
    );
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    case.refuses_every_changed_bit(true, &headers, &["secret"]);
}

#[test]
fn github_example_is_accepted_and_every_changed_bit_refused() {
    github().refuses_every_changed_bit(true, &["x-hub-signature-256"], &["secret"]);
}

#[test]
fn slack_example_is_accepted_and_every_changed_bit_refused() {
    let headers = ["x-slack-signature", "x-slack-request-timestamp"];
    slack().refuses_every_changed_bit(true, &headers, &["secret"]);
}

#[test]
fn stripe_signature_is_accepted_and_every_changed_bit_refused() {
    stripe().refuses_every_changed_bit(true, &["stripe-signature"], &["secret"]);
}

/// RFC 2202 (SHA-1) and RFC 4231 (SHA-2), test case 2 each; RFC 4648 gives
/// the base64 spellings.
#[test]
fn rfc_vectors_are_accepted_as_generic_hmac_and_every_changed_bit_refused() {
    let sha512 = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                  9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";
    for (algorithm, encoding, signature) in [
        ("sha1", "hex", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        ("sha1", "base64", "7/zfauXrL6LSdBbV8YTfnCWafHk="),
        (
            "sha256",
            "hex",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            "sha256",
            "hex",
            "5BDCC146BF60754E6A042426089575C75A003F089D2739839DEC58B964EC3843",
        ),
        (
            "sha256",
            "base64",
            "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM",
        ),
        ("sha512", "hex", sha512),
        (
            "sha512",
            "base64url",
            "Fkt6e_z4GeLjlfvnO1bgo4e9ZCIugx_WECcM1-olBVSXWL91wFqZSm0DT2X48Ob9yuqxo01Ka0tjbgcKOLznNw==",
        ),
    ] {
        let auth = json!({
            "scheme": "hmac", "secret": "Jefe", "header": "X-Signature",
            "algorithm": algorithm, "encoding": encoding,
        });
        Case::new(
            auth,
            &[("x-signature", signature)],
            "what do ya want for nothing?",
        )
        .refuses_every_changed_bit(true, &["x-signature"], &["secret"]);
    }
}

#[test]
fn vendors_schemes_can_be_described_as_generic_hmac() {
    let mut case = github();
    case.auth = json!({
        "scheme": "hmac", "secret": "It's a Secret to Everybody",
        "header": "X-Hub-Signature-256", "prefix": "sha256=",
    });
    case.refuses_every_changed_bit(true, &["x-hub-signature-256"], &["secret", "prefix"]);

    let mut case = slack();
    case.auth = json!({
        "scheme": "hmac", "secret": "8f742231b10e8888abcd99yyyzzz85a5",
        "header": "X-Slack-Signature", "prefix": "v0=", "template": "v0:{timestamp}:{body}",
        "timestampHeader": "X-Slack-Request-Timestamp", "tolerance": "PT5M",
    });
    let headers = ["x-slack-signature", "x-slack-request-timestamp"];
    case.refuses_every_changed_bit(true, &headers, &["secret", "prefix"]);
}

/// Computed with Python's `hmac` over the text that the template gives.
#[test]
fn a_template_may_sign_the_whole_request() {
    let auth = json!({
        "scheme": "hmac", "secret": "orders-signing-secret", "header": "Signature",
        "algorithm": "sha512", "encoding": "base64url",
        "template": "{method} {path}?{query} {header:X-Nonce} {{{timestamp}}} {body}",
        "timestampHeader": "X-Time",
    });
    let signature =
        "fsZSl7DE_enOZXpucspokPTfllbzGT3ozLbRtAloIGxHywoKE9Tzii7W76U2nS7EK2q3dm0-I-ihHs9BK7p5MQ";
    let headers = [
        ("signature", signature),
        ("x-nonce", "n-7"),
        ("x-time", "1614265330"),
    ];
    let mut case = Case::new(auth, &headers, r#"{"test": 2432232314}"#).at(1_614_265_330);
    case.method = Method::PUT;
    case.path = "/webhooks/orders/eu%20west".to_owned();
    case.query = Some("dry=1&x=%7B".to_owned());
    case.refuses_every_changed_bit(true, &["signature", "x-nonce", "x-time"], &["secret"]);
    case.refuses_every_changed_bit_of_its_target();
    case.method = Method::POST;
    assert!(case.judge().is_err());
}

/// RFC 7617, section 2.
#[test]
fn basic_example_is_accepted_and_every_changed_bit_refused() {
    let auth = json!({"scheme": "basic", "username": "Aladdin", "password": "open sesame"});
    let credential = "QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
    let value = format!("Basic {credential}");
    let case = Case::new(auth, &[("authorization", &value)], "");
    case.refuses_every_changed_bit(false, &[], &["username", "password"]);
    refuses_every_changed_bit_after(&case, "Basic ".len());
}

/// RFC 6750, section 2.1.
#[test]
fn bearer_example_is_accepted_and_every_changed_bit_refused() {
    let auth = json!({"scheme": "bearer", "token": "mF_9.B5f-4.1JqM"});
    let case = Case::new(auth, &[("authorization", "Bearer mF_9.B5f-4.1JqM")], "");
    case.refuses_every_changed_bit(false, &[], &["token"]);
    refuses_every_changed_bit_after(&case, "Bearer ".len());
}

#[test]
fn an_api_key_is_accepted_in_its_place_and_every_changed_bit_refused() {
    let auth = json!({"scheme": "apiKey", "header": "X-Api-Key", "key": "k_3f+9%20"});
    let case = Case::new(auth, &[("x-api-key", "k_3f+9%20")], "");
    case.refuses_every_changed_bit(false, &["x-api-key"], &["key"]);

    let auth = json!({"scheme": "apiKey", "query": "api key", "key": "k_3f+9%20"});
    let mut case = Case::new(auth, &[], "");
    case.query = Some("api+key=k_3f%2B9%2520".to_owned());
    case.refuses_every_changed_bit(false, &[], &["key", "query"]);
    let query = case.query.clone().unwrap();
    crate::harness::each_bit(query.as_bytes(), |bytes, what| {
        case.query = Some(String::from_utf8_lossy(&bytes).into_owned());
        // The case of a percent escape's digits means nothing.
        if !case.query.as_ref().unwrap().eq_ignore_ascii_case(&query) {
            assert!(case.judge().is_err(), "query: {what}");
        }
    });
}

/// The name of the scheme before the credential may be in any case.
fn refuses_every_changed_bit_after(case: &Case, start: usize) {
    let original = case.headers[0].1.clone();
    crate::harness::each_bit(&original[start..], |bytes, what| {
        let mut changed = case.clone();
        changed.headers[0].1 = [&original[..start], &bytes].concat();
        if http::HeaderValue::from_bytes(&changed.headers[0].1).is_ok() {
            assert!(changed.judge().is_err(), "credential: {what}");
        }
    });
}
