//! Reading authentications: all findings at once, and no secret comes out.

use millrace_signature::spec::{Place, Scheme};
use millrace_signature::{AuthSpec, JoinError, Secret};
use serde_json::{Value, json};

fn findings(auth: &Value) -> Vec<(String, String)> {
    AuthSpec::parse(auth, "/triggers/0/auth")
        .unwrap_err()
        .into_iter()
        .map(|f| (f.pointer, f.message))
        .collect()
}

/// Every scheme once, with all that it can be told.
fn every_scheme() -> Vec<Value> {
    vec![
        json!({"scheme": "none"}),
        json!({"scheme": "standard", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}),
        json!({"scheme": "github", "secrets": ["hush-new", "hush-old"]}),
        json!({"scheme": "stripe", "secret": "hush"}),
        json!({"scheme": "slack", "secret": "hush"}),
        json!({"scheme": "hmac", "secret": "hush", "header": "X-Signature"}),
        json!({
            "scheme": "hmac", "secret": "hush", "header": "X-Signature", "algorithm": "sha1",
            "encoding": "base64url", "prefix": "v=", "template": "{timestamp}{{.}}{body}",
            "timestampHeader": "X-Time", "tolerance": 60,
        }),
        json!({"scheme": "basic", "username": "Aladdin", "password": "hush"}),
        json!({"scheme": "bearer", "tokens": ["hush"]}),
        json!({"scheme": "apiKey", "header": "X-Api-Key", "key": "hush"}),
        json!({"scheme": "apiKey", "query": "key", "keys": ["hush-1", "hush-2"]}),
    ]
}

#[test]
fn a_spec_is_taken_apart_and_put_together_again() {
    for auth in every_scheme() {
        let spec = AuthSpec::parse(&auth, "").unwrap();
        assert_eq!(spec.scheme().name(), auth["scheme"]);
        let (scheme, secrets) = spec.clone().split();
        let stored = scheme.to_json();
        assert_eq!(Scheme::from_json(&stored).unwrap(), scheme);
        let joined = AuthSpec::join(Scheme::from_json(&stored).unwrap(), secrets).unwrap();
        assert_eq!(joined, spec);
    }
}

#[test]
fn a_listing_shows_how_many_secrets_but_none_of_them() {
    for auth in every_scheme() {
        let spec = AuthSpec::parse(&auth, "").unwrap();
        for shown in [
            spec.public_json().to_string(),
            spec.scheme().to_json().to_string(),
            serde_json::to_string(&spec).unwrap(),
            format!("{spec:?}"),
        ] {
            assert!(
                !shown.contains("hush") && !shown.contains("MfKQ"),
                "{shown}"
            );
        }
        let count = spec
            .public_json()
            .get("activeSecrets")
            .and_then(Value::as_u64);
        assert_eq!(count.unwrap_or(0), spec.secrets().len() as u64);
    }
}

#[test]
fn what_is_stored_spells_out_the_defaults() {
    let auth = json!({"scheme": "hmac", "secret": "s", "header": "X-Signature"});
    let spec = AuthSpec::parse(&auth, "").unwrap();
    assert_eq!(
        spec.public_json(),
        json!({
            "scheme": "hmac", "header": "x-signature", "algorithm": "sha256", "encoding": "hex",
            "prefix": "", "template": "{body}", "activeSecrets": 1,
        })
    );
}

#[test]
fn all_faults_are_found_at_once_with_their_places() {
    let found = findings(&json!({
        "scheme": "hmac", "secrets": ["ok", "", "x"], "header": "not a header",
        "algorithm": "md5", "encoding": 7, "prefix": "ä", "template": "{timestamp}.{bdy}",
        "tolerance": 0, "a/b": 1,
    }));
    let places: Vec<_> = found
        .iter()
        .map(|(at, _)| at.strip_prefix("/triggers/0/auth").unwrap())
        .collect();
    for place in [
        "/secrets",
        "/header",
        "/algorithm",
        "/encoding",
        "/prefix",
        "/template",
        "/tolerance",
        "/a~1b",
    ] {
        assert!(places.contains(&place), "{place}: {found:?}");
    }
}

#[test]
fn each_fault_of_a_secret_says_how_to_mend_it() {
    each_has_one_finding([
        (json!("github"), "", "object"),
        (json!({}), "/scheme", "one of none"),
        (json!({"scheme": "GitHub"}), "/scheme", "github"),
        (
            json!({"scheme": "none", "secret": "x"}),
            "/secret",
            "unknown",
        ),
        (json!({"scheme": "github"}), "/secret", "secrets"),
        (
            json!({"scheme": "github", "secret": 5}),
            "/secret",
            "string",
        ),
        (
            json!({"scheme": "github", "secret": "x\n"}),
            "/secret",
            "pasting",
        ),
        (
            json!({"scheme": "github", "secret": "x", "secrets": ["y"]}),
            "/secrets",
            "either",
        ),
        (
            json!({"scheme": "github", "secrets": ["x", "x"]}),
            "/secrets/1",
            "twice",
        ),
        (
            json!({"scheme": "github", "secrets": ["x", "y", "z"]}),
            "/secrets",
            "one or two",
        ),
        (
            json!({"scheme": "github", "secret": "x", "token": "y"}),
            "/token",
            "unknown",
        ),
        (
            json!({"scheme": "github", "secret": "x", "activeSecrets": 1}),
            "/activeSecrets",
            "listing",
        ),
        (
            json!({"scheme": "standard", "secret": "whsec_c2hvcnQ="}),
            "/secret",
            "24",
        ),
        (
            json!({"scheme": "standard", "secret": "not base64!"}),
            "/secret",
            "base64",
        ),
        (
            json!({"scheme": "standard", "secret": "whpk_AAAA"}),
            "/secret",
            "symmetric",
        ),
    ]);
}

#[test]
fn each_fault_of_a_scheme_says_how_to_mend_it() {
    each_has_one_finding([
        (
            json!({"scheme": "basic", "username": "a:b", "password": "x"}),
            "/username",
            "colon",
        ),
        (
            json!({"scheme": "basic", "password": "x"}),
            "/username",
            "missing",
        ),
        (
            json!({"scheme": "bearer", "token": "a b"}),
            "/token",
            "without spaces",
        ),
        (json!({"scheme": "apiKey", "key": "x"}), "/header", "query"),
        (
            json!({"scheme": "apiKey", "key": "x", "header": "a", "query": "b"}),
            "/query",
            "give one",
        ),
        (
            json!({"scheme": "hmac", "secret": "x", "header": "a", "template": "{timestamp}.{body}"}),
            "/timestampHeader",
            "missing",
        ),
        (
            json!({"scheme": "hmac", "secret": "x", "header": "a", "timestampHeader": "b"}),
            "/template",
            "{timestamp}",
        ),
        (
            json!({"scheme": "hmac", "secret": "x", "header": "a", "tolerance": "PT5M"}),
            "/tolerance",
            "timestampHeader",
        ),
        (
            json!({"scheme": "hmac", "secret": "x", "header": "a", "template": "{timestamp}{body}",
                   "timestampHeader": "A"}),
            "/timestampHeader",
            "differ",
        ),
    ]);
}

fn each_has_one_finding<const N: usize>(cases: [(Value, &str, &str); N]) {
    for (auth, at, hint) in cases {
        let found = findings(&auth);
        assert_eq!(found.len(), 1, "{auth}: {found:?}");
        assert_eq!(found[0].0, format!("/triggers/0/auth{at}"), "{auth}");
        assert!(found[0].1.contains(hint), "{auth}: {found:?}");
    }
}

#[test]
fn a_finding_never_quotes_a_secret() {
    for auth in [
        json!({"scheme": "standard", "secret": "hush!"}),
        json!({"scheme": "bearer", "token": "hush hush"}),
        json!({"scheme": "github", "secrets": ["hush", "hush"]}),
        json!({"scheme": "github", "password": "hush"}),
    ] {
        assert!(!format!("{:?}", findings(&auth)).contains("hush"));
    }
}

#[test]
fn a_stored_scheme_takes_only_fitting_secrets() {
    let secrets = |n: usize| (0..n).map(|i| Secret::new(format!("s{i}"))).collect();
    for n in [0, 3] {
        let why = AuthSpec::join(Scheme::Github, secrets(n)).unwrap_err();
        assert!(matches!(why, JoinError::Count { .. }));
    }
    assert!(AuthSpec::join(Scheme::None, secrets(1)).is_err());
    let why = AuthSpec::join(Scheme::Standard, secrets(1)).unwrap_err();
    assert!(matches!(why, JoinError::Secret { index: 0, .. }), "{why}");
    assert!(Scheme::from_json(&json!({"scheme": "github", "secret": "x"})).is_err());
}

#[test]
fn what_carries_the_secret_is_named_so_that_it_can_be_hidden() {
    let place = |auth: Value| AuthSpec::parse(&auth, "").unwrap().scheme().credential();
    let header = |name| Some(Place::Header(http::HeaderName::from_static(name)));
    assert_eq!(
        place(json!({"scheme": "bearer", "token": "x"})),
        header("authorization")
    );
    assert_eq!(
        place(json!({"scheme": "apiKey", "header": "X-Api-Key", "key": "x"})),
        header("x-api-key")
    );
    assert_eq!(
        place(json!({"scheme": "apiKey", "query": "key", "key": "x"})),
        Some(Place::Query("key".to_owned()))
    );
    assert_eq!(place(json!({"scheme": "github", "secret": "x"})), None);
}
