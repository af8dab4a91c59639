//! The one binary: every role of the service, all of them together
//! (`millrace dev`), and the command line that talks to a running one.
//!
//! `main` only composes: configuration → logs → role. What a role needs to
//! start and to stop is in [`role`]; the verbs of the command line are in
//! [`client`]; those about API keys, which work on the database, in [`keys`].
//! Exit codes: 0 done, 1 failed, 2 called in the wrong way.

mod cli;
mod client;
mod keys;
mod role;
mod verb;

use std::process::ExitCode;

use clap::Parser as _;
use millrace_service::config::Loaded;
use millrace_service::{metrics, telemetry};

use cli::{Cli, Command};

/// A third of the time of a busy process went into the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Called in the wrong way: flags, configuration, arguments.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" too; they go to standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match cli.command {
        Command::Keys(verb) => keys::main(verb),
        Command::Client(verb) => client::main(verb),
        Command::Role(role) => role_main(role),
    }
}

fn role_main(command: cli::RoleCommand) -> ExitCode {
    let loaded = match command.sources().load() {
        Ok(loaded) => loaded,
        Err(error) => return usage(&error),
    };
    if command.common().print_config {
        print!("{}", loaded.to_toml());
        return ExitCode::SUCCESS;
    }
    if let Err(error) = role::check(&command, &loaded) {
        return usage(&error);
    }
    let (log, otlp) = (&loaded.config.log, &loaded.config.otlp);
    if let Err(error) = telemetry::init(log, otlp, command.name()) {
        return usage(&error);
    }
    metrics::install(command.name(), env!("CARGO_PKG_VERSION"));
    let code = match run(command, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "millrace cannot go on"
            );
            ExitCode::FAILURE
        }
    };
    telemetry::flush();
    code
}

fn run(command: cli::RoleCommand, loaded: Loaded) -> Result<(), role::RoleError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(role::RoleError::Start)?
        .block_on(role::run(command, loaded))
}

/// Before logs exist, and for whoever typed it: plain text.
fn usage(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("millrace: {error}");
    ExitCode::from(USAGE)
}
