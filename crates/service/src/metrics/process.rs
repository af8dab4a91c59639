//! What the operating system knows of this process, under the names that
//! Prometheus' own clients use. Only Linux tells; elsewhere there is less.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, describe_gauge, gauge};

/// In which `/proc/self/stat` counts: `USER_HZ`, which is part of Linux' ABI
/// and 100 on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn describe() {
    describe_gauge!(
        "millrace_uptime_seconds",
        Unit::Seconds,
        "Time since the start."
    );
    describe_gauge!("millrace_ready", "1 when ready for traffic.");
    describe_gauge!(
        "process_start_time_seconds",
        Unit::Seconds,
        "Start, in seconds since the Unix epoch."
    );
    describe_gauge!(
        "process_resident_memory_bytes",
        Unit::Bytes,
        "Resident memory."
    );
    describe_gauge!("process_open_fds", "Open file descriptors.");
    describe_gauge!(
        "process_max_fds",
        "File descriptors that may be open at once."
    );
    describe_gauge!("process_threads", "Threads of the operating system.");
}

pub(super) fn record(uptime: Duration) {
    gauge!("millrace_uptime_seconds").set(uptime.as_secs_f64());
    if let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) {
        let started = now.saturating_sub(uptime);
        gauge!("process_start_time_seconds").set(started.as_secs_f64());
    }
    if let Some(status) = read("status") {
        if let Some(kib) = line(&status, "VmRSS:") {
            gauge!("process_resident_memory_bytes").set(kib * 1024.0);
        }
        if let Some(threads) = line(&status, "Threads:") {
            gauge!("process_threads").set(threads);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // Reading the directory opens one itself.
        let open = u32::try_from(open.count().saturating_sub(1)).unwrap_or(u32::MAX);
        gauge!("process_open_fds").set(f64::from(open));
    }
    if let Some(limits) = read("limits")
        && let Some(most) = line(&limits, "Max open files")
    {
        gauge!("process_max_fds").set(most);
    }
}

/// Processor time as a counter with fractions, which the facade has not.
pub(super) fn cpu_text() -> Option<String> {
    const NAME: &str = "process_cpu_seconds_total";
    let seconds = cpu_seconds(&read("stat")?)?;
    Some(format!(
        "# HELP {NAME} Time spent on processors, by user and system.\n\
         # TYPE {NAME} counter\n{NAME} {seconds}\n\n"
    ))
}

fn read(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/self/{name}")).ok()
}

/// The first number after `key` at the beginning of a line.
fn line(text: &str, key: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of `/proc/self/stat`, counted after the name of the
/// program, which may hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_after_whatever_the_program_is_called() {
        let stat = "1 (a) b) S 0 1 1 0 -1 4194560 11 22 0 0 150 50 7 8 20 0 1 0 5 6 7";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("garbage"), None);
    }

    #[test]
    fn limits_and_sizes_are_found_by_their_line() {
        let text = "VmPeak:\t 9 kB\nVmRSS:\t  12 kB\nMax open files            1024   4096 files\n";
        assert_eq!(line(text, "VmRSS:"), Some(12.0));
        assert_eq!(line(text, "Max open files"), Some(1024.0));
        assert_eq!(line(text, "Nothing:"), None);
    }
}
