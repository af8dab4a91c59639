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
    let answer = gateway
        .read(|mut client| {
            let project_id = id.text.clone();
            async move {
                client
                    .list_services(ListServicesRequest { project_id })
                    .await
            }
        })
        .await?;
    Page::of(answer.services, String::new(), |service| Ok(service.into())).map(Json)
}
