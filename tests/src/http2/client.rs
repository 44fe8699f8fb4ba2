//! The client.

use std::{
    future::Future,
    net::SocketAddr,
    task::{Context, Poll, Waker},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use h2::{
    SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{Request, response::Parts};
use tokio::{
    net::TcpStream,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::message::{Broken, Message, read, send};
use crate::{pod::Pod, wait::PATIENCE};

/// Runs a scene to its end.
///
/// # Errors
/// As the scene, and when patience is over.
pub fn run<T>(scene: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { timeout(PATIENCE * 2, scene).await.context("the scene did not end")? })
}

/// Waits until something is so, while the scene's connections go on.
///
/// # Errors
/// When it never is.
pub async fn until(what: &str, mut is: impl FnMut() -> bool) -> Result<()> {
    let waiting = async {
        while !is() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.with_context(|| format!("waited in vain: {what}"))
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    streams: SendRequest<Bytes>,
    ended: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    /// Connects from a pod.
    ///
    /// # Errors
    /// When nobody accepts.
    pub async fn connect(pod: &Pod, to: SocketAddr) -> Result<Self> {
        let stream = pod.run(|| Ok(std::net::TcpStream::connect_timeout(&to, PATIENCE)?))?;
        stream.set_nonblocking(true)?;
        let mut builder = Builder::new();
        // Nothing hinders the test from opening them all at once; and no stream is longer than its window.
        builder.initial_max_send_streams(1000).initial_connection_window_size(1 << 24);
        let (streams, connection) = builder.handshake(TcpStream::from_std(stream)?).await?;
        Ok(Self { streams, ended: tokio::spawn(connection) })
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// When the connection takes no more.
    pub async fn open(&self, request: Request<()>, last: bool) -> Result<(ResponseFuture, SendStream<Bytes>)> {
        Ok(self.streams.clone().ready().await?.send_request(request, last)?)
    }

    /// One request and its answer; the body is sent while the answer is awaited.
    ///
    /// # Errors
    /// When the answer does not come whole.
    pub async fn ask(&self, request: Request<()>, body: impl Into<Bytes>) -> Result<(Parts, Message)> {
        let body = body.into();
        let (response, mut stream) = self.open(request, body.is_empty()).await?;
        let upload =
            tokio::spawn(async move { if body.is_empty() { Ok(()) } else { send(&mut stream, body, true).await } });
        let (head, body) = response.await?.into_parts();
        let message =
            read(body).await.map_err(|Broken { body, code }| anyhow!("broke off after {}: {code:?}", body.len()))?;
        upload.await??;
        Ok((head, message))
    }

    /// Drops the connection without a word.
    pub fn cut(self) {
        self.ended.abort();
    }

    /// Waits until the connection has ended.
    ///
    /// # Errors
    /// When it ended otherwise than regularly.
    pub async fn ended(self) -> Result<()> {
        drop(self.streams);
        Ok(self.ended.await??)
    }

    /// Waits until the server has asked for no more streams.
    ///
    /// # Errors
    /// When it never does.
    pub async fn refused(&self) -> Result<()> {
        let mut streams = self.streams.clone();
        let mut context = Context::from_waker(Waker::noop());
        until("a GOAWAY", || matches!(streams.poll_ready(&mut context), Poll::Ready(Err(_)))).await
    }
}
