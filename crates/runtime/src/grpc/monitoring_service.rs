//! `MonitoringService` over gRPC.

use std::sync::Arc;

use millrace_proto::runtime::v1 as pb;
use millrace_proto::runtime::v1::monitoring_service_server::MonitoringService as Contract;
use millrace_types::Timestamp;
use tonic::{Request, Response, Status};

use super::runtime_service::unimplemented;
use crate::monitoring::{MonitoringService, health};

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
        _: Request<pb::GetDeploymentStatsRequest>,
    ) -> Result<Response<pb::GetDeploymentStatsResponse>, Status> {
        unimplemented("GetDeploymentStats")
    }

    async fn get_scheduling_metrics(
        &self,
        _: Request<pb::GetSchedulingMetricsRequest>,
    ) -> Result<Response<pb::GetSchedulingMetricsResponse>, Status> {
        unimplemented("GetSchedulingMetrics")
    }

    async fn get_jitter_distribution(
        &self,
        _: Request<pb::GetJitterDistributionRequest>,
    ) -> Result<Response<pb::GetJitterDistributionResponse>, Status> {
        unimplemented("GetJitterDistribution")
    }

    async fn get_load_distribution(
        &self,
        _: Request<pb::GetLoadDistributionRequest>,
    ) -> Result<Response<pb::GetLoadDistributionResponse>, Status> {
        unimplemented("GetLoadDistribution")
    }
}
