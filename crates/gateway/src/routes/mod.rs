//! One file for each verb of the API.

pub mod deployments;
pub mod events;
pub mod executions;
pub mod health;
pub mod monitoring;
pub mod projects;
pub mod services;
pub mod triggers;
pub mod workloads;

use std::marker::PhantomData;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use millrace_types::{DeploymentId, ExecutionId, ProjectId, TriggerId, WorkloadId};

use crate::problem::Problem;

/// The identifier in a path. A text that cannot be one names nothing: 404.
#[derive(Debug)]
pub struct PathId<T> {
    pub text: String,
    of: PhantomData<T>,
}

/// Something that paths name by its identifier.
pub trait Named: FromStr {
    const WHAT: &'static str;
}

impl Named for DeploymentId {
    const WHAT: &'static str = "deployment";
}

impl Named for ExecutionId {
    const WHAT: &'static str = "execution";
}

impl Named for TriggerId {
    const WHAT: &'static str = "trigger";
}

impl Named for ProjectId {
    const WHAT: &'static str = "project";
}

impl Named for WorkloadId {
    const WHAT: &'static str = "workload";
}

impl<S: Send + Sync, T: Named> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let unknown = |text: &str| Problem::not_found(format!("There is no {} `{text}`.", T::WHAT));
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) if text.parse::<T>().is_ok() => Ok(Self {
                text,
                of: PhantomData,
            }),
            Ok(Path(text)) => Err(unknown(&text)),
            Err(_) => Err(unknown("of this name")),
        }
    }
}
