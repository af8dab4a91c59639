//! A service that does nothing, for workflows to call: it answers every
//! request with the same small JSON, over kept-alive connections.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::http::find;

const ANSWER: &str = "{\"ok\":true}";

/// A running service; ends when dropped.
#[derive(Debug)]
pub struct Noop {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    _serving: JoinSet<()>,
}

impl Noop {
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut serving = JoinSet::new();
        serving.spawn(async move { accept(listener, whole(ANSWER)).await });
        Ok(Self {
            url,
            _serving: serving,
        })
    }
}

/// As a service of its own on `PORT`: answers with its process' number, until
/// it is killed.
pub async fn answer() -> io::Result<()> {
    let port = std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| io::Error::other("PORT has to say where to listen"))?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    accept(listener, whole(&std::process::id().to_string())).await;
    Ok(())
}

fn whole(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn accept(listener: TcpListener, answer: Vec<u8>) {
    let answer: Arc<[u8]> = answer.into();
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let answer = Arc::clone(&answer);
        // One that breaks is the client's to open again.
        connections.spawn(async move { drop(serve(stream, &answer).await) });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let head = loop {
            if let Some(end) = find(&buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let whole = head + body_length(&buffer[..head]);
        while buffer.len() < whole {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        buffer.drain(..whole);
        stream.write_all(answer).await?;
    }
}

/// Clients of this benchmark say how long their bodies are, or send none.
fn body_length(head: &[u8]) -> usize {
    String::from_utf8_lossy(head)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Connection, request};

    #[tokio::test]
    async fn it_answers_again_and_again_on_one_connection() {
        let noop = Noop::start().await.unwrap();
        let address = noop.url.strip_prefix("http://").unwrap();
        let mut connection = Connection::open(address).await.unwrap();
        for body in ["", "{}", "{\"a\": [1, 2]}"] {
            let request = request("POST", "/x", address, body);
            let answer = connection.send(&request).await.unwrap();
            assert_eq!(answer.status, 200);
            assert_eq!(answer.body, b"{\"ok\":true}");
        }
    }
}
