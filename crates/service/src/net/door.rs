//! Takes connections in, at most so many at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Stream;
use crate::metrics;

/// How long nothing is taken after the system had nothing to give, such as
/// file descriptors: trying on would only use the processor.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the same trouble is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// A listener that knows how much it takes.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    name: &'static str,
    most: usize,
    places: Arc<Semaphore>,
    full: Rarely,
    failing: Rarely,
}

impl Door {
    /// `name` is what figures and logs call it.
    pub fn new(listener: TcpListener, name: &'static str, most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            listener,
            name,
            most,
            places: Arc::new(Semaphore::new(most)),
            full: Rarely::default(),
            failing: Rarely::default(),
        }
    }

    /// The next connection, once there is a place for it. May be dropped at
    /// any time: no connection is lost by that.
    pub async fn next(&mut self) -> Stream {
        let permit = self.permit().await;
        let (tcp, from) = self.accept().await;
        // Answers are small and whole: waiting for more to send only delays
        // them. A connection that refuses works all the same.
        let _ = tcp.set_nodelay(true);
        Stream::plain(tcp, from, Place::new(permit, self.name))
    }

    async fn permit(&mut self) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.places);
        if let Ok(permit) = Arc::clone(&places).try_acquire_owned() {
            return permit;
        }
        metrics::listener_full(self.name);
        if self.full.now() {
            let (name, most) = (self.name, self.most);
            tracing::warn!(
                listener = name,
                "{name}: {most} connections are open, the most there may be; more have to wait"
            );
        }
        let permit = places.acquire_owned().await;
        permit.expect("nobody closes the semaphore")
    }

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                // The caller has gone before it was let in.
                Err(error) if is_of_caller(&error) => {}
                Err(error) => {
                    metrics::accept_failed(self.name);
                    if self.failing.now() {
                        let name = self.name;
                        tracing::error!(
                            listener = name,
                            %error,
                            "{name}: a connection cannot be taken: {error}"
                        );
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn is_of_caller(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// What a connection occupies until it is closed, whatever it has become.
#[derive(Debug)]
pub(crate) struct Place {
    name: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, name: &'static str) -> Self {
        metrics::connection_opened(name);
        Self {
            name,
            _permit: permit,
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::connection_closed(self.name);
    }
}

/// Says yes every now and then.
#[derive(Debug, Default)]
pub(super) struct Rarely(Option<Instant>);

impl Rarely {
    pub const fn new() -> Self {
        Self(None)
    }

    pub fn now(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= LOG_EVERY);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}
