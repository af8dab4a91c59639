//! `POST /api/workloads/{id}/restart[?strategy=blueGreen][&wait=60s]`

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use millrace_proto::orchestrator::v1::RestartWorkloadRequest;
use millrace_types::WorkloadId;

use crate::Gateway;
use crate::orchestrator::Repeat;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;

pub async fn restart(
    State(gateway): State<Gateway>,
    id: PathId<WorkloadId>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let wait = query.wait()?.unwrap_or_default();
    let strategy = query.text("strategy")?.unwrap_or_default();
    query.finish(&["wait", "strategy"])?;
    let answer = gateway
        // A second one would restart it once more.
        .ask(Repeat::Never, wait, |mut client, wait_ms| {
            let request = RestartWorkloadRequest {
                workload_id: id.text.clone(),
                strategy: strategy.clone(),
                wait_ms,
            };
            async move { client.restart_workload(request).await }
        })
        .await?;
    super::changed(answer.settled, answer.workload)
}
