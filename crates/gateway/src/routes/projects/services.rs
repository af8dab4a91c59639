//! `GET /api/projects/{id}/services`: the folders below `src/services/`.

use axum::Json;
use axum::extract::State;
use millrace_proto::orchestrator::v1::ListServicesRequest;
use millrace_types::ProjectId;

use crate::Gateway;
use crate::problem::Problem;
use crate::routes::PathId;
use crate::shapes::{Page, Service};

pub async fn services(
    State(gateway): State<Gateway>,
    id: PathId<ProjectId>,
) -> Result<Json<Page<Service>>, Problem> {
    let request = ListServicesRequest {
        project_id: id.text,
    };
    let answer = gateway
        .read(request, |mut client, request| async move {
            client.list_services(request).await
        })
        .await?;
    Page::of(answer.services, String::new(), |service| Ok(service.into())).map(Json)
}
