//! Webhooks through the real binary, on both databases.

mod support;

use millrace_testkit::TestDatabase;
use serde_json::{Value, json};
use support::{Millrace, answer, command};

/// Two keys, as `webhooks.sealing_key` takes them.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "HxAeHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgE=";

const ECHO: &str = "document: {dsl: 1.0.3, namespace: test, name: guarded, version: 1.0.0}\n\
    do:\n- keep:\n    set: {n: 1}\n";

/// Who answers HTTP, and what has to live as long.
struct Place {
    http: Millrace,
    runtimes: Vec<Millrace>,
    _database: Option<TestDatabase>,
    _data: Option<tempfile::TempDir>,
}

async fn sqlite() -> Place {
    let data = tempfile::tempdir().unwrap();
    Place {
        http: Millrace::dev(data.path()).await,
        runtimes: Vec::new(),
        _database: None,
        _data: Some(data),
    }
}

/// A gateway, two runtimes, PostgreSQL; `key` of the gateway may differ.
async fn postgres(runtime_key: Option<&str>, gateway_key: Option<&str>) -> Place {
    let database = TestDatabase::create().await;
    let with_key = |key: Option<&str>, (name, value): (&str, &str)| {
        let mut settings = vec![(name.to_owned(), value.to_owned())];
        settings.extend(key.map(|key| ("MILLRACE_WEBHOOKS__SEALING_KEY".into(), key.into())));
        settings
    };
    let settings = with_key(runtime_key, ("DATABASE_URL", &database.url));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (&**n, &**v)).collect();
    let migrated = command(&["migrate"], &settings).output().await.unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let mut runtimes = Vec::new();
    for _ in 0..2 {
        let arguments = ["runtime", "--ready-json", "--listen", "127.0.0.1:0"];
        runtimes.push(Millrace::start(&arguments, &settings).await);
    }
    let addresses: Vec<_> = runtimes.iter().map(|r| r.address("runtime")).collect();
    let addresses = addresses.join(",");
    let settings = with_key(gateway_key, ("MILLRACE_GATEWAY__RUNTIME", &addresses));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (&**n, &**v)).collect();
    let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
    Place {
        http: Millrace::start(&arguments, &settings).await,
        runtimes,
        _database: Some(database),
        _data: None,
    }
}

async fn deploy(place: &Place, trigger: Value) -> (u16, Value) {
    let body = json!({"workflow": ECHO, "triggers": [trigger]});
    place.http.post("/api/deployments", &body).await
}

async fn send(place: &Place, token: &str) -> (u16, Value) {
    let url = place.http.url("/webhooks/guarded");
    answer(support::client().post(url).bearer_auth(token)).await
}

fn bearer(tokens: &[&str]) -> Value {
    json!({"type": "webhook", "path": "guarded", "auth": {"scheme": "bearer", "tokens": tokens}})
}

async fn executions(place: &Place) -> usize {
    let (_, page) = place.http.get("/api/executions").await;
    page["items"].as_array().unwrap().len()
}

/// From the first deployment over the exchange of a secret to its end.
async fn secrets_prove_senders_and_are_exchanged(place: Place) {
    let (status, first) = deploy(&place, bearer(&["first-token"])).await;
    assert_eq!(status, 201, "{first:#}");
    assert_eq!(
        first["triggers"][0]["auth"],
        json!({"scheme": "bearer", "activeSecrets": 1})
    );
    for token in ["second-token", "first-toke"] {
        let (status, problem) = send(&place, token).await;
        assert_eq!(status, 401, "{problem:#}");
    }
    assert_eq!(executions(&place).await, 0);
    assert_eq!(send(&place, "first-token").await.0, 202);

    // The same again is no new version.
    let (status, again) = deploy(&place, bearer(&["first-token"])).await;
    assert_eq!((status, &again["version"]), (200, &first["version"]));
    assert_eq!(again["triggers"], first["triggers"]);

    let (_, both) = deploy(&place, bearer(&["second-token", "first-token"])).await;
    assert_ne!(both["version"], first["version"]);
    assert_eq!(send(&place, "second-token").await.0, 202);
    assert_eq!(send(&place, "first-token").await.0, 202);

    deploy(&place, bearer(&["second-token"])).await;
    assert_eq!(send(&place, "first-token").await.0, 401);
    assert_eq!(send(&place, "second-token").await.0, 202);
    assert_eq!(executions(&place).await, 4);

    let id = first["id"].as_str().unwrap();
    for path in [format!("/api/deployments/{id}"), "/api/deployments".into()] {
        let (status, shown) = place.http.get(&path).await;
        assert_eq!(status, 200);
        let shown = shown.to_string();
        for secret in ["first-token", "second-token", "mrs1."] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[tokio::test]
async fn secrets_prove_senders_and_are_exchanged_on_sqlite() {
    secrets_prove_senders_and_are_exchanged(sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_prove_senders_and_are_exchanged_on_postgres() {
    secrets_prove_senders_and_are_exchanged(postgres(Some(KEY), Some(KEY)).await).await;
}

#[tokio::test]
async fn secrets_are_in_no_file_and_open_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut place = Place {
        http: Millrace::dev(data.path()).await,
        runtimes: Vec::new(),
        _database: None,
        _data: None,
    };
    deploy(&place, bearer(&["first-token"])).await;
    assert_eq!(send(&place, "first-token").await.0, 202);
    place.http.terminate().await;
    let mut read = 0;
    let mut folders = vec![data.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            if !kind.is_file() {
                continue;
            }
            read += 1;
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(11).any(|window| window == b"first-token");
            assert!(!found, "the secret stands in {}", path.display());
        }
    }
    assert!(read >= 2, "the database and the key are files");
    place.http = Millrace::dev(data.path()).await;
    assert_eq!(send(&place, "first-token").await.0, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_other_key_is_named_and_lets_nobody_in() {
    let keyless = postgres(None, None).await;
    let (status, problem) = deploy(&keyless, bearer(&["t"])).await;
    assert_eq!(status, 400, "{problem:#}");
    let error = &problem["errors"][0];
    assert_eq!(error["pointer"], "/triggers/0/auth");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("`webhooks.sealing_key`")
    );
    // What needs no key works without one.
    let (status, _) = deploy(&keyless, json!({"type": "webhook", "path": "open"})).await;
    assert_eq!(status, 201);

    let mixed = postgres(Some(KEY), Some(OTHER_KEY)).await;
    deploy(&mixed, bearer(&["t"])).await;
    assert_eq!(send(&mixed, "t").await.0, 503);
    assert_eq!(executions(&mixed).await, 0);
}

const DELIVERIES: usize = 1_000;

/// All at once, under each of the names that senders give to a message.
async fn deliveries_of_one_id_make_one_execution(place: Place) {
    let open = json!({"type": "webhook", "path": "open"});
    let (status, deployment) = deploy(&place, open).await;
    assert_eq!(status, 201, "{deployment:#}");
    let url = place.http.url("/webhooks/open");
    let client = support::client();
    let mut made = 0;
    for (header, count) in [
        ("webhook-id", DELIVERIES),
        ("X-GitHub-Delivery", 20),
        ("Idempotency-Key", 20),
    ] {
        let together = std::sync::Arc::new(tokio::sync::Barrier::new(count));
        let mut deliveries = tokio::task::JoinSet::new();
        for n in 0..count {
            let body = json!({"n": n});
            let request = support::post_json(&client, &url, &body).header(header, header);
            let together = std::sync::Arc::clone(&together);
            deliveries.spawn(async move {
                together.wait().await;
                answer(request).await
            });
        }
        let answers = deliveries.join_all().await;
        let (status, first) = &answers[0];
        assert_eq!(*status, 202, "{first:#}");
        let id = first["executionId"].as_str().unwrap();
        for other in &answers {
            assert_eq!(other, &answers[0]);
        }
        // Nor does what becomes of the execution change what a repeat is told.
        place.http.until(id, &["SUCCEEDED"]).await;
        let late = support::post_json(&client, &url, &json!({})).header(header, header);
        assert_eq!(answer(late).await, answers[0]);
        made += 1;
        assert_eq!(executions(&place).await, made, "{header}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_of_one_id_make_one_execution_on_sqlite() {
    deliveries_of_one_id_make_one_execution(sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_of_one_id_make_one_execution_on_postgres() {
    deliveries_of_one_id_make_one_execution(postgres(None, None).await).await;
}

/// One deployment with a guarded webhook, an open one, and starts by hand.
async fn names_of_messages_are_apart(place: Place) {
    let body = json!({"workflow": ECHO, "triggers": [
        bearer(&["token"]),
        {"type": "webhook", "path": "open"},
    ]});
    let (status, deployment) = place.http.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    let by_hand = format!(
        "/api/deployments/{}/trigger",
        deployment["id"].as_str().unwrap()
    );
    let mut ids = Vec::new();
    for path in [
        by_hand.as_str(),
        "/webhooks/open",
        "/webhooks/guarded",
        "/webhooks/guarded",
    ] {
        let request = support::client()
            .post(place.http.url(path))
            .bearer_auth("token")
            .header("Idempotency-Key", "message 1");
        let (status, accepted) = answer(request).await;
        assert_eq!(status, 202, "{accepted:#}");
        ids.push(accepted["executionId"].clone());
    }
    assert_eq!(ids[2], ids[3]);
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert_eq!(executions(&place).await, 3);
}

#[tokio::test]
async fn names_of_messages_are_apart_on_sqlite() {
    names_of_messages_are_apart(sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_messages_are_apart_on_postgres() {
    names_of_messages_are_apart(postgres(Some(KEY), Some(KEY)).await).await;
}

const MAPPED: &str = "document: {dsl: 1.0.3, namespace: test, name: mapped, version: 1.0.0}\n\
    do:\n- keep:\n    set: {order: \"${ $input.id }\"}\n";

/// Each delivery of a message brings another request.
async fn repeats_get_the_mapped_answer_of_the_first(place: Place) {
    let trigger = json!({
        "type": "webhook", "path": "mapped",
        "respond": {
            "status": "${ 200 + $request.body.n }",
            "headers": {"X-Delivery": "${ $request.body.n }"},
            "body": {"order": "${ .output.order }", "delivery": "${ $request.body.n }"},
        },
    });
    let body = json!({"workflow": MAPPED, "triggers": [trigger]});
    let (status, deployment) = place.http.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    let url = place.http.url("/webhooks/mapped");
    let client = support::client();
    let deliver = |n: usize, name: &'static str| {
        let body = json!({"id": 7, "n": n});
        let request = support::post_json(&client, &url, &body).header("webhook-id", name);
        async move {
            let answer = request.send().await.unwrap();
            let said = answer.headers()["x-delivery"].to_str().unwrap().to_owned();
            (answer.status().as_u16(), said, answer.text().await.unwrap())
        }
    };
    let first = deliver(1, "one").await;
    assert_eq!(first.0, 201);
    assert_eq!(first.2, r#"{"order":7,"delivery":1}"#);
    assert_eq!(deliver(2, "one").await, first);
    assert_eq!(executions(&place).await, 1);
    let mut deliveries = tokio::task::JoinSet::new();
    for n in 1..=20 {
        deliveries.spawn(deliver(n, "many"));
    }
    let answers = deliveries.join_all().await;
    assert!(
        answers.iter().all(|other| *other == answers[0]),
        "{answers:?}"
    );
    assert_eq!(executions(&place).await, 2);
    // Without a name, each is for itself.
    let body = json!({"id": 7, "n": 3});
    let answer = send_json(&place, "/webhooks/mapped", &body).await;
    assert_eq!(answer.status(), 203);
}

#[tokio::test]
async fn repeats_get_the_mapped_answer_of_the_first_on_sqlite() {
    repeats_get_the_mapped_answer_of_the_first(sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_get_the_mapped_answer_of_the_first_on_postgres() {
    repeats_get_the_mapped_answer_of_the_first(postgres(None, None).await).await;
}

/// The first request of a message is the one that breaks its answer.
async fn repeats_get_no_answer_where_the_first_got_none(place: Place) {
    let trigger = json!({
        "type": "webhook", "path": "mapped",
        "respond": {"status": "${ 200 + $request.body.n }", "body": "${ .output }"},
    });
    let body = json!({"workflow": MAPPED, "triggers": [trigger]});
    let (status, deployment) = place.http.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    let url = place.http.url("/webhooks/mapped");
    let client = support::client();
    let deliver = async |n: u32, name: &str| {
        let body = json!({"id": 7, "n": n});
        let request = support::post_json(&client, &url, &body).header("webhook-id", name);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, problem) = deliver(1000, "one").await;
    assert_eq!(status, 500, "{problem}");
    let (status, repeated) = deliver(2, "one").await;
    assert_eq!(status, 500, "{repeated}");
    assert_eq!(executions(&place).await, 1);
    let said = |text: &str| serde_json::from_str::<Value>(text).unwrap()["detail"].clone();
    assert!(said(&problem).is_string(), "{problem}");
    assert_eq!(said(&problem), said(&repeated));
    let answered = deliver(2, "another").await;
    assert_eq!(answered, (202, r#"{"order":7}"#.into()));
    // What has been answered stays so.
    assert_eq!(deliver(1000, "another").await, answered);
}

#[tokio::test]
async fn repeats_get_no_answer_where_the_first_got_none_on_sqlite() {
    repeats_get_no_answer_where_the_first_got_none(sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_get_no_answer_where_the_first_got_none_on_postgres() {
    repeats_get_no_answer_where_the_first_got_none(postgres(None, None).await).await;
}

async fn send_json(place: &Place, path: &str, body: &Value) -> reqwest::Response {
    let url = place.http.url(path);
    let request = support::post_json(&support::client(), &url, body);
    request.send().await.unwrap()
}

/// What its author says of a webhook, from its check to its effect.
async fn authors_shape_their_webhooks(place: Place) {
    let trigger = json!({
        "type": "webhook", "path": "shaped/{region}",
        "dedupe": {"expression": "[.params.region, .body.id]", "keep": "PT1H"},
        "bodyLimit": 64,
        "respond": {
            "status": "${ if .status == \"SUCCEEDED\" then 201 else 500 end }",
            "headers": {"X-Order": "${ .output.order }"},
            "body": {"order": "${ .output.order }", "region": "${ $request.params.region }"},
            "wait": "PT1M",
        },
    });
    let body = json!({"workflow": MAPPED, "triggers": [trigger]});
    let (status, deployment) = place.http.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");

    let tried = send_json(&place, "/webhooks-test/shaped/eu", &json!({"id": 7})).await;
    assert_eq!(tried.status(), 200);
    let tried: Value = serde_json::from_str(&tried.text().await.unwrap()).unwrap();
    assert_eq!(tried["input"], json!({"id": 7}));
    assert_eq!(tried["dedupeKey"], r#"["eu",7]"#);
    assert_eq!(tried["trigger"]["id"], deployment["triggers"][0]["id"]);
    assert_eq!(executions(&place).await, 0);

    for (region, made) in [("eu", 1), ("eu", 1), ("us", 2)] {
        let path = format!("/webhooks/shaped/{region}");
        let answer = send_json(&place, &path, &json!({"id": 7})).await;
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers()["x-order"], "7");
        let text = answer.text().await.unwrap();
        assert_eq!(text, format!(r#"{{"order":7,"region":"{region}"}}"#));
        assert_eq!(executions(&place).await, made);
    }
    let long = json!({"id": "x".repeat(64)});
    assert_eq!(
        send_json(&place, "/webhooks/shaped/eu", &long)
            .await
            .status(),
        413
    );
    // The expression cannot look into a number.
    let odd = send_json(&place, "/webhooks/shaped/eu", &json!(1)).await;
    assert_eq!(odd.status(), 400);
    let pause = format!(
        "/api/deployments/{}/pause",
        deployment["id"].as_str().unwrap()
    );
    place.http.post(&pause, &Value::Null).await;
    let paused = send_json(&place, "/webhooks-test/shaped/eu", &json!({"id": 7})).await;
    assert_eq!(paused.status(), 409);

    let broken = json!({"type": "webhook", "path": "broken", "dedupe": {"expression": ".a b"},
        "respond": {"body": "${ .output | }"}});
    let (status, problem) = deploy(&place, broken).await;
    assert_eq!(status, 400);
    let places: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    let expected = ["/triggers/0/respond/body", "/triggers/0/dedupe/expression"];
    assert_eq!(places, expected);
}

#[tokio::test]
async fn authors_shape_their_webhooks_on_sqlite() {
    authors_shape_their_webhooks(sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authors_shape_their_webhooks_on_postgres() {
    authors_shape_their_webhooks(postgres(None, None).await).await;
}

#[tokio::test]
async fn addresses_and_rates_are_limited_behind_a_trusted_proxy() {
    let data = tempfile::tempdir().unwrap();
    let settings = [
        ("MILLRACE_GATEWAY__TRUSTED_PROXIES", "127.0.0.0/8"),
        ("MILLRACE_GATEWAY__FORWARDED_HEADER", "forwarded"),
    ];
    let place = Place {
        http: Millrace::dev_with(data.path(), &settings).await,
        runtimes: Vec::new(),
        _database: None,
        _data: Some(data),
    };
    let trigger = json!({"type": "webhook", "path": "limited", "allow": ["192.0.2.0/24"],
        "rateLimit": {"limit": 1, "per": "PT1H", "burst": 2}});
    let (status, deployment) = deploy(&place, trigger).await;
    assert_eq!(status, 201, "{deployment:#}");
    let url = place.http.url("/webhooks/limited");
    for (from, status) in [
        ("for=198.51.100.1", 403),
        ("for=192.0.2.1", 202),
        ("for=198.51.100.1, for=192.0.2.1", 202),
        ("for=192.0.2.1, for=198.51.100.1", 403),
        ("for=192.0.2.1", 429),
    ] {
        let request = support::client().post(&url).header("forwarded", from);
        assert_eq!(answer(request).await.0, status, "{from}");
    }
    let direct = support::client().post(&url);
    assert_eq!(answer(direct).await.0, 403);
}

async fn delete(place: &Place, path: &str) -> (u16, Value) {
    answer(support::client().delete(place.http.url(path))).await
}

/// Adding and taking away, one at a time, while others stay as they are.
async fn webhooks_come_and_go_one_by_one(place: Place) {
    let first = json!({"type": "webhook", "path": "first"});
    let (_, deployment) = deploy(&place, first).await;
    let id = deployment["id"].as_str().unwrap();
    let path = format!("/api/deployments/{id}/webhooks");
    let second = json!({"path": "second", "auth": {"scheme": "bearer", "token": "t0ken"}});
    let (status, trigger) = place.http.post(&path, &second).await;
    assert_eq!(status, 201, "{trigger:#}");
    assert_eq!(
        trigger["auth"],
        json!({"scheme": "bearer", "activeSecrets": 1})
    );
    let (status, again) = place.http.post(&path, &second).await;
    assert_eq!((status, &again), (200, &trigger));
    for clash in [
        json!({"path": "first", "input": "request"}),
        json!({"path": "second", "methods": ["GET", "POST"]}),
    ] {
        let (status, problem) = place.http.post(&path, &clash).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (409, &json!("/path"))
        );
    }
    for (bad, pointer) in [
        (json!({"path": "a b"}), "/path"),
        (json!({"path": "a", "oops": 1}), "/oops"),
        (json!({"type": "interval", "every": "PT1H"}), "/type"),
    ] {
        let (status, problem) = place.http.post(&path, &bad).await;
        assert_eq!(
            (status, &problem["errors"][0]["pointer"]),
            (400, &json!(pointer))
        );
    }
    let other = "document: {dsl: 1.0.3, namespace: test, name: other, version: 1.0.0}\n\
        do:\n- keep:\n    set: {n: 1}\n";
    place.http.deploy(other, "elsewhere").await;
    let (status, problem) = place.http.post(&path, &json!({"path": "elsewhere"})).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (409, &json!("/path"))
    );

    let (_, shown) = place.http.get(&format!("/api/deployments/{id}")).await;
    assert_eq!(shown["version"], 2);
    assert_eq!(
        shown["triggers"],
        json!([deployment["triggers"][0], trigger])
    );
    let request = support::client().post(place.http.url("/webhooks/second"));
    assert_eq!(answer(request.bearer_auth("t0ken")).await.0, 202);

    let (status, third) = place.http.post(&path, &json!({"path": "third"})).await;
    assert_eq!(status, 201);
    let of_first = deployment["triggers"][0]["id"].as_str().unwrap();
    let path = format!("/api/triggers/{of_first}");
    assert_eq!(delete(&place, &path).await.0, 204);
    assert_eq!(delete(&place, &path).await.0, 404);
    let (_, shown) = place.http.get(&format!("/api/deployments/{id}")).await;
    assert_eq!(
        (&shown["version"], &shown["triggers"]),
        (&json!(4), &json!([trigger, third]))
    );
    assert_eq!(place.http.post("/webhooks/first", &json!(1)).await.0, 404);
    assert_eq!(place.http.post("/webhooks/third", &json!(1)).await.0, 202);
}

#[tokio::test]
async fn webhooks_come_and_go_one_by_one_on_sqlite() {
    webhooks_come_and_go_one_by_one(sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_come_and_go_one_by_one_on_postgres() {
    webhooks_come_and_go_one_by_one(postgres(Some(KEY), Some(KEY)).await).await;
}

async fn publish(place: &Place, kind: &str, body: &Value) -> (u16, Value) {
    place
        .http
        .post_text("/api/events", kind, body.to_string())
        .await
}

fn event(id: usize, amount: u64) -> Value {
    json!({"specversion": "1.0", "id": id.to_string(), "source": "/shop", "type": "made",
        "region": "eu", "data": {"amount": amount}})
}

/// Two that listen, one of them to dear ones only.
async fn events_start_what_listens_once(place: Place) {
    const STRUCTURED: &str = "application/cloudevents+json";
    let body = json!({"workflow": ECHO, "triggers": [
        {"type": "event", "name": "all", "filter": {"type": "made"}},
        {"type": "event", "name": "dear",
            "filter": {"type": "made", "region": "eu", "data": ".amount > 10"}},
        {"type": "event", "name": "off", "filter": {}, "enabled": false},
        {"type": "event", "name": "other", "filter": {"type": "paid"}},
    ]});
    let (status, deployment) = place.http.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");

    let (status, cheap) = publish(&place, STRUCTURED, &event(1, 10)).await;
    assert_eq!(status, 202, "{cheap:#}");
    let ids = cheap["executionIds"].as_array().unwrap();
    assert_eq!(ids.len(), 1);
    let execution = place
        .http
        .until(ids[0].as_str().unwrap(), &["SUCCEEDED"])
        .await;
    assert_eq!(execution["input"], event(1, 10));
    assert_eq!(
        execution["trigger"],
        json!({"type": "event", "id": deployment["triggers"][0]["id"]})
    );

    // Many at once, and again: each listener starts once.
    let url = place.http.url("/api/events");
    let client = support::client();
    let mut publishing = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let text = event(2, 11).to_string();
        let request = client
            .post(&url)
            .header("content-type", STRUCTURED)
            .body(text);
        publishing.spawn(answer(request));
    }
    let answers = publishing.join_all().await;
    let first = &answers[0].1["executionIds"];
    assert_eq!(first.as_array().unwrap().len(), 2);
    for (status, other) in &answers {
        assert_eq!((*status, &other["executionIds"]), (202, first));
    }
    assert_eq!(executions(&place).await, 3);

    // A batch, of which one was published before, and a binary one.
    let batch = json!([event(2, 11), event(3, 11), event(4, 1)]);
    let (_, published) = publish(&place, "application/cloudevents-batch+json", &batch).await;
    assert_eq!(published["executionIds"].as_array().unwrap().len(), 5);
    assert_eq!(executions(&place).await, 6);
    let binary = client
        .post(&url)
        .header("ce-specversion", "1.0")
        .header("ce-id", "1")
        .header("ce-source", "/else")
        .header("ce-type", "made");
    let (status, published) = answer(binary).await;
    assert_eq!(
        (status, executions(&place).await),
        (202, 7),
        "{published:#}"
    );

    // One that is wrong keeps all of its batch from being published.
    let batch =
        json!([event(5, 1), {"specversion": "1.0", "id": "", "source": "s", "type": "made"}]);
    let (status, problem) = publish(&place, "application/cloudevents-batch+json", &batch).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (400, &json!("/1/id"))
    );
    let pause = format!(
        "/api/deployments/{}/pause",
        deployment["id"].as_str().unwrap()
    );
    place.http.post(&pause, &Value::Null).await;
    let (status, published) = publish(&place, STRUCTURED, &event(6, 1)).await;
    assert_eq!((status, &published["executionIds"]), (202, &json!([])));
    assert_eq!(executions(&place).await, 7);
}

#[tokio::test]
async fn events_start_what_listens_once_on_sqlite() {
    events_start_what_listens_once(sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_start_what_listens_once_on_postgres() {
    events_start_what_listens_once(postgres(None, None).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_count_rates_together_and_without_redis_alone() {
    let place = postgres(None, None).await;
    let rate = json!({"limit": 1, "per": "PT1H", "burst": 3});
    let trigger = json!({"type": "webhook", "path": "limited", "rateLimit": rate});
    let (status, deployment) = deploy(&place, trigger).await;
    assert_eq!(status, 201, "{deployment:#}");
    let runtimes: Vec<_> = place
        .runtimes
        .iter()
        .map(|r| r.address("runtime"))
        .collect();
    let runtimes = runtimes.join(",");
    let nobody = format!("redis://127.0.0.1:{}", millrace_testkit::free_port());
    for (redis, taken) in [(millrace_testkit::redis_url(), 3), (nobody, 6)] {
        let settings = [
            ("MILLRACE_GATEWAY__RUNTIME", runtimes.as_str()),
            ("REDIS_URL", redis.as_str()),
        ];
        let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
        let mut gateways = Vec::new();
        for _ in 0..2 {
            gateways.push(Millrace::start(&arguments, &settings).await);
        }
        let mut statuses = Vec::new();
        for n in 0..8 {
            let (status, _) = gateways[n % 2].post("/webhooks/limited", &json!(n)).await;
            statuses.push(status);
        }
        let accepted = statuses.iter().filter(|status| **status == 202).count();
        assert_eq!(accepted, taken, "{statuses:?}");
        assert!(statuses.iter().all(|status| [202, 429].contains(status)));
    }
}
