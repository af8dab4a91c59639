//! The table: who may call what. Nothing else decides that, and what is not in
//! it is refused. Tests hold it against the gateway's routes and against every
//! contract; docs/operations.md shows it.

use std::fmt::Write as _;

use millrace_types::Role;

/// Who may call something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Anyone.
    Open,
    /// Anyone: what is called verifies its callers itself.
    Own,
    /// The holder of a key with this role, or a higher one.
    Key(Role),
    /// The same, unless the configuration opens it to anyone.
    KeyUnless(Opening, Role),
    /// Anyone; without a key of this role, details are left out.
    Brief(Role),
    /// Other roles of this installation only.
    Internal,
}

/// Settings that open something to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// `auth.open_metrics`
    Metrics,
    /// `auth.open_services`
    Services,
}

const OPEN: Needs = Needs::Open;
const OWN: Needs = Needs::Own;
const VIEWER: Needs = Needs::Key(Role::Viewer);
const OPERATOR: Needs = Needs::Key(Role::Operator);
const DEPLOYER: Needs = Needs::Key(Role::Deployer);
const ADMIN: Needs = Needs::Key(Role::Admin);
const INTERNAL: Needs = Needs::Internal;

/// Every method that a route takes.
pub const ANY: &str = "*";

/// Routes of the gateway: method (or [`ANY`]), path as it is routed, who.
pub const ROUTES: &[(&str, &str, Needs)] = &[
    ("GET", "/api/deployments", VIEWER),
    ("POST", "/api/deployments", DEPLOYER),
    // Says what would change, and changes nothing.
    ("POST", "/api/deployments/plan", VIEWER),
    ("GET", "/api/deployments/{id}", VIEWER),
    ("PATCH", "/api/deployments/{id}", DEPLOYER),
    ("DELETE", "/api/deployments/{id}", DEPLOYER),
    ("GET", "/api/deployments/{id}/versions", VIEWER),
    ("POST", "/api/deployments/{id}/rollback", DEPLOYER),
    ("POST", "/api/deployments/{id}/trigger", OPERATOR),
    ("POST", "/api/deployments/{id}/webhooks", DEPLOYER),
    ("POST", "/api/deployments/{id}/pause", OPERATOR),
    ("POST", "/api/deployments/{id}/resume", OPERATOR),
    ("GET", "/api/executions", VIEWER),
    ("GET", "/api/executions/{id}", VIEWER),
    ("GET", "/api/executions/{id}/history", VIEWER),
    ("GET", "/api/executions/{id}/stream", VIEWER),
    ("POST", "/api/executions/{id}/cancel", OPERATOR),
    ("POST", "/api/executions/{id}/rerun", OPERATOR),
    ("DELETE", "/api/triggers/{id}", DEPLOYER),
    ("GET", "/api/triggers/{id}/fires", VIEWER),
    ("GET", "/api/triggers/{id}/preview", VIEWER),
    ("POST", "/api/triggers/{id}/backfill", OPERATOR),
    ("POST", "/api/events", OPERATOR),
    ("GET", "/api/monitoring/deployments", VIEWER),
    ("GET", "/api/monitoring/executions", VIEWER),
    ("GET", "/api/monitoring/scheduling", VIEWER),
    ("GET", "/api/monitoring/jitter", VIEWER),
    ("GET", "/api/monitoring/load", VIEWER),
    ("GET", "/api/monitoring/health", VIEWER),
    ("GET", "/api/projects", VIEWER),
    ("POST", "/api/projects", DEPLOYER),
    ("GET", "/api/projects/{id}", VIEWER),
    ("PATCH", "/api/projects/{id}", DEPLOYER),
    ("DELETE", "/api/projects/{id}", DEPLOYER),
    ("GET", "/api/projects/{id}/services", VIEWER),
    ("POST", "/api/projects/{id}/start", OPERATOR),
    ("POST", "/api/projects/{id}/stop", OPERATOR),
    ("GET", "/api/workloads", VIEWER),
    ("POST", "/api/workloads", DEPLOYER),
    ("GET", "/api/workloads/{id}", VIEWER),
    ("DELETE", "/api/workloads/{id}", DEPLOYER),
    ("GET", "/api/workloads/{id}/status", VIEWER),
    ("POST", "/api/workloads/{id}/start", OPERATOR),
    ("POST", "/api/workloads/{id}/stop", OPERATOR),
    ("POST", "/api/workloads/{id}/restart", OPERATOR),
    ("GET", "/api/workloads/{id}/logs", VIEWER),
    ("GET", "/api/workloads/{id}/logs/stream", VIEWER),
    // What a call does there is the service's to say: at most what running
    // things may do.
    (
        ANY,
        "/services/{*path}",
        Needs::KeyUnless(Opening::Services, Role::Operator),
    ),
    (ANY, "/webhooks/{*path}", OWN),
    // Shows what a webhook makes of a request.
    (ANY, "/webhooks-test/{*path}", OPERATOR),
    ("GET", "/api/openapi.json", OPEN),
    ("GET", "/health", Needs::Brief(Role::Viewer)),
    (
        "GET",
        "/metrics",
        Needs::KeyUnless(Opening::Metrics, Role::Viewer),
    ),
    ("GET", "/livez", OPEN),
    ("GET", "/readyz", OPEN),
];

/// A contract with its methods.
type Contract = (&'static str, &'static [(&'static str, Needs)]);

/// Methods of gRPC, by contract.
pub const RPCS: &[Contract] = &[
    (
        "millrace.runtime.v1.WorkflowRuntimeService",
        &[
            ("DeployWorkflow", DEPLOYER),
            ("UpdateDeployment", DEPLOYER),
            ("DeleteDeployment", DEPLOYER),
            ("GetDeploymentStatus", VIEWER),
            ("ListDeployments", VIEWER),
            ("ListVersions", VIEWER),
            ("PauseDeployment", OPERATOR),
            ("ResumeDeployment", OPERATOR),
            ("RollbackDeployment", DEPLOYER),
            ("PlanDeployment", VIEWER),
            ("TriggerWorkflow", OPERATOR),
            ("RegisterWebhook", DEPLOYER),
            ("UnregisterWebhook", DEPLOYER),
            // Answers with sealed secrets.
            ("ResolveWebhook", INTERNAL),
            ("TestWebhook", OPERATOR),
            ("PublishEvent", OPERATOR),
            ("ListFires", VIEWER),
            ("PreviewSchedule", VIEWER),
            ("BackfillSchedule", OPERATOR),
            ("GetExecution", VIEWER),
            ("GetExecutionHistory", VIEWER),
            ("ListExecutionEvents", VIEWER),
            ("CancelExecution", OPERATOR),
            ("RerunExecution", OPERATOR),
            ("WatchExecution", VIEWER),
        ],
    ),
    (
        "millrace.runtime.v1.MonitoringService",
        &[
            ("GetDeploymentStats", VIEWER),
            ("GetSystemHealth", VIEWER),
            ("GetSchedulingMetrics", VIEWER),
            ("GetJitterDistribution", VIEWER),
            ("GetLoadDistribution", VIEWER),
        ],
    ),
    (
        "millrace.runtime.v1.AdminService",
        &[
            ("GetSchedulerStatus", VIEWER),
            ("StopScheduler", ADMIN),
            ("StartScheduler", ADMIN),
            ("RestartScheduler", ADMIN),
        ],
    ),
    // Says whose key it is.
    (
        "millrace.runtime.v1.AccessService",
        &[("ResolveKey", INTERNAL)],
    ),
    (
        "millrace.orchestrator.v1.WorkloadOrchestratorService",
        &[
            ("CreateProject", DEPLOYER),
            ("GetProject", VIEWER),
            ("ListProjects", VIEWER),
            ("UpdateProject", DEPLOYER),
            ("DeleteProject", DEPLOYER),
            ("StartProject", OPERATOR),
            ("StopProject", OPERATOR),
            ("ListServices", VIEWER),
            // Where services are, behind the gateway's back.
            ("ResolveService", INTERNAL),
            ("CreateWorkload", DEPLOYER),
            ("StartWorkload", OPERATOR),
            ("StopWorkload", OPERATOR),
            ("RestartWorkload", OPERATOR),
            ("GetWorkload", VIEWER),
            ("ListWorkloads", VIEWER),
            ("DeleteWorkload", DEPLOYER),
            ("GetLogs", VIEWER),
            ("StreamLogs", VIEWER),
            ("WatchWorkloads", VIEWER),
            // Runs any program of a project.
            ("RunJob", ADMIN),
        ],
    ),
    (
        "millrace.engine.v1.WorkflowEngineService",
        &[
            ("Validate", INTERNAL),
            ("Execute", INTERNAL),
            ("GetCapabilities", INTERNAL),
        ],
    ),
    ("grpc.health.v1.Health", &[("Check", OPEN), ("Watch", OPEN)]),
    (
        "grpc.reflection.v1.ServerReflection",
        &[("ServerReflectionInfo", VIEWER)],
    ),
    (
        "grpc.reflection.v1alpha.ServerReflection",
        &[("ServerReflectionInfo", VIEWER)],
    ),
];

/// Who may call the route that is registered at `path` for `method`. Asking
/// for the head of something is asking for it.
pub fn of_route(method: &str, path: &str) -> Option<Needs> {
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES
        .iter()
        .find(|(of, at, _)| *at == path && (*of == method || *of == ANY))
        .map(|(_, _, needs)| *needs)
}

/// Who may call the method at `path`: `/package.Service/Method`.
pub fn of_rpc(path: &str) -> Option<Needs> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let (_, methods) = RPCS.iter().find(|(name, _)| *name == service)?;
    let (_, needs) = methods.iter().find(|(name, _)| *name == method)?;
    Some(*needs)
}

/// The table for docs/operations.md.
pub fn document() -> String {
    let mut text = String::from("| call | who |\n|---|---|\n");
    for (method, path, needs) in ROUTES {
        let method = if *method == ANY { "any" } else { method };
        // A string takes everything.
        let _ = writeln!(text, "| `{method} {path}` | {} |", needs.in_words());
    }
    text.push_str("\n| RPC | who |\n|---|---|\n");
    for (service, methods) in RPCS {
        let short = service.rsplit('.').next().unwrap_or(service);
        let version = if service.ends_with("v1alpha.ServerReflection") {
            " (v1alpha)"
        } else {
            ""
        };
        for (method, needs) in *methods {
            let who = needs.in_words();
            let _ = writeln!(text, "| `{short}/{method}`{version} | {who} |");
        }
    }
    text
}

impl Needs {
    fn in_words(self) -> String {
        match self {
            Self::Open => "anyone".to_owned(),
            Self::Own => "anyone; the webhook verifies its senders".to_owned(),
            Self::Key(role) => role.to_string(),
            Self::KeyUnless(opening, role) => {
                format!("{role}; anyone with `{} = true`", opening.setting())
            }
            Self::Brief(role) => {
                format!("anyone; details from {role}, or with `auth.open_health = true`")
            }
            Self::Internal => "other roles only".to_owned(),
        }
    }
}

impl Opening {
    const fn setting(self) -> &'static str {
        match self {
            Self::Metrics => "auth.open_metrics",
            Self::Services => "auth.open_services",
        }
    }
}
