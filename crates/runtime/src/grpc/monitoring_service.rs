//! `MonitoringService` over gRPC.

use std::sync::Arc;

use millrace_proto::Failure;
use millrace_proto::runtime::v1 as pb;
use millrace_proto::runtime::v1::monitoring_service_server::MonitoringService as Contract;
use millrace_types::{DeploymentId, ErrorKind, Timestamp};
use tonic::{Request, Response, Status};

use super::convert;
use crate::monitoring::deployments::StatsPage;
use crate::monitoring::load::MAX_HOURS;
use crate::monitoring::shapes::json;
use crate::monitoring::{MonitoringService, health};

/// How far a forecast reaches unless it is said.
const FORECAST_HOURS: u32 = 6;

/// The contract's side of [`MonitoringService`].
#[derive(Debug, Clone)]
pub struct MonitoringRpc {
    pub(crate) service: Arc<MonitoringService>,
}

#[tonic::async_trait]
impl Contract for MonitoringRpc {
    async fn get_system_health(
        &self,
        _: Request<pb::GetSystemHealthRequest>,
    ) -> Result<Response<pb::GetSystemHealthResponse>, Status> {
        let dependencies = self.service.dependencies().await;
        Ok(Response::new(pb::GetSystemHealthResponse {
            status: health::overall(&dependencies).to_owned(),
            timestamp: Timestamp::now().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dependencies: dependencies
                .into_iter()
                .map(|d| pb::DependencyHealth {
                    name: d.name.to_owned(),
                    status: d.condition.as_str().to_owned(),
                    latency_ms: d.latency.as_secs_f64() * 1000.0,
                    message: d.message,
                })
                .collect(),
        }))
    }

    async fn get_deployment_stats(
        &self,
        request: Request<pb::GetDeploymentStatsRequest>,
    ) -> Result<Response<pb::GetDeploymentStatsResponse>, Status> {
        let request = request.into_inner();
        let page = convert::page(request.cursor, request.limit)?;
        let stats = if request.deployment_id.is_empty() {
            self.service.all_deployment_stats(&page).await
        } else {
            let id: DeploymentId = convert::named("deployment", &request.deployment_id)?;
            match self.service.deployment_stats(id).await {
                Ok(Some(stats)) => Ok(StatsPage {
                    items: vec![stats],
                    next: None,
                }),
                Ok(None) => {
                    let message = format!("there is no deployment {id}");
                    return Err(Failure::new(ErrorKind::NotFound, message).into());
                }
                Err(error) => Err(error),
            }
        };
        let stats = stats.map_err(|e| convert::store_failure(&e))?;
        Ok(Response::new(pb::GetDeploymentStatsResponse {
            stats_json: json(&stats),
        }))
    }

    async fn get_scheduling_metrics(
        &self,
        _: Request<pb::GetSchedulingMetricsRequest>,
    ) -> Result<Response<pb::GetSchedulingMetricsResponse>, Status> {
        let metrics = self.service.scheduling().await;
        let metrics = metrics.map_err(|e| convert::store_failure(&e))?;
        Ok(Response::new(pb::GetSchedulingMetricsResponse {
            metrics_json: json(&metrics),
        }))
    }

    async fn get_jitter_distribution(
        &self,
        _: Request<pb::GetJitterDistributionRequest>,
    ) -> Result<Response<pb::GetJitterDistributionResponse>, Status> {
        let distribution = self.service.jitter().await;
        let distribution = distribution.map_err(|e| convert::store_failure(&e))?;
        Ok(Response::new(pb::GetJitterDistributionResponse {
            distribution_json: json(&distribution),
        }))
    }

    async fn get_load_distribution(
        &self,
        request: Request<pb::GetLoadDistributionRequest>,
    ) -> Result<Response<pb::GetLoadDistributionResponse>, Status> {
        let hours = match request.get_ref().hours {
            0 => FORECAST_HOURS,
            hours @ 1..=MAX_HOURS => hours,
            hours => {
                let message = format!("{hours} is not between 1 and {MAX_HOURS}");
                return Err(convert::invalid("hours", message).into());
            }
        };
        let distribution = self.service.load(hours).await;
        let distribution = distribution.map_err(|e| convert::store_failure(&e))?;
        Ok(Response::new(pb::GetLoadDistributionResponse {
            distribution_json: json(&distribution),
        }))
    }
}
