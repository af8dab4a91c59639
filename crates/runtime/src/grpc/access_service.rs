//! `AccessService` over gRPC.

use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_proto::runtime::v1::access_service_server::AccessService;
use millrace_service::access::{KeyLookUp as _, KeyToken};
use millrace_types::ErrorKind;
use tonic::{Request, Response, Status};

use super::convert;
use crate::access::StoredKeys;

/// The contract's side of [`StoredKeys`].
#[derive(Debug, Clone)]
pub struct AccessRpc {
    pub(crate) keys: StoredKeys,
}

#[tonic::async_trait]
impl AccessService for AccessRpc {
    async fn resolve_key(
        &self,
        request: Request<pb::ResolveKeyRequest>,
    ) -> Result<Response<pb::ResolveKeyResponse>, Status> {
        let request = request.into_inner();
        let id = convert::required("key_id", &request.key_id)?;
        let digest = request.digest.try_into().map_err(|digest: Vec<u8>| {
            let message = format!("{} bytes are no SHA-256, which has 32", digest.len());
            convert::invalid("digest", message)
        })?;
        let found = self.keys.look_up(&KeyToken::from_parts(id, digest)).await;
        let found = found.map_err(|failed| {
            Failure::new(ErrorKind::Unavailable, failed.to_string()).with_reason("database")
        })?;
        Ok(Response::new(found.map_or_else(
            pb::ResolveKeyResponse::default,
            |key| pb::ResolveKeyResponse {
                found: true,
                name: key.name,
                role: key.role.to_string(),
                expires_at: convert::time(key.expires_at),
            },
        )))
    }
}
