//! `make bench-start`: how long `millrace dev` takes to be ready, and what it
//! holds when idle.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::server::Server;

/// Memory is read once the start's own garbage has settled.
const SETTLE: Duration = Duration::from_secs(2);

pub async fn run(binary: &Path, runs: usize) -> io::Result<()> {
    let mut ready = Vec::new();
    let mut resident = Vec::new();
    for _ in 0..runs.max(1) {
        let server = Server::start(binary, None, &[]).await?;
        ready.push(server.ready_after);
        tokio::time::sleep(SETTLE).await;
        resident.push(server.resident_kib()?);
        server.stop().await?;
    }
    ready.sort_unstable();
    resident.sort_unstable();
    let middle = ready.len() / 2;
    println!(
        "start to ready: min {:?}, median {:?}, max {:?}",
        ready[0],
        ready[middle],
        ready[ready.len() - 1]
    );
    println!(
        "idle memory (VmRSS): median {:.1} MB, max {:.1} MB",
        mib(resident[middle]),
        mib(resident[resident.len() - 1])
    );
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "memory sizes stay far below 2^52 KiB"
)]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
