//! What the processes are. Each role is a file that only composes: it binds,
//! connects, starts tasks, says that it is ready, and drains when it is asked
//! to stop. What they share is in [`process`].

mod access;
mod data_dir;
pub mod database;
mod dev;
mod engine;
mod exposure;
mod gateway;
mod migrate;
mod orchestrator;
mod process;
mod ready;
mod runtime;
mod runtimes;
mod scheduler_admin;
mod sealing;
mod tls;

use std::io;
use std::net::SocketAddr;

use millrace_service::config::Loaded;
use millrace_service::transport::InvalidAddress;

use crate::cli::RoleCommand;

/// Why a process could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error("the process cannot start: {0}")]
    Start(io::Error),
    #[error("cannot listen on {address} (`{key}`): {reason}")]
    Bind {
        key: &'static str,
        address: SocketAddr,
        reason: io::Error,
    },
    #[error(transparent)]
    DataDir(#[from] data_dir::DataDirError),
    #[error(transparent)]
    Database(#[from] database::DatabaseError),
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    #[error("`redis.url`: {0}")]
    Redis(#[from] millrace_locks::InvalidRedisConfig),
    #[error(transparent)]
    Sealing(#[from] sealing::SealingKeyError),
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    #[error(transparent)]
    Tls(#[from] millrace_service::tls::TlsError),
    #[error(transparent)]
    Proxy(#[from] gateway::InvalidProxy),
    #[error(transparent)]
    Runtime(#[from] millrace_runtime::StartError),
    #[error(transparent)]
    Orchestrator(#[from] millrace_orchestrator::StartError),
    #[error(transparent)]
    Store(#[from] millrace_store::StoreError),
    #[error("task `{task}` failed: {error}")]
    Task { task: String, error: String },
}

/// Refuses a configuration with which the role would serve anyone who comes by.
pub fn check(command: &RoleCommand, loaded: &Loaded) -> Result<(), exposure::Exposed> {
    exposure::check(command, &loaded.config)
}

/// Runs one role to its end.
pub async fn run(command: RoleCommand, loaded: Loaded) -> Result<(), RoleError> {
    match command {
        RoleCommand::Dev(args) => dev::run(args.ready_json, &loaded).await,
        RoleCommand::Gateway(args) => gateway::run(args.plain.ready_json, &loaded.config).await,
        RoleCommand::Runtime(args) => runtime::run(args.plain.ready_json, &loaded).await,
        RoleCommand::Orchestrator(args) => orchestrator::run(args.plain.ready_json, &loaded).await,
        RoleCommand::Engine(args) => engine::run(args.ready_json, &loaded.config).await,
        RoleCommand::Migrate(_) => migrate::run(&loaded).await,
    }
}
