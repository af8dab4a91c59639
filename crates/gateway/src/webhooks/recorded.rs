//! Counts what becomes of deliveries.

use axum::extract::{Request, State};
use axum::response::Response;

use crate::Gateway;
use crate::admit::Duplicate;
use crate::metrics::{Delivery, webhook};
use crate::problem::Problem;

/// [`receive`](super::receive::receive), counted.
pub async fn receive(state: State<Gateway>, request: Request) -> Result<Response, Problem> {
    let answer = super::receive::receive(state, request).await;
    webhook(match &answer {
        Ok(response) if response.extensions().get::<Duplicate>().is_some() => Delivery::Duplicate,
        Ok(_) => Delivery::Accepted,
        Err(problem) => Delivery::Refused(problem.name()),
    });
    answer
}
