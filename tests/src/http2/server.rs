//! The server.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::Result;
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, Request, Response, request::Parts};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

use super::client::until;
use super::message::{Broken, Message, read, send};
use crate::netns::Netns;

/// A request as it came, once its body had ended.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its head.
    pub head: Parts,
    /// Its body, as far as it came.
    pub message: Message,
    /// The code that it was reset with.
    pub reset: Option<Reason>,
    /// Whether it was whole.
    pub whole: bool,
    /// Number of the connection, from 0.
    pub connection: usize,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<Vec<mpsc::UnboundedSender<()>>>,
    heads: Mutex<usize>,
    ended: Mutex<usize>,
}

/// A request that has to be dealt with.
pub struct Call {
    /// Its head.
    pub head: Parts,
    /// Its answer.
    pub respond: SendResponse<Bytes>,
    /// Number of its connection, from 0.
    pub connection: usize,
    /// Number of the request, from 0.
    pub number: usize,
    shared: Arc<Shared>,
}

impl Call {
    /// Reads the body and keeps what came.
    ///
    /// # Errors
    /// When it breaks off, which is kept as well.
    pub async fn read(&mut self, body: RecvStream) -> Result<Message, Broken> {
        let result = read(body).await;
        let (message, reset, whole) = match &result {
            Ok(message) => (message.clone(), None, true),
            Err(broken) => (Message { body: broken.body.clone(), trailers: None }, broken.code, false),
        };
        let seen = Seen { head: self.head.clone(), message, reset, whole, connection: self.connection };
        lock(&self.shared.seen).push(seen);
        result
    }

    /// Keeps that it was reset.
    pub fn reset_by(&self, code: Reason) {
        let message = Message::default();
        let seen =
            Seen { head: self.head.clone(), message, reset: Some(code), whole: false, connection: self.connection };
        lock(&self.shared.seen).push(seen);
    }

    /// Begins an answer of 200.
    ///
    /// # Errors
    /// When the stream is gone.
    pub fn begin(&mut self, fields: HeaderMap) -> Result<SendStream<Bytes>> {
        let mut response = Response::new(());
        *response.headers_mut() = fields;
        Ok(self.respond.send_response(response, false)?)
    }

    /// A whole answer of 200.
    ///
    /// # Errors
    /// When the stream is gone.
    pub async fn answer(&mut self, body: impl Into<Bytes>) -> Result<()> {
        send(&mut self.begin(HeaderMap::new())?, body.into(), true).await
    }
}

type Behaviour = dyn Fn(Call, RecvStream) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send + Sync;

/// A running server; closed when dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    closing: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Listens in a namespace and does `behave` with every request, each in a task of its own.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start<F>(
        netns: &Netns,
        address: SocketAddr,
        behave: impl Fn(Call, RecvStream) -> F + Send + Sync + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let listener = netns.run(|| Ok(std::net::TcpListener::bind(address)?))?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::<Shared>::default();
        let (closing, closed) = oneshot::channel();
        let behave: Arc<Behaviour> = Arc::new(move |call, body| Box::pin(behave(call, body)));
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, shared, behave) => {}
                        _ = closed => {}
                    }
                });
            }
        });
        Ok(Self { shared, closing: Some(closing), thread: Some(thread) })
    }

    /// One that reads every request and answers with `body`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn answering(netns: &Netns, address: SocketAddr, body: &'static str) -> Result<Self> {
        Self::start(netns, address, move |mut call, stream| async move {
            if call.read(stream).await.is_ok() {
                call.answer(body).await?;
            }
            Ok(())
        })
    }

    /// All requests whose bodies have ended, one way or the other.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Waits until there are so many.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn wait_for(&self, count: usize) -> Result<Vec<Seen>> {
        until(&format!("{count} requests over HTTP/2"), || self.seen().len() >= count).await?;
        Ok(self.seen())
    }

    /// Heads so far.
    #[must_use]
    pub fn heads(&self) -> usize {
        *lock(&self.shared.heads)
    }

    /// Waits until so many heads have come.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn wait_for_heads(&self, count: usize) -> Result<()> {
        until(&format!("{count} heads over HTTP/2"), || self.heads() >= count).await
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.shared.connections).len()
    }

    /// Connections that have ended.
    #[must_use]
    pub fn ended(&self) -> usize {
        *lock(&self.shared.ended)
    }

    /// Sends GOAWAY on every connection and finishes what is under way there.
    pub fn go_away(&self) {
        for connection in &*lock(&self.shared.connections) {
            let _ = connection.send(());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.closing.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>, behave: Arc<Behaviour>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let (go_away, asked) = mpsc::unbounded_channel();
        let number = {
            let mut connections = lock(&shared.connections);
            connections.push(go_away);
            connections.len() - 1
        };
        let (shared, behave) = (Arc::clone(&shared), Arc::clone(&behave));
        // How it ends is the client's to notice.
        tokio::spawn(async move {
            let _ = serve(stream, number, asked, Arc::clone(&shared), behave).await;
            *lock(&shared.ended) += 1;
        });
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    connection: usize,
    mut go_away: mpsc::UnboundedReceiver<()>,
    shared: Arc<Shared>,
    behave: Arc<Behaviour>,
) -> Result<()> {
    let mut codec = h2::server::Builder::new().max_header_list_size(1 << 20).handshake(stream).await?;
    loop {
        tokio::select! {
            accepted = codec.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond): (Request<RecvStream>, _) = accepted?;
                let (head, body) = request.into_parts();
                let number = {
                    let mut heads = lock(&shared.heads);
                    *heads += 1;
                    *heads - 1
                };
                let call = Call { head, respond, connection, number, shared: Arc::clone(&shared) };
                let doing = behave(call, body);
                tokio::spawn(async move {
                    if let Err(error) = doing.await {
                        println!("HTTP/2 server: {error:#}");
                    }
                });
            }
            Some(()) = go_away.recv() => codec.graceful_shutdown(),
        }
    }
}
