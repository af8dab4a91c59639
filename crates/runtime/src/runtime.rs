//! [`Runtime`]: the parts put together, started and drained.

use std::sync::Arc;

use millrace_proto::runtime::v1::access_service_server::AccessServiceServer;
use millrace_proto::runtime::v1::admin_service_server::AdminServiceServer;
use millrace_proto::runtime::v1::monitoring_service_server::MonitoringServiceServer;
use millrace_proto::runtime::v1::workflow_runtime_service_server::WorkflowRuntimeServiceServer;
use millrace_service::{OnFailure, TaskGroup};
use millrace_store::{ExecutionStore, GroupCommit, GroupCommitConfig, Store, StoreError};

use crate::access::StoredKeys;
use crate::deployment::DeploymentService;
use crate::event::EventService;
use crate::execution::{EngineClient, ExecutionCoordinator, cancel, claim, engine_client};
use crate::monitoring::{CacheProbe, MonitoringService};
use crate::schedule::{CronScheduler, SchedulerControl, schedule_loop};
use crate::trigger::WebhookTriggerService;
use crate::trigger::webhook::rules::RulesCache;
use crate::{AccessRpc, AdminRpc, MonitoringRpc, RuntimeConfig, RuntimeRpc, jobs, metrics};

/// Inputs up to the gateway's largest body, with room for escapes.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// Why a runtime could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the runtime cannot enter itself into the database: {0}")]
    Store(#[from] StoreError),
}

/// A started runtime.
#[derive(Debug)]
pub struct Runtime {
    coordinator: Arc<ExecutionCoordinator>,
    runtime: RuntimeRpc,
    monitoring: MonitoringRpc,
    scheduler: SchedulerControl,
    keys: StoredKeys,
}

impl Runtime {
    /// Registers this process, and starts what runs in the background:
    /// heartbeat, claims, periodic jobs, the committers.
    pub async fn start(
        config: RuntimeConfig,
        commits: GroupCommitConfig,
        store: Arc<dyn Store>,
        engine: EngineClient,
        redis: Option<Arc<dyn CacheProbe>>,
        tasks: &TaskGroup,
    ) -> Result<Self, StartError> {
        metrics::describe();
        let engine = Arc::new(engine);
        let following = Arc::clone(&engine);
        tasks.spawn("engines", OnFailure::StopService, |stop| async move {
            engine_client::follow(following, stop).await;
            Ok::<_, std::convert::Infallible>(())
        });
        let for_writes: Arc<dyn ExecutionStore> = Arc::clone(&store) as _;
        let (writes, committing) = GroupCommit::new(for_writes, commits);
        tasks.spawn("group-commit", OnFailure::StopService, |_| async move {
            committing.await;
            Ok::<_, std::convert::Infallible>(())
        });
        let sealing = config.sealing_keys.clone();
        let coordinator =
            ExecutionCoordinator::begin(config, Arc::clone(&store), writes, Arc::clone(&engine))
                .await?;

        let keeping = Arc::clone(&coordinator);
        tasks.spawn("lease", OnFailure::StopService, |stop| async move {
            keeping.lease.keep(&*keeping.store, stop).await;
            Ok::<_, std::convert::Infallible>(())
        });
        let claiming = Arc::clone(&coordinator);
        tasks.spawn("claim", OnFailure::StopService, |stop| async move {
            claim::claim_loop(claiming, stop).await;
            Ok::<_, std::convert::Infallible>(())
        });
        let cancelling = Arc::clone(&coordinator);
        tasks.spawn("cancel", OnFailure::StopService, |stop| async move {
            cancel::cancel_loop(cancelling, stop).await;
            Ok::<_, std::convert::Infallible>(())
        });
        let periodic = Arc::clone(&coordinator);
        tasks.spawn("periodic-jobs", OnFailure::StopService, |stop| {
            jobs::run(periodic, stop)
        });

        let schedules = Arc::new(CronScheduler::new(Arc::clone(&coordinator)));
        let scheduler = SchedulerControl::new(&schedules);
        let firing = Arc::clone(&schedules);
        tasks.spawn("schedules", OnFailure::StopService, |stop| async move {
            schedule_loop(firing, stop).await;
            Ok::<_, std::convert::Infallible>(())
        });

        let deployments = Arc::new(DeploymentService {
            store: Arc::clone(&store),
            engine: Arc::clone(&engine),
            sealing,
        });
        let webhooks = Arc::new(WebhookTriggerService {
            store: Arc::clone(&store),
            rules: RulesCache::default(),
        });
        let events = Arc::new(EventService {
            coordinator: Arc::clone(&coordinator),
        });
        let runtime = RuntimeRpc {
            deployments,
            webhooks,
            events,
            schedules,
            executions: Arc::clone(&coordinator),
        };
        let keys = StoredKeys::new(Arc::clone(&store) as _);
        let service = Arc::new(MonitoringService {
            store,
            engine,
            redis,
        });
        let monitoring = MonitoringRpc { service };
        Ok(Self {
            coordinator,
            runtime,
            monitoring,
            scheduler,
            keys,
        })
    }

    /// The contract as a tonic service, to be served or wrapped in-process.
    pub fn runtime_service(&self) -> WorkflowRuntimeServiceServer<RuntimeRpc> {
        WorkflowRuntimeServiceServer::new(self.runtime.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// The monitoring contract as a tonic service.
    pub fn monitoring_service(&self) -> MonitoringServiceServer<MonitoringRpc> {
        MonitoringServiceServer::new(self.monitoring.clone())
    }

    /// The operators' contract as a tonic service.
    pub fn admin_service(&self) -> AdminServiceServer<AdminRpc> {
        AdminServiceServer::new(AdminRpc {
            scheduler: self.scheduler.clone(),
        })
    }

    /// What other roles ask about API keys, as a tonic service.
    pub fn access_service(&self) -> AccessServiceServer<AccessRpc> {
        AccessServiceServer::new(AccessRpc { keys: self.keys() })
    }

    /// The API keys in its database.
    pub fn keys(&self) -> StoredKeys {
        self.keys.clone()
    }

    /// The scheduler's switch.
    pub fn scheduler(&self) -> SchedulerControl {
        self.scheduler.clone()
    }

    /// Lets running executions end within the drain time and hands the rest
    /// over. Call it after the listeners have stopped, and before the task
    /// group is asked to stop: the heartbeat must go on meanwhile.
    pub async fn drain(&self) {
        self.coordinator.drain().await;
    }
}
