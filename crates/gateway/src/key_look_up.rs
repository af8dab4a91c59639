//! API keys are looked up by a runtime: the gateway has no database.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_proto::runtime::v1::{ResolveKeyRequest, ResolveKeyResponse};
use millrace_service::access::{KeyLookUp, KeyToken, LookUpFailed};
use millrace_types::ApiKey;

use crate::runtimes::{CallError, Runtimes};

impl KeyLookUp for Runtimes {
    fn look_up<'a>(
        &'a self,
        token: &'a KeyToken,
    ) -> BoxFuture<'a, Result<Option<ApiKey>, LookUpFailed>> {
        resolve(self, token).boxed()
    }
}

async fn resolve(runtimes: &Runtimes, token: &KeyToken) -> Result<Option<ApiKey>, LookUpFailed> {
    let request = ResolveKeyRequest {
        key_id: token.id().to_string(),
        digest: token.digest().to_vec(),
    };
    let answer = runtimes
        .call_access(|mut client| {
            let request = request.clone();
            async move { client.resolve_key(request).await }
        })
        .await;
    match answer {
        Ok(answer) if answer.found => key(token, answer).map(Some),
        Ok(_) => Ok(None),
        Err(CallError::Unreachable) => Err(LookUpFailed("no runtime answers".to_owned())),
        // Of a role that does not trust this one, or that is older: whether
        // the key is valid was not said.
        Err(CallError::Refused(failure)) => {
            tracing::error!(kind = %failure.kind, "a runtime refused to look up an API key: {}", failure.message);
            Err(LookUpFailed("the runtime refuses to tell".to_owned()))
        }
    }
}

fn key(token: &KeyToken, answer: ResolveKeyResponse) -> Result<ApiKey, LookUpFailed> {
    let unknown = |what: &str, text: &str| {
        LookUpFailed(format!(
            "the runtime answered with the {what} `{text}`, which is not known here"
        ))
    };
    let role = answer.role.parse();
    let expires_at = match answer.expires_at.as_str() {
        "" => Ok(None),
        text => text.parse().map(Some),
    };
    Ok(ApiKey {
        id: token.id(),
        role: role.map_err(|_| unknown("role", &answer.role))?,
        expires_at: expires_at.map_err(|_| unknown("time", &answer.expires_at))?,
        name: answer.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GatewayConfig;
    use millrace_proto::runtime::v1::access_service_server::{AccessService, AccessServiceServer};
    use millrace_service::Transport;
    use millrace_service::transport::InProcess;
    use millrace_types::Role;
    use tonic::{Request, Response, Status};

    /// Knows one key, or answers everything with a status.
    struct Runtime(Result<KeyToken, Status>);

    #[tonic::async_trait]
    impl AccessService for Runtime {
        async fn resolve_key(
            &self,
            request: Request<ResolveKeyRequest>,
        ) -> Result<Response<ResolveKeyResponse>, Status> {
            let known = self.0.as_ref().map_err(Clone::clone)?;
            let request = request.into_inner();
            let found = request.key_id == known.id().to_string() && known.matches(&request.digest);
            let answer = ResolveKeyResponse {
                found,
                name: "ci".into(),
                role: "operator".into(),
                expires_at: "2027-01-01T00:00:00Z".into(),
            };
            Ok(Response::new(answer))
        }
    }

    fn runtime(answer: Result<KeyToken, Status>) -> Transport {
        let server = AccessServiceServer::new(Runtime(answer));
        InProcess::new().service(server).transport()
    }

    fn runtimes(transports: Vec<Transport>) -> Runtimes {
        Runtimes::new(transports, GatewayConfig::default())
    }

    #[tokio::test]
    async fn a_runtime_says_what_a_key_may_and_another_one_takes_its_place() {
        let (_, token) = KeyToken::mint().unwrap();
        let (_, other) = KeyToken::mint().unwrap();
        let gone = runtime(Err(Status::unavailable("gone")));
        let runtimes = runtimes(vec![gone, runtime(Ok(token))]);
        for _ in 0..2 {
            let key = runtimes.look_up(&token).await.unwrap().unwrap();
            assert_eq!((key.id, key.role), (token.id(), Role::Operator));
            assert_eq!(
                key.expires_at,
                Some("2027-01-01T00:00:00Z".parse().unwrap())
            );
            assert_eq!(runtimes.look_up(&other).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_refusal_or_no_answer_is_never_a_key_that_is_not_there() {
        let (_, token) = KeyToken::mint().unwrap();
        let refusing = [
            Status::unauthenticated("who are you"),
            Status::permission_denied("no"),
            Status::not_found("what"),
        ];
        for status in refusing {
            let asked = runtimes(vec![runtime(Err(status))]);
            asked.look_up(&token).await.unwrap_err();
        }
        // One that has no such service.
        let older = runtimes(vec![InProcess::new().transport()]);
        older.look_up(&token).await.unwrap_err();
        runtimes(vec![]).look_up(&token).await.unwrap_err();
    }
}
