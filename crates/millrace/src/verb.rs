//! How a verb of the command line runs and ends.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why a verb did not do what it was asked to.
pub trait VerbError: fmt::Display + From<io::Error> {
    /// Why the output could not be written, if it was that.
    fn output(&self) -> Option<&io::Error>;

    /// Whether all is said already.
    fn is_said(&self) -> bool {
        false
    }

    fn exit_code(&self) -> ExitCode;
}

/// Runs a verb to its end.
pub fn main<E: VerbError>(verb: impl Future<Output = Result<(), E>>) -> ExitCode {
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(E::from)
        .and_then(|runtime| runtime.block_on(verb));
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    // The reader has seen enough, as in `millrace executions | head -1`.
    let is_cut_off = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    if error.output().is_some_and(is_cut_off) {
        return ExitCode::SUCCESS;
    }
    if !error.is_said() {
        eprintln!("millrace: {error}");
    }
    error.exit_code()
}
