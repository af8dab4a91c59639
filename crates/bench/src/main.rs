//! Benchmarks that print ratios: each measures Millrace and a bare yardstick
//! on the same machine in the same run, so that the figure means something on
//! any machine.
//!
//! - `accept`: webhook accepts per second against single-row inserts by
//!   pgbench, and how fast the accepted executions drain.
//! - `execute`: executions per second from the request to the result, of one
//!   step and of three calls, against the same.
//! - `schedule`: one instance with a million schedules: memory, the cost of a
//!   tick, and how late those start that fall due within one minute.
//! - `history`: what millions of ended executions cost pages and the scheduler.
//! - `start`: time from start to ready, and memory when idle.
//! - `replacements`: a service replaced again and again under load.
//! - `workloads`: services side by side with PM2 and supervisord: starts,
//!   respawns, captured lines, memory, and what idle ones cost.
//!
//! Run them through `make bench-accept` and the like, which build
//! the release binary and bring a PostgreSQL along.

mod accept;
mod execute;
mod history;
mod http;
mod load;
mod noop;
mod pgbench;
mod replacements;
mod schedule;
mod server;
mod start;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Arguments {
    /// The millrace binary to measure.
    #[arg(long, default_value = "target/release/millrace")]
    binary: PathBuf,
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Webhook accepts per second; needs DATABASE_URL and pgbench.
    Accept {
        /// Seconds that each load lasts.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Connections that post at once.
        #[arg(long, default_value_t = 64)]
        clients: usize,
    },
    /// Executions per second, to their end; needs DATABASE_URL and pgbench.
    Execute {
        /// Seconds that each load lasts.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Connections that wait for an end at once.
        #[arg(long, default_value_t = 64)]
        clients: usize,
    },
    /// One instance with many schedules; needs DATABASE_URL and psql.
    Schedule {
        #[arg(long, default_value_t = 1_000_000)]
        schedules: u64,
        /// How many of them fall due within one minute.
        #[arg(long, default_value_t = 5_000)]
        due: u64,
    },
    /// Pages of a long history; needs DATABASE_URL, psql and pgbench.
    History {
        /// Ended executions that are loaded.
        #[arg(long, default_value_t = 5_000_000)]
        rows: u64,
    },
    /// Services, side by side with PM2 and supervisord.
    Workloads(workloads::Options),
    /// A service is replaced under load, without a failed request.
    Replacements {
        #[arg(long, default_value_t = 50)]
        count: u32,
        /// Requests per second, at least.
        #[arg(long, default_value_t = 500)]
        rate: u32,
        /// Connections that are kept.
        #[arg(long, default_value_t = 16)]
        clients: u32,
    },
    /// The service that is replaced: listens on `PORT`.
    #[command(hide = true)]
    Answer,
    /// Time to ready and idle memory of `millrace dev`.
    Start {
        #[arg(long, default_value_t = 10)]
        runs: usize,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match arguments.bench {
            Bench::Accept { seconds, clients } => {
                accept::run(&arguments.binary, Duration::from_secs(seconds), clients).await
            }
            Bench::Execute { seconds, clients } => {
                execute::run(&arguments.binary, Duration::from_secs(seconds), clients).await
            }
            Bench::Schedule { schedules, due } => {
                schedule::run(&arguments.binary, schedules, due).await
            }
            Bench::History { rows } => history::run(&arguments.binary, rows).await,
            Bench::Workloads(options) => workloads::run(&arguments.binary, &options).await,
            Bench::Replacements {
                count,
                rate,
                clients,
            } => replacements::run(&arguments.binary, count, rate, clients).await,
            Bench::Answer => noop::answer().await,
            Bench::Start { runs } => start::run(&arguments.binary, runs).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}
