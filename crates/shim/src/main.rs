//! `millrace-shim DIRECTORY`: started by the orchestrator, with a listening
//! Unix socket as its standard input.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("millrace-shim is started by the orchestrator");
        return ExitCode::from(2);
    };
    match millrace_shim::run::run(directory.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace-shim: {error}");
            ExitCode::FAILURE
        }
    }
}
