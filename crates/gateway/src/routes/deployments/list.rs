//! `GET /api/deployments?status=&namespace=&name=&label=&cursor=&limit=`

use axum::Json;
use axum::extract::State;
use http::Uri;
use millrace_proto::runtime::v1::ListDeploymentsRequest;
use millrace_types::DeploymentStatus;

use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::shapes::{Deployment, Page};

pub async fn list(
    State(gateway): State<Gateway>,
    uri: Uri,
) -> Result<Json<Page<Deployment>>, Problem> {
    let mut query = Query::of(&uri);
    let request = ListDeploymentsRequest {
        status: query.parsed::<DeploymentStatus>("status")?,
        namespace: query.text("namespace")?.unwrap_or_default(),
        name: query.text("name")?.unwrap_or_default(),
        label: label(&mut query)?,
        cursor: query.text("cursor")?.unwrap_or_default(),
        limit: query.limit()?,
    };
    query.finish(&["status", "namespace", "name", "label", "cursor", "limit"])?;
    let answer = gateway
        .runtimes
        .send(request, |mut client, request| async move {
            client.list_deployments(request).await
        })
        .await?;
    Page::of(answer.deployments, answer.next_cursor, Deployment::try_from).map(Json)
}

fn label(query: &mut Query<'_>) -> Result<String, Problem> {
    match query.text("label")? {
        Some(label)
            if label
                .split_once('=')
                .is_some_and(|(key, _)| !key.is_empty()) =>
        {
            Ok(label)
        }
        Some(_) => Err(Problem::parameter(
            "label",
            "`label` has to be of the form key=value.",
        )),
        None => Ok(String::new()),
    }
}
