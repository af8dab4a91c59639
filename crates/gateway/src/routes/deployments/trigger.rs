//! `POST /api/deployments/{id}/trigger[?wait=10s]`: the body is the input.

use axum::extract::{Request, State};
use axum::response::Response;
use millrace_types::{DeploymentId, ExecutionId};

use crate::admit::{Admission, dedupe_key};
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::webhooks::payload;
use crate::{Gateway, body};

pub async fn trigger(
    State(gateway): State<Gateway>,
    id: PathId<DeploymentId>,
    request: Request,
) -> Result<Response, Problem> {
    let deployment_id = id.text;
    let (parts, body) = request.into_parts();
    let mut query = Query::of(&parts.uri);
    let wait = query.wait()?;
    query.finish(&["wait"])?;
    let dedupe_key = dedupe_key(&parts.headers)?;
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let admission = Admission {
        execution_id: ExecutionId::new(),
        deployment_id: &deployment_id,
        trigger: None,
        dedupe_key,
        request: None,
        wait: wait.unwrap_or_default(),
    };
    let input = payload::plain(&parts.headers, bytes)?;
    admission.admit(&gateway, &input).await?.into_response()
}
