//! `GET /api/monitoring/scheduling` and `GET /api/monitoring/jitter`.

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use millrace_proto::runtime::v1::{GetJitterDistributionRequest, GetSchedulingMetricsRequest};

use super::shown;
use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;

/// Schedules by state, what is due, and what became of the occurrences of the
/// last hour and day.
pub async fn scheduling(State(gateway): State<Gateway>, uri: Uri) -> Result<Response, Problem> {
    Query::of(&uri).finish(&[])?;
    let answer = gateway
        .runtimes
        .call_monitoring(|mut client| async move {
            client
                .get_scheduling_metrics(GetSchedulingMetricsRequest {})
                .await
        })
        .await?;
    Ok(shown(answer.metrics_json))
}

/// Where in their windows schedules start, planned and actual.
pub async fn jitter(State(gateway): State<Gateway>, uri: Uri) -> Result<Response, Problem> {
    Query::of(&uri).finish(&[])?;
    let answer = gateway
        .runtimes
        .call_monitoring(|mut client| async move {
            client
                .get_jitter_distribution(GetJitterDistributionRequest {})
                .await
        })
        .await?;
    Ok(shown(answer.distribution_json))
}
