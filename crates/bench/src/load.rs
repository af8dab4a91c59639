//! A closed loop of clients: each sends its next request when the last one
//! has been answered.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::http::Connection;

/// What a load came to.
#[derive(Debug)]
pub struct Load {
    pub answered: usize,
    /// Answers with another status than the one expected, and broken
    /// connections.
    pub failed: usize,
    pub elapsed: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Load {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }

    /// `share` of the answers came within this; 0.99 for p99.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index below the number of latencies"
    )]
    pub fn percentile(&self, share: f64) -> Duration {
        let index = (self.latencies.len() as f64 * share) as usize;
        self.latencies
            .get(index.min(self.latencies.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// Sends `request` from `clients` connections for `lasting`, after a tenth of
/// it as a warm-up that is not counted.
pub async fn run(
    address: &str,
    request: &[u8],
    expected: u16,
    clients: usize,
    lasting: Duration,
) -> std::io::Result<Load> {
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(address).await?);
    }
    let began = Instant::now() + lasting / 10;
    let until = began + lasting;
    let mut loops = JoinSet::new();
    for mut connection in connections {
        let request = request.to_vec();
        loops.spawn(async move {
            let mut latencies = Vec::new();
            let mut failed = 0;
            while Instant::now() < until {
                let sent = Instant::now();
                match connection.send(&request).await {
                    Ok(answer) if answer.status == expected => {
                        if sent >= began {
                            latencies.push(sent.elapsed());
                        }
                    }
                    Ok(_) => failed += 1,
                    Err(_) => {
                        failed += 1;
                        break;
                    }
                }
            }
            (latencies, failed)
        });
    }
    let mut latencies = Vec::new();
    let mut failed = 0;
    while let Some(done) = loops.join_next().await {
        let (some, bad) = done.map_err(std::io::Error::other)?;
        latencies.extend(some);
        failed += bad;
    }
    latencies.sort_unstable();
    Ok(Load {
        answered: latencies.len(),
        failed,
        elapsed: began.elapsed(),
        latencies,
    })
}
