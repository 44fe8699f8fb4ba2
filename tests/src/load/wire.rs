//! What a lane of the load speaks: HTTP/1.1 on a connection of its own, or HTTP/2 on one that it shares. A connection is made when there is none.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Mutex,
};

use super::exchange::{self, Kind};
use crate::http2::{read, send};

/// Lanes that share a connection of HTTP/2.
pub const STREAMS: u64 = 4;

/// A connection of HTTP/2 that lanes share.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Option<SendRequest<Bytes>>>>);

/// A lane's way to the server.
pub(super) enum Wire {
    Http1 { to: SocketAddr, stream: Option<TcpStream>, buffer: Vec<u8> },
    Http2 { to: SocketAddr, shared: Shared },
}

impl Wire {
    pub(super) fn http1(to: SocketAddr) -> Self {
        Self::Http1 { to, stream: None, buffer: Vec::with_capacity(16 * 1024) }
    }

    pub(super) fn http2(to: SocketAddr, shared: &Shared) -> Self {
        Self::Http2 { to, shared: shared.clone() }
    }

    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::Http1 { .. } => "HTTP/1.1 lane",
            Self::Http2 { .. } => "HTTP/2 lane",
        }
    }

    /// Sends a request and compares its answer.
    ///
    /// # Errors
    /// When the answer is another, or does not come.
    pub(super) async fn ask(&mut self, kind: Kind, lane: u64, number: u64) -> Result<()> {
        match self {
            Self::Http1 { to, stream, buffer } => {
                let stream = match stream {
                    Some(stream) => stream,
                    None => stream.insert(open(*to).await?),
                };
                http1(stream, buffer, kind, lane, number).await
            }
            Self::Http2 { to, shared } => http2(shared.streams(*to).await?, kind, lane, number).await,
        }
    }

    /// The next request gets a new connection.
    pub(super) async fn drop_connection(&mut self) {
        match self {
            Self::Http1 { stream, .. } => *stream = None,
            Self::Http2 { shared, .. } => *shared.0.lock().await = None,
        }
    }
}

impl Shared {
    async fn streams(&self, to: SocketAddr) -> Result<SendRequest<Bytes>> {
        let mut shared = self.0.lock().await;
        if let Some(streams) = &*shared {
            return Ok(streams.clone());
        }
        let (streams, connection) = h2::client::handshake(open(to).await?).await?;
        // How it ends shows in the streams.
        tokio::spawn(connection);
        Ok(shared.insert(streams).clone())
    }
}

async fn open(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).await.with_context(|| format!("cannot connect to {to}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn http1(stream: &mut TcpStream, buffer: &mut Vec<u8>, kind: Kind, lane: u64, number: u64) -> Result<()> {
    let expected = exchange::expected(kind, lane, number);
    stream.write_all(exchange::request_head(kind, lane, number).as_bytes()).await?;
    stream.write_all(&exchange::upload()[..kind.length()]).await?;
    buffer.clear();
    while buffer.len() < expected.len() {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the connection ended after {:?}", String::from_utf8_lossy(buffer));
        }
    }
    ensure!(*buffer == expected, "got {:?} instead of {:?}", readable(buffer), readable(&expected));
    Ok(())
}

async fn http2(streams: SendRequest<Bytes>, kind: Kind, lane: u64, number: u64) -> Result<()> {
    let body = Bytes::from_static(&exchange::upload()[..kind.length()]);
    let (answer, mut out) =
        streams.ready().await?.send_request(exchange::request(kind, lane, number)?, body.is_empty())?;
    let sending = async { if body.is_empty() { Ok(()) } else { send(&mut out, body, true).await } };
    let answered = async {
        let (head, body) = answer.await?.into_parts();
        let broken = |broken: crate::http2::Broken| anyhow!("{:?} after {} bytes", broken.code, broken.body.len());
        Ok((head, read(body).await.map_err(broken)?))
    };
    let ((), (head, message)) = tokio::try_join!(sending, answered)?;
    let (fields, content) = exchange::expected_parts(kind, lane, number);
    ensure!(head.status == 200 && head.headers == fields, "got {head:?}");
    ensure!(message.trailers.is_none(), "got trailers: {:?}", message.trailers);
    let (got, due) = (readable(&message.body), readable(&content));
    ensure!(message.body == content, "got {got:?} instead of {due:?}");
    Ok(())
}

/// The part of an answer that people can read.
fn readable(bytes: &[u8]) -> String {
    let printable = bytes.iter().take_while(|byte| byte.is_ascii());
    printable.map(|byte| char::from(*byte)).collect()
}
