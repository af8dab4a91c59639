//! Connections for a server that takes them from a stream.

use std::io;
use std::time::Duration;

use futures::stream::{self, Stream as Connections};
use tokio::task::JoinSet;
use tonic::transport::server::Connected;

use super::{Door, Stream};
use crate::tls::Tls;

/// How long a caller may take to shake hands, or to say something at all.
const OPENING: Duration = Duration::from_secs(10);

/// What a server of gRPC knows of a connection: it lies among the extensions
/// of each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    /// Whether the caller has shown a certificate that `tls.ca` vouches for.
    pub verified: bool,
}

impl Connected for Stream {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller {
            verified: self.is_verified(),
        }
    }
}

/// What comes through `door`, over TLS if that is given. Those who are slow to
/// begin hold nobody up.
pub(crate) fn incoming(
    door: Door,
    tls: Option<Tls>,
) -> impl Connections<Item = io::Result<Stream>> {
    let opening: JoinSet<Option<Stream>> = JoinSet::new();
    stream::unfold((door, tls, opening), |(mut door, tls, mut opening)| async {
        loop {
            tokio::select! {
                stream = door.next() => {
                    opening.spawn(open(stream, tls.clone()));
                }
                Some(opened) = opening.join_next() => {
                    if let Ok(Some(stream)) = opened {
                        return Some((Ok(stream), (door, tls, opening)));
                    }
                }
            }
        }
    })
}

async fn open(stream: Stream, tls: Option<Tls>) -> Option<Stream> {
    match tls.as_ref().and_then(Tls::server) {
        Some(config) => stream.secured(config, OPENING).await,
        None => stream.has_spoken(OPENING).await.then_some(stream),
    }
}
