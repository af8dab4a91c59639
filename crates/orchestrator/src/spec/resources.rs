//! Limits, and how it is stopped.

use super::reader::{Findings, Object};
use super::{Resources, StopSpec};

pub fn read(object: &Object<'_>, findings: &mut Findings) -> Resources {
    let keys = ["memory", "cpu", "pids", "openFiles"];
    let Some(given) = object
        .get("resources")
        .and_then(|value| Object::read(value, "/resources", &keys, findings))
    else {
        return Resources::default();
    };
    let count = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    let memory = given.size("memory", findings);
    if memory.is_some_and(|memory| memory < 1 << 20) {
        findings.add("/resources/memory", "it has to be at least 1MiB");
    }
    Resources {
        memory,
        // From 0.01 to 1024 processors.
        cpu_millis: given.real("cpu", 0.01, 1024.0, findings).map(millis),
        pids: count(given.number("pids", 1, 4_000_000, findings)),
        open_files: count(given.number("openFiles", 16, 1_000_000, findings)),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "its range has been checked"
)]
fn millis(processors: f64) -> u32 {
    (processors * 1000.0).round() as u32
}

/// Signals that can ask a process to end.
const SIGNALS: [(&str, i32); 7] = [
    ("SIGTERM", 15),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGHUP", 1),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGKILL", 9),
];

pub fn stop(object: &Object<'_>, findings: &mut Findings) -> StopSpec {
    let mut stop = StopSpec::default();
    let Some(given) = object
        .get("stop")
        .and_then(|value| Object::read(value, "/stop", &["signal", "grace"], findings))
    else {
        return stop;
    };
    if let Some(name) = given.text("signal", findings) {
        let found = SIGNALS
            .iter()
            .find(|(known, _)| *known == name || known.strip_prefix("SIG") == Some(name));
        match found {
            Some((_, number)) => stop.signal = *number,
            None => {
                let known: Vec<&str> = SIGNALS.iter().map(|(known, _)| *known).collect();
                findings.add(
                    "/stop/signal",
                    format!("`{name}` is not one of {}", known.join(", ")),
                );
            }
        }
    }
    if let Some(grace) = given.duration("grace", findings) {
        stop.grace = grace;
    }
    stop
}
