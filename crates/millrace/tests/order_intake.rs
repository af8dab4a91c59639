//! The example, all the way through: deployed, fired, finished, looked up.

mod support;

use serde_json::json;
use support::{Millrace, Service};

fn example(pricing: Option<&str>) -> String {
    let document = include_str!("../../../examples/order-intake/workflow.yaml");
    match pricing {
        Some(url) => document.replace("http://127.0.0.1:8090", url),
        // Nothing listens on port 1.
        None => document.replace("http://127.0.0.1:8090", "http://127.0.0.1:1"),
    }
}

fn order(quantity: u32) -> serde_json::Value {
    json!({
        "orderId": "A-1", "customer": "Ada",
        "items": [{"sku": "pen", "quantity": quantity, "unitPrice": 2.5}]
    })
}

#[tokio::test]
async fn an_order_is_priced_and_its_history_shows_each_task() {
    let pricing = Service::start(millrace_example_pricing::app()).await;
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    millrace
        .deploy(&example(Some(&pricing.url)), "orders")
        .await;

    let small = millrace.fire("orders", &order(3)).await;
    let small = millrace.until(&small, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(small["status"], "SUCCEEDED", "{small:#}");
    assert_eq!(small["output"]["status"], "accepted");
    assert_eq!(small["output"]["amount"], json!(7.5));
    assert_eq!(small["output"]["total"], json!(7.5));

    let large = millrace.fire("orders", &order(1000)).await;
    let execution = millrace.until(&large, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(execution["output"]["tier"], "key-account", "{execution:#}");
    assert_eq!(execution["output"]["total"], json!(2375.0));
    assert_eq!(execution["output"]["status"], "review");

    let history = millrace.history(&large).await;
    for task in [
        "/do/0/sumUp",
        "/do/1/chooseTier",
        "/do/2/keyAccount",
        "/do/4/price",
        "/do/5/result",
    ] {
        let times: Vec<_> = history
            .iter()
            .filter(|item| item["task"] == task)
            .map(|item| (item["kind"].as_str().unwrap(), item["at"].as_str().unwrap()))
            .collect();
        assert!(
            times.iter().any(|(kind, _)| *kind == "taskStarted"),
            "{task}: {history:#?}"
        );
        assert!(
            times.iter().any(|(kind, _)| *kind == "taskSucceeded"),
            "{task}: {history:#?}"
        );
        assert!(times.iter().all(|(_, at)| at.ends_with('Z')), "{times:?}");
    }
    assert!(
        !history.iter().any(|item| item["task"] == "/do/3/standard"),
        "{history:#?}"
    );
    let seqs: Vec<_> = history
        .iter()
        .map(|item| item["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=history.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_the_pricing_service_an_order_goes_to_review_at_list_price() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    millrace.deploy(&example(None), "orders").await;
    let id = millrace.fire("orders", &order(3)).await;
    let execution = millrace.until(&id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(execution["status"], "SUCCEEDED", "{execution:#}");
    assert_eq!(execution["output"]["status"], "review");
    assert_eq!(execution["output"]["total"], json!(7.5));
    let history = millrace.history(&id).await;
    let retries = history
        .iter()
        .filter(|item| item["kind"] == "retryScheduled")
        .count();
    assert!(retries >= 1, "{history:#?}");
}

#[tokio::test]
async fn an_order_that_does_not_fit_the_schema_fails_before_any_task() {
    let data = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev(data.path()).await;
    millrace.deploy(&example(None), "orders").await;
    let id = millrace.fire("orders", &json!({"orderId": "A-1"})).await;
    let execution = millrace.until(&id, &["SUCCEEDED", "FAILED"]).await;
    assert_eq!(execution["status"], "FAILED");
    let kind = execution["error"]["type"].as_str().unwrap();
    assert!(kind.ends_with("/validation"), "{kind}");
    let history = millrace.history(&id).await;
    assert!(
        !history.iter().any(|item| item["kind"] == "taskStarted"),
        "{history:#?}"
    );
}
