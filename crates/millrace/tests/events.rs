//! Events that wake executions, through the real binary, on both databases.

mod support;

use millrace_testkit::{TestDatabase, eventually};
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, command};

/// Waits for the payment of its own order.
const WAITER: &str = "document: {dsl: 1.0.3, namespace: test, name: waiter, version: 1.0.0}
do:
- paid:
    listen:
      to:
        one:
          with: {type: paid, data: '.amount > 0'}
          correlate:
            order: {from: .data.order, expect: '${ .order }'}
- done:
    set: {amount: '${ .[0].amount }', events: '${ length }'}
";

/// Collects two events, whatever they are.
const COLLECTOR: &str = "document: {dsl: 1.0.3, namespace: test, name: collector, version: 1.0.0}
do:
- collect:
    listen: {to: {any: [{with: {type: tick}}], until: length >= 2}, read: envelope}
- ids:
    set: {ids: '${ map(.id) }'}
";

/// An order that is paid and packed, whichever comes first says which one.
const PAIR: &str = "document: {dsl: 1.0.3, namespace: test, name: pair, version: 1.0.0}
do:
- both:
    listen:
      to:
        all:
        - {with: {type: paid}, correlate: {order: {from: .data.order}}}
        - {with: {type: packed}, correlate: {order: {from: .data.of}}}
      read: envelope
- ids:
    set: {ids: '${ map(.id) }'}
";

/// Works on jobs, one after the other, and tells of each.
const WORKER: &str = "document: {dsl: 1.0.3, namespace: test, name: worker, version: 1.0.0}
do:
- work:
    listen: {to: {any: [{with: {type: job}}], until: {one: {with: {type: done}}}}}
    foreach:
      item: job
      do:
      - pause: {wait: {milliseconds: 200}}
      - tell: {emit: {event: {with: {type: worked, data: '${ $job.n }'}}}}
      output: {as: '${ [$index, .data] }'}
";

/// Started by a payment and a parcel together.
const TOGETHER: &str = "document: {dsl: 1.0.3, namespace: test, name: together, version: 1.0.0}
schedule: {on: {all: [{with: {type: paid}}, {with: {type: packed, data: .weight > 0}}]}}
do:
- keep:
    set: {ids: '${ map(.id) }'}
";

/// Tells what it was given to whoever listens, and ends with it.
const TELLER: &str = "document: {dsl: 1.0.3, namespace: test, name: teller, version: 1.0.0}
do:
- tell:
    emit:
      event:
        with: {type: paid, data: '${ . }'}
";

/// Started by an event.
const STARTED: &str = "document: {dsl: 1.0.3, namespace: test, name: started, version: 1.0.0}
do:
- keep:
    set: {source: '${ .source }'}
";

struct Place {
    http: Millrace,
    runtimes: Vec<Millrace>,
    database: Option<TestDatabase>,
    data: Option<tempfile::TempDir>,
}

async fn sqlite() -> Place {
    let data = tempfile::tempdir().unwrap();
    Place {
        http: Millrace::dev(data.path()).await,
        runtimes: Vec::new(),
        database: None,
        data: Some(data),
    }
}

async fn runtime(database: &TestDatabase, listen: &str) -> Millrace {
    let settings = [
        ("DATABASE_URL", database.url.as_str()),
        // Short, so that the takeover is part of the test and not its length.
        ("MILLRACE_RUNTIME__LEASE_TTL", "2s"),
    ];
    let arguments = ["runtime", "--ready-json", "--listen", listen];
    Millrace::start(&arguments, &settings).await
}

/// A gateway, two runtimes, PostgreSQL.
async fn postgres() -> Place {
    let database = TestDatabase::create().await;
    let settings = [("DATABASE_URL", database.url.as_str())];
    let migrated = command(&["migrate"], &settings).output().await.unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let mut runtimes = Vec::new();
    for _ in 0..2 {
        runtimes.push(runtime(&database, "127.0.0.1:0").await);
    }
    let addresses: Vec<_> = runtimes.iter().map(|r| r.address("runtime")).collect();
    let addresses = addresses.join(",");
    let settings = [("MILLRACE_GATEWAY__RUNTIME", addresses.as_str())];
    let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
    Place {
        http: Millrace::start(&arguments, &settings).await,
        runtimes,
        database: Some(database),
        data: None,
    }
}

impl Place {
    /// `kill -9` of all that owns executions, and others in its place.
    async fn killed(mut self) -> Self {
        if let Some(data) = &self.data {
            self.http.kill().await;
            self.http = Millrace::dev(data.path()).await;
        }
        if let Some(database) = &self.database {
            let addresses: Vec<_> = self.runtimes.iter().map(|r| r.address("runtime")).collect();
            for runtime in std::mem::take(&mut self.runtimes) {
                runtime.kill().await;
            }
            for address in addresses {
                self.runtimes.push(runtime(database, &address).await);
            }
        }
        self
    }

    /// The executions that an event reaches; asked again while nobody answers.
    async fn publish(&self, event: &Value) -> Vec<String> {
        let published = eventually(PATIENCE, || async {
            let kind = "application/cloudevents+json";
            match self
                .http
                .post_text("/api/events", kind, event.to_string())
                .await
            {
                (202, published) => Ok(published),
                other => Err(other),
            }
        })
        .await;
        let ids = published["executionIds"].as_array().expect("ids");
        ids.iter()
            .map(|id| id.as_str().expect("an id").to_owned())
            .collect()
    }

    async fn received(&self, id: &str) -> usize {
        let history = self.http.history(id).await;
        let received = history
            .iter()
            .filter(|item| item["kind"] == "eventReceived");
        received.count()
    }

    /// Waits until the execution has got at least as many events.
    async fn until_received(&self, id: &str, events: usize) {
        eventually(PATIENCE, || async {
            match self.received(id).await {
                received if received >= events => Ok(()),
                received => Err(received),
            }
        })
        .await;
    }
}

/// Each of these with one process on SQLite, and with several on PostgreSQL.
macro_rules! on_both_databases {
    ($($story:ident,)*) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::sqlite().await).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(super::postgres().await).await;
            })*
        }
    };
}

on_both_databases! {
    an_event_wakes_what_waits_for_it_over_a_kill,
    the_same_event_is_received_once,
    the_first_event_fixes_its_correlation_over_a_kill,
    events_are_worked_on_one_by_one_over_a_kill,
    events_start_something_together_over_a_kill,
    one_event_reaches_all_however_many,
    what_one_workflow_emits_wakes_and_starts_others,
    what_is_emitted_over_a_kill_is_published_once,
    an_answer_finds_who_has_just_asked,
}

fn event(id: &str, kind: &str, data: &Value) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": kind, "data": data})
}

async fn an_event_wakes_what_waits_for_it_over_a_kill(place: Place) {
    place.http.deploy(WAITER, "waiter").await;
    let first = place.http.fire("waiter", &json!({"order": 1})).await;
    let second = place.http.fire("waiter", &json!({"order": 2})).await;
    for id in [&first, &second] {
        place.http.until(id, &["WAITING"]).await;
    }
    // Not for anyone: another order, another type, an amount that is not liked.
    for (id, kind, data) in [
        ("a", "paid", json!({"order": 3, "amount": 1})),
        ("b", "made", json!({"order": 1, "amount": 1})),
        ("c", "paid", json!({"order": 1, "amount": 0})),
    ] {
        assert_eq!(place.publish(&event(id, kind, &data)).await, [""; 0]);
    }
    let of_second = event("d", "paid", &json!({"order": 2, "amount": 20}));
    assert_eq!(place.publish(&of_second).await, [second.as_str()]);
    let ended = place.http.until(&second, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(ended["output"], json!({"amount": 20, "events": 1}));

    let place = place.killed().await;
    let of_first = event("e", "paid", &json!({"order": 1, "amount": 10}));
    assert_eq!(place.publish(&of_first).await, [first.as_str()]);
    let ended = place.http.until(&first, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(ended["output"], json!({"amount": 10, "events": 1}));
    assert_eq!(place.publish(&of_first).await, [""; 0], "it has ended");
    let history = place.http.history(&first).await;
    let kinds: Vec<_> = history.iter().map(|item| &item["kind"]).collect();
    assert_eq!(kinds[2], "listening", "{history:#?}");
    assert_eq!(kinds[3], "eventReceived", "{history:#?}");
    assert_eq!(
        history[3]["event"],
        json!({"id": "e", "source": "/shop", "type": "paid"})
    );
}

async fn the_same_event_is_received_once(place: Place) {
    place.http.deploy(COLLECTOR, "collector").await;
    let id = place.http.fire("collector", &json!({})).await;
    place.http.until(&id, &["WAITING"]).await;
    let first = event("1", "tick", &json!(1));
    for _ in 0..3 {
        assert_eq!(place.publish(&first).await, [id.as_str()]);
    }
    place.until_received(&id, 1).await;
    // What was consumed is known to whoever comes after a kill.
    let place = place.killed().await;
    assert_eq!(place.publish(&first).await, [id.as_str()]);
    assert_eq!(
        place.publish(&event("2", "tick", &json!(2))).await,
        [id.as_str()]
    );
    let ended = place.http.until(&id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(ended["output"], json!({"ids": ["1", "2"]}), "{ended:#}");
    assert_eq!(place.received(&id).await, 2);
}

async fn the_first_event_fixes_its_correlation_over_a_kill(place: Place) {
    place.http.deploy(PAIR, "pair").await;
    let id = place.http.fire("pair", &json!({})).await;
    place.http.until(&id, &["WAITING"]).await;
    let nobody = event("0", "packed", &json!({"of": null}));
    assert_eq!(place.publish(&nobody).await, [""; 0], "it has no order");
    let first = event("1", "packed", &json!({"of": 7}));
    assert_eq!(place.publish(&first).await, [id.as_str()]);
    place.until_received(&id, 1).await;
    // What was fixed is known to whoever comes after a kill, and to those who publish.
    let place = place.killed().await;
    let other = event("2", "paid", &json!({"order": 8}));
    assert_eq!(place.publish(&other).await, [""; 0], "of another order");
    let last = event("3", "paid", &json!({"order": 7}));
    assert_eq!(place.publish(&last).await, [id.as_str()]);
    let ended = place.http.until(&id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(ended["output"], json!({"ids": ["1", "3"]}), "{ended:#}");
    let history = place.http.history(&id).await;
    let received: Vec<_> = (history.iter())
        .filter(|item| item["kind"] == "eventReceived")
        .collect();
    assert_eq!(received[0]["correlation"], json!({"order": 7}));
    assert_eq!(received.len(), 2, "{history:#?}");
}

async fn events_are_worked_on_one_by_one_over_a_kill(place: Place) {
    const JOBS: u64 = 8;
    place.http.deploy(WORKER, "worker").await;
    let id = place.http.fire("worker", &json!({})).await;
    place.http.until(&id, &["WAITING"]).await;
    for n in 0..JOBS / 2 {
        let job = event(&n.to_string(), "job", &json!({"n": n}));
        assert_eq!(place.publish(&job).await, [id.as_str()]);
    }
    // In the middle of the work, with events that wait for their turn.
    let place = place.killed().await;
    for n in JOBS / 2 - 1..JOBS {
        let job = event(&n.to_string(), "job", &json!({"n": n}));
        assert_eq!(place.publish(&job).await, [id.as_str()]);
    }
    let done = event("done", "done", &json!(null));
    assert_eq!(place.publish(&done).await, [id.as_str()]);
    let ended = place.http.until(&id, &["SUCCEEDED", "FAILED"]).await;
    let expected: Vec<_> = (0..JOBS).map(|n| json!([n, n])).collect();
    assert_eq!(ended["output"], json!(expected), "{ended:#}");
    let history = place.http.history(&id).await;
    let emitted = (history.iter()).filter(|item| item["kind"] == "eventEmitted");
    assert_eq!(emitted.count() as u64, JOBS);
}

async fn events_start_something_together_over_a_kill(place: Place) {
    place.http.deploy(TOGETHER, "together").await;
    let packed = |id, weight| event(id, "packed", &json!({"weight": weight}));
    let nobody = [""; 0];
    assert_eq!(place.publish(&packed("0", 0)).await, nobody);
    for _ in 0..2 {
        assert_eq!(place.publish(&packed("1", 10)).await, nobody);
    }
    assert_eq!(place.publish(&packed("2", 20)).await, nobody);
    let place = place.killed().await;
    for (paid, packed) in [("3", "1"), ("4", "2")] {
        let paid = event(paid, "paid", &json!({}));
        let started = place.publish(&paid).await;
        assert_eq!(started.len(), 1, "{started:?}");
        assert_eq!(place.publish(&paid).await, started, "it is known again");
        let ended = place
            .http
            .until(&started[0], &["SUCCEEDED", "FAILED"])
            .await;
        assert_eq!(ended["output"], json!({"ids": [packed, paid["id"]]}));
        assert_eq!(ended["trigger"]["type"], "event");
    }
    let last = event("5", "paid", &json!({}));
    assert_eq!(place.publish(&last).await, nobody);
}

/// More than one transaction wakes.
const MANY: usize = 520;

async fn one_event_reaches_all_however_many(place: Place) {
    place.http.deploy(WAITER, "waiter").await;
    place.http.deploy(TELLER, "teller").await;
    for _ in 0..MANY {
        place.http.fire("waiter", &json!({"order": 9})).await;
    }
    let have = async |status: &str| {
        let path = format!("/api/executions?status={status}&limit=1000");
        let (_, page) = place.http.get(&path).await;
        page["items"].as_array().map_or(0, Vec::len)
    };
    eventually(PATIENCE, || async {
        match have("WAITING").await {
            MANY => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let told = json!({"order": 9, "amount": 1});
    place.http.fire("teller", &told).await;
    eventually(PATIENCE, || async {
        match have("SUCCEEDED").await {
            succeeded if succeeded == MANY + 1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

async fn what_one_workflow_emits_wakes_and_starts_others(place: Place) {
    place.http.deploy(WAITER, "waiter").await;
    place.http.deploy(TELLER, "teller").await;
    let trigger = json!({"type": "event", "filter": {"type": "paid"}});
    let body = json!({"workflow": STARTED, "triggers": [trigger]});
    let (status, started) = place.http.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{started:#}");
    let waiting = place.http.fire("waiter", &json!({"order": 7})).await;
    place.http.until(&waiting, &["WAITING"]).await;

    let told = json!({"order": 7, "amount": 70});
    let teller = place.http.fire("teller", &told).await;
    let teller = place.http.until(&teller, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(teller["output"]["data"], told, "{teller:#}");
    assert_eq!(teller["output"]["source"], "/test/teller/1.0.0");
    let ended = place.http.until(&waiting, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(ended["output"], json!({"amount": 70, "events": 1}));

    let path = format!(
        "/api/executions?deploymentId={}",
        started["id"].as_str().unwrap()
    );
    let (_, page) = place.http.get(&path).await;
    let of_started = page["items"].as_array().unwrap();
    assert_eq!(of_started.len(), 1, "{page:#}");
    let id = of_started[0]["id"].as_str().unwrap();
    let ended = place.http.until(id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(ended["output"], json!({"source": "/test/teller/1.0.0"}));
}

/// One is cancelled, the other has a deployment's timeout.
#[tokio::test]
async fn a_wait_for_events_is_cancelled_and_times_out() {
    let place = sqlite().await;
    place.http.deploy(WAITER, "waiter").await;
    let id = place.http.fire("waiter", &json!({"order": 1})).await;
    place.http.until(&id, &["WAITING"]).await;
    let (status, _) = place
        .http
        .post(&format!("/api/executions/{id}/cancel"), &json!({}))
        .await;
    assert_eq!(status, 200);
    place.http.until(&id, &["CANCELLED"]).await;

    let body = json!({
        "workflow": COLLECTOR,
        "triggers": [{"type": "webhook", "path": "collector"}],
        "config": {"timeout": {"total": "PT1S"}},
    });
    let (status, deployment) = place.http.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    let id = place.http.fire("collector", &json!({})).await;
    place.http.until(&id, &["TIMED_OUT"]).await;
}

/// Emits and waits a moment, forty times.
const STEPS: &str = "document: {dsl: 1.0.3, namespace: test, name: steps, version: 1.0.0}
do:
- each:
    for: {each: n, in: '${ [range(40)] }'}
    do:
    - tell:
        emit: {event: {with: {type: step, data: {n: '${ $n }'}}}}
    - pause:
        wait: {milliseconds: 20}
";

/// Reads forty of them.
const READER: &str = "document: {dsl: 1.0.3, namespace: test, name: reader, version: 1.0.0}
do:
- read:
    listen: {to: {any: [{with: {type: step}}], until: length >= 40}}
- numbers:
    set: {read: '${ map(.n) | sort }'}
";

/// Is started by each of them, once, though both filters like it.
const STARTED_BY_STEPS: &str =
    "document: {dsl: 1.0.3, namespace: test, name: started-by-steps, version: 1.0.0}
schedule:
  on: {any: [{with: {type: step}}, {with: {source: /test/steps/1.0.0}}]}
do:
- keep:
    set: {n: '${ .[0].data.n }'}
";

async fn what_is_emitted_over_a_kill_is_published_once(place: Place) {
    place.http.deploy(READER, "reader").await;
    place.http.deploy(STEPS, "steps").await;
    let body = json!({"workflow": STARTED_BY_STEPS, "triggers": []});
    let (status, started) = place.http.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{started:#}");
    assert_eq!(started["triggers"][0]["name"], "schedule.on");
    let reader = place.http.fire("reader", &json!({})).await;
    place.http.until(&reader, &["WAITING"]).await;
    let steps = place.http.fire("steps", &json!({})).await;
    place.until_received(&reader, 5).await;
    let place = place.killed().await;
    place.http.until(&steps, &["SUCCEEDED", "FAILED"]).await;
    let read = place.http.until(&reader, &["SUCCEEDED", "FAILED"]).await;
    let all: Vec<u32> = (0..40).collect();
    assert_eq!(read["output"], json!({"read": all}), "{read:#}");
    let path = format!(
        "/api/executions?limit=1000&deploymentId={}",
        started["id"].as_str().unwrap()
    );
    let executions = eventually(PATIENCE, || async {
        let (_, page) = place.http.get(&path).await;
        let items = page["items"].as_array().unwrap().clone();
        let ended = items.iter().filter(|one| one["status"] == "SUCCEEDED");
        if ended.count() == items.len() && items.len() >= 40 {
            Ok(items)
        } else {
            Err(items.len())
        }
    })
    .await;
    assert_eq!(executions.len(), 40);
    let id = executions[0]["id"].as_str().unwrap();
    let (_, one) = place.http.get(&format!("/api/executions/{id}")).await;
    assert_eq!(one["output"]["n"], one["input"][0]["data"]["n"], "{one:#}");
}

/// Asks, and waits for the answer right after.
const ASKER: &str = "document: {dsl: 1.0.3, namespace: test, name: asker, version: 1.0.0}
do:
- ask:
    emit:
      event:
        with: {type: question, data: {n: '${ .n }', asker: '${ $workflow.id }'}}
- hear:
    listen:
      to:
        one:
          with: {type: answer, subject: '${ $workflow.id }'}
- keep:
    set: {heard: '${ .[0] }'}
";

const ANSWERER: &str = "document: {dsl: 1.0.3, namespace: test, name: answerer, version: 1.0.0}
schedule:
  on: {one: {with: {type: question}}}
do:
- answer:
    emit:
      event:
        with:
          type: answer
          subject: '${ .[0].data.asker }'
          data: '${ .[0].data.n + 1 }'
";

async fn an_answer_finds_who_has_just_asked(place: Place) {
    place.http.deploy(ASKER, "asker").await;
    let body = json!({"workflow": ANSWERER, "triggers": []});
    let (status, deployment) = place.http.post("/api/deployments", &body).await;
    assert_eq!(status, 201, "{deployment:#}");
    let mut asked = Vec::new();
    for n in 0..20 {
        asked.push(place.http.fire("asker", &json!({"n": n})).await);
    }
    for (n, id) in asked.iter().enumerate() {
        let ended = place.http.until(id, &["SUCCEEDED", "FAILED"]).await;
        assert_eq!(ended["output"], json!({"heard": n + 1}), "{ended:#}");
    }
}
