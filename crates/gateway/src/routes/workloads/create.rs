//! `POST /api/workloads` with `{projectId, service}`: deploys a service,
//! without starting it.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use millrace_proto::orchestrator::v1::CreateWorkloadRequest;

use crate::fields::Fields;
use crate::orchestrator::Repeat;
use crate::problem::Problem;
use crate::shapes::Workload;
use crate::{Gateway, body};

/// 201 with the workload.
pub async fn create(State(gateway): State<Gateway>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&gateway.config, &parts.headers, body).await?;
    let mut fields = Fields::read(&parts, &bytes)?;
    let project_id = fields.required::<String>("projectId", "has to be a project's id");
    let service = fields.required::<String>("service", "has to be a service's name");
    fields.finish()?;
    let request = CreateWorkloadRequest {
        project_id: project_id.unwrap_or_default(),
        service: service.unwrap_or_default(),
    };
    let answer = gateway
        .send(Repeat::Never, request, |mut client, request| async move {
            client.create_workload(request).await
        })
        .await?;
    let id = answer
        .workload
        .as_ref()
        .map(|workload| workload.workload_id.clone());
    let location = format!("/api/workloads/{}", id.unwrap_or_default());
    let workload = Workload::answered(answer.workload)?;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(workload),
    )
        .into_response())
}
