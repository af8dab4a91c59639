//! Webhooks that are added to what is live, and taken away.

use axum::body::Body;
use http::Method;
use millrace_proto::runtime::v1 as pb;
use millrace_proto::{Failure, Finding};
use millrace_types::ErrorKind;
use serde_json::json;

use crate::fake::FakeRuntime;
use crate::harness::{App, DEP, request};

const TRG: &str = "trg_01kh3v4cq0e2h9x5y7z8w6t4s2";

#[tokio::test]
async fn a_webhook_is_added_and_one_that_is_there_is_shown() {
    for (changed, status) in [(true, 201), (false, 200)] {
        let runtime = FakeRuntime::default().on(move |request: pb::RegisterWebhookRequest| {
            Ok(pb::RegisterWebhookResponse {
                trigger: Some(pb::Trigger {
                    trigger_id: TRG.into(),
                    r#type: "webhook".into(),
                    enabled: true,
                    spec_json: request.spec_json,
                    ..pb::Trigger::default()
                }),
                changed,
            })
        });
        let app = App::new(&runtime);
        let uri = format!("/api/deployments/{DEP}/webhooks");
        let answer = app.post(&uri, r#"{"path": "orders"}"#).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let trigger = json!({"id": TRG, "type": "webhook", "enabled": true, "path": "orders"});
        assert_eq!(answer.json(), trigger);
        let seen = runtime.seen::<pb::RegisterWebhookRequest>();
        assert_eq!(seen[0].deployment_id, DEP);
        app.post_as("text/plain", &uri, "x").await.problem(415);
        app.post(&uri, "{").await.problem(400);
    }
}

#[tokio::test]
async fn a_taken_path_is_409_with_its_place() {
    let runtime = FakeRuntime::default().on::<_, pb::RegisterWebhookResponse>(
        |_: pb::RegisterWebhookRequest| {
            let finding = Finding {
                pointer: "/path".into(),
                line: 0,
                column: 0,
                message: "taken".into(),
            };
            Err(Failure::new(ErrorKind::Conflict, "taken")
                .with_findings(vec![finding])
                .into())
        },
    );
    let uri = format!("/api/deployments/{DEP}/webhooks");
    let answer = App::new(&runtime).post(&uri, "{\n \"path\": \"o\"}").await;
    assert_eq!(answer.finding(409), ("/path".into(), 2, 10));
}

#[tokio::test]
async fn a_webhook_is_taken_away() {
    let runtime = FakeRuntime::default()
        .on(|_: pb::UnregisterWebhookRequest| Ok(pb::UnregisterWebhookResponse {}));
    let app = App::new(&runtime);
    let delete = |uri: &str| request(Method::DELETE, uri).body(Body::empty()).unwrap();
    let answer = app.send(delete(&format!("/api/triggers/{TRG}"))).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    assert_eq!(
        runtime.seen::<pb::UnregisterWebhookRequest>()[0].trigger_id,
        TRG
    );
    app.send(delete("/api/triggers/nonsense"))
        .await
        .problem(404);
}
