//! Opens connections over TLS for clients of gRPC.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Tls;

/// Opens connections to one place, each with the certificates that there are
/// then.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    tls: Tls,
    /// Which the other side has to prove to be.
    name: ServerName<'static>,
    host: Arc<str>,
    port: u16,
    /// Where the host is, if that is known.
    at: Option<SocketAddr>,
}

impl Connector {
    /// `host` is a name or an address without brackets; `None` when it is
    /// neither. The other side has to prove that it is that, wherever it is.
    pub fn new(tls: Tls, host: &str, port: u16, at: Option<SocketAddr>) -> Option<Self> {
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(host.to_owned()).ok()?,
        };
        Some(Self {
            tls,
            name,
            host: host.into(),
            port,
            at,
        })
    }

    async fn open(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let tcp = match self.at {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect((&*self.host, self.port)).await?,
        };
        // As with connections in plain: calls are small and whole.
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(self.tls.client());
        let name = self.name.to_str().into_owned();
        let tls = connector.connect(self.name, tcp).await.map_err(|error| {
            let reason = format!("{name} is not to be trusted over TLS: {error}");
            io::Error::new(error.kind(), reason)
        })?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            let reason = format!("{name} does not speak HTTP/2 over TLS");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(TokioIo::new(tls))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        self.clone().open().boxed()
    }
}
