//! `GET /api/monitoring/load?hours=`: who works on what, and what schedules
//! will start in the next 1 to 24 hours (6 when it is not said).

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use millrace_proto::runtime::v1::GetLoadDistributionRequest;

use super::shown;
use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;

const NAME: &str = "hours";

pub async fn load(State(gateway): State<Gateway>, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri);
    let hours = match query.text(NAME)?.map(|text| text.parse()) {
        None => 0,
        Some(Ok(hours @ 1..=24)) => hours,
        Some(_) => {
            return Err(Problem::parameter(
                NAME,
                "`hours` has to be an integer from 1 to 24.",
            ));
        }
    };
    query.finish(&[NAME])?;
    let answer = gateway
        .runtimes
        .call_monitoring(|mut client| async move {
            client
                .get_load_distribution(GetLoadDistributionRequest { hours })
                .await
        })
        .await?;
    Ok(shown(answer.distribution_json))
}
