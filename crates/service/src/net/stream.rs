//! A connection that was taken in.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::door::{Place, Rarely};
use crate::http::Patience;
use crate::metrics;

/// Whoever looks for open ports fails to shake hands; a wrong certificate is
/// worth a line all the same.
static FAILING: Mutex<Rarely> = Mutex::new(Rarely::new());

/// What the bytes go through.
#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection with what is known of it.
#[derive(Debug)]
pub(crate) struct Stream {
    wire: Wire,
    from: SocketAddr,
    /// Is told when something arrives.
    patience: Option<Arc<Patience>>,
    /// Given back when the connection is closed, whatever it has become.
    place: Place,
}

impl Stream {
    pub(super) fn plain(tcp: TcpStream, from: SocketAddr, place: Place) -> Self {
        Self {
            wire: Wire::Plain(tcp),
            from,
            patience: None,
            place,
        }
    }

    /// The other end.
    pub fn from(&self) -> SocketAddr {
        self.from
    }

    /// Whether nobody on the way can read along.
    pub const fn is_secured(&self) -> bool {
        matches!(self.wire, Wire::Tls(_))
    }

    /// The same connection, once the caller has shaken hands over TLS; `None`
    /// when it does not, within a time.
    pub async fn secured(self, config: Arc<ServerConfig>, within: Duration) -> Option<Self> {
        let Wire::Plain(tcp) = self.wire else {
            return Some(self);
        };
        let (name, from) = (self.place.name(), self.from);
        let (why, error) = match timeout(within, TlsAcceptor::from(config).accept(tcp)).await {
            Ok(Ok(tls)) => {
                return Some(Self {
                    wire: Wire::Tls(Box::new(tls)),
                    ..self
                });
            }
            Ok(Err(error)) => ("handshake", error.to_string()),
            Err(_) => (
                "handshake_timeout",
                format!("it took longer than {within:?}"),
            ),
        };
        metrics::connection_cut(name, why);
        let mut failing = FAILING.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.now() {
            tracing::warn!(
                listener = name,
                %from,
                error,
                "{name}: {from} did not shake hands over TLS: {error}"
            );
        }
        None
    }

    /// Whether the caller has shown a certificate. It was verified, then.
    pub fn is_verified(&self) -> bool {
        match &self.wire {
            Wire::Plain(_) => false,
            Wire::Tls(tls) => tls.get_ref().1.peer_certificates().is_some(),
        }
    }

    /// Waits until the caller has sent something; false when it has not within
    /// a time.
    pub async fn has_spoken(&self, within: Duration) -> bool {
        match &self.wire {
            Wire::Plain(tcp) => matches!(timeout(within, tcp.readable()).await, Ok(Ok(()))),
            Wire::Tls(_) => true,
        }
    }

    /// From now on `patience` is told when something arrives.
    pub fn watched(mut self, patience: Arc<Patience>) -> Self {
        self.patience = Some(patience);
        self
    }
}

/// Calls `$method` on what the bytes go through.
macro_rules! through {
    ($stream:expr, $method:ident($($argument:expr),*)) => {
        match &mut $stream.get_mut().wire {
            Wire::Plain(tcp) => Pin::new(tcp).$method($($argument),*),
            Wire::Tls(tls) => Pin::new(tls).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = self.get_mut();
        let read = through!(Pin::new(&mut *this), poll_read(cx, buffer));
        if let Some(patience) = &this.patience
            && buffer.filled().len() > before
        {
            patience.arrived();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        through!(self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        through!(self, poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(tcp) => tcp.is_write_vectored(),
            Wire::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        through!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        through!(self, poll_shutdown(cx))
    }
}
