//! One toy engine, reached in process and over the network: clients must not
//! be able to tell.

use std::pin::Pin;
use std::time::Duration;

use millrace_proto::FILE_DESCRIPTOR_SET;
use millrace_proto::engine::v1 as pb;
use millrace_service::grpc::GrpcServer;
use millrace_service::trace_context::{self, TraceContext};
use millrace_service::transport::{InProcess, Transport, in_process, remote};
use millrace_service::{OnFailure, TaskGroup};
use pb::execute_request::Message as Ask;
use pb::execute_response::Message as Answer;
use pb::workflow_engine_service_client::WorkflowEngineServiceClient;
use pb::workflow_engine_service_server::{WorkflowEngineService, WorkflowEngineServiceServer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status, Streaming};

const SOON: Duration = Duration::from_secs(10);

/// Answers each acknowledgement with the next checkpoint, and a cancellation
/// with the end. Says in `GetCapabilities` which trace it was called in.
struct Toy;

#[tonic::async_trait]
impl WorkflowEngineService for Toy {
    async fn validate(
        &self,
        request: Request<pb::ValidateRequest>,
    ) -> Result<Response<pb::ValidateResponse>, Status> {
        let document = request.into_inner().document;
        if document.is_empty() {
            return Err(Status::invalid_argument("there is no document"));
        }
        Ok(Response::new(pb::ValidateResponse {
            definition_json: document,
            ..Default::default()
        }))
    }

    type ExecuteStream = Pin<Box<dyn Stream<Item = Result<pb::ExecuteResponse, Status>> + Send>>;

    async fn execute(
        &self,
        request: Request<Streaming<pb::ExecuteRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let answers = request.into_inner().map(|ask| {
            let message = match ask?.message {
                Some(Ask::Start(_)) => checkpoint(1),
                Some(Ask::Ack(ack)) => checkpoint(ack.seq + 1),
                _ => Answer::Completed(pb::Completed::default()),
            };
            Ok(pb::ExecuteResponse {
                message: Some(message),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_capabilities(
        &self,
        _: Request<pb::GetCapabilitiesRequest>,
    ) -> Result<Response<pb::GetCapabilitiesResponse>, Status> {
        let engine = trace_context::current()
            .map_or_else(String::new, |context| context.trace_id().to_string());
        Ok(Response::new(pb::GetCapabilitiesResponse {
            engine,
            ..Default::default()
        }))
    }
}

fn checkpoint(seq: u64) -> Answer {
    Answer::Checkpoint(pb::Checkpoint {
        seq,
        ..Default::default()
    })
}

async fn serve_toy() -> (Transport, String, TaskGroup) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let tasks = TaskGroup::new();
    let server =
        GrpcServer::new(FILE_DESCRIPTOR_SET).service(WorkflowEngineServiceServer::new(Toy));
    tasks.spawn("grpc", OnFailure::StopService, |stop| {
        server.serve(listener, stop)
    });
    (remote(&uri).unwrap(), uri, tasks)
}

async fn unary_and_streaming_calls_work(transport: Transport) {
    let mut client = WorkflowEngineServiceClient::new(transport);

    let answer = client
        .validate(pb::ValidateRequest {
            document: "{}".into(),
        })
        .await
        .unwrap();
    assert_eq!(answer.into_inner().definition_json, "{}");
    let refused = client
        .validate(pb::ValidateRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "there is no document")
    );

    // Each side speaks only after it has heard the other: nothing is buffered
    // up to the end of a stream.
    let (asks, receiver) = mpsc::channel(1);
    let ask = |message| pb::ExecuteRequest {
        message: Some(message),
    };
    asks.send(ask(Ask::Start(pb::Start::default())))
        .await
        .unwrap();
    let mut answers = client
        .execute(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    for seq in 1..=3 {
        let heard = tokio::time::timeout(SOON, answers.message())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(heard.unwrap().message, Some(checkpoint(seq)));
        asks.send(ask(Ask::Ack(pb::Ack { seq }))).await.unwrap();
    }
    let heard = answers.message().await.unwrap().unwrap();
    assert_eq!(heard.message, Some(checkpoint(4)));
    asks.send(ask(Ask::Cancel(pb::Cancel::default())))
        .await
        .unwrap();
    drop(asks);
    assert!(matches!(
        answers.message().await.unwrap().unwrap().message,
        Some(Answer::Completed(_))
    ));
    assert!(
        answers.message().await.unwrap().is_none(),
        "the stream ends"
    );
}

async fn the_trace_goes_along(transport: Transport) {
    let mut client = WorkflowEngineServiceClient::new(transport);
    let context = TraceContext::new();
    let answer = context
        .scope(client.get_capabilities(pb::GetCapabilitiesRequest {}))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().engine, context.trace_id().to_string());
}

#[tokio::test]
async fn a_server_in_this_process_is_called_directly() {
    let transport = in_process(WorkflowEngineServiceServer::new(Toy));
    unary_and_streaming_calls_work(transport.clone()).await;
    the_trace_goes_along(transport).await;
}

#[tokio::test]
async fn several_servers_in_this_process_share_a_transport() {
    use tonic_health::pb::health_client::HealthClient;
    let (_, health) = tonic_health::server::health_reporter();
    let servers = InProcess::new()
        .service(health)
        .service(WorkflowEngineServiceServer::new(Toy));
    unary_and_streaming_calls_work(servers.transport()).await;

    let alone = InProcess::new()
        .service(WorkflowEngineServiceServer::new(Toy))
        .transport();
    let request = tonic_health::pb::HealthCheckRequest::default();
    let status = HealthClient::new(alone).check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(
        status.message().contains("grpc.health.v1.Health"),
        "{status}"
    );
}

#[tokio::test]
async fn a_remote_server_is_called_over_the_network() {
    let (transport, _, tasks) = serve_toy().await;
    unary_and_streaming_calls_work(transport.clone()).await;
    the_trace_goes_along(transport).await;
    tasks.stop();
    assert!(
        tasks.drain(SOON).await.is_empty(),
        "serving ends when it is stopped"
    );
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable() {
    // Bound and dropped again: nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let mut client = WorkflowEngineServiceClient::new(remote(&format!("http://{gone}")).unwrap());
    let call = client.validate(pb::ValidateRequest::default());
    let status = tokio::time::timeout(SOON, call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn what_is_not_an_address_is_refused() {
    for bad in [
        "",
        "no scheme",
        "127.0.0.1:50051",
        "ftp://127.0.0.1:1",
        "https://127.0.0.1:1",
    ] {
        assert!(remote(bad).is_err(), "{bad} was taken");
    }
}

#[tokio::test]
async fn health_is_served_per_contract_and_for_the_whole() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    let (transport, _, tasks) = serve_toy().await;
    let mut health = HealthClient::new(transport);
    for service in ["", "millrace.engine.v1.WorkflowEngineService"] {
        let request = tonic_health::pb::HealthCheckRequest {
            service: service.into(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    tasks.stop();
}

#[tokio::test]
async fn reflection_answers_in_both_versions() {
    let (transport, _, tasks) = serve_toy().await;
    let engine = "millrace.engine.v1.WorkflowEngineService".to_owned();
    macro_rules! services {
        ($version:ident) => {{
            use tonic_reflection::pb::$version as reflection;
            let request = reflection::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(
                    reflection::server_reflection_request::MessageRequest::ListServices(
                        String::new(),
                    ),
                ),
            };
            let mut client = reflection::server_reflection_client::ServerReflectionClient::new(
                transport.clone(),
            );
            let mut answers = client
                .server_reflection_info(tokio_stream::once(request))
                .await
                .unwrap()
                .into_inner();
            match answers.message().await.unwrap().unwrap().message_response {
                Some(
                    reflection::server_reflection_response::MessageResponse::ListServicesResponse(
                        list,
                    ),
                ) => list
                    .service
                    .into_iter()
                    .map(|service| service.name)
                    .collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        }};
    }
    for names in [services!(v1), services!(v1alpha)] {
        assert!(names.contains(&engine), "{names:?}");
        let runtime = "millrace.runtime.v1.WorkflowRuntimeService".to_owned();
        assert!(
            !names.contains(&runtime),
            "listed, but not served: {names:?}"
        );
        assert!(
            names.contains(&"grpc.health.v1.Health".to_owned()),
            "{names:?}"
        );
    }
    tasks.stop();
}
