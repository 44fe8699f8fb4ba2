//! HTTP/1 on a connection to an endpoint: one request at a time.

use std::rc::Rc;

use http::{Request, Response, Version};
use http_body::Body;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    connection::Unanswered,
    pool::Reusable,
    watched::{Watched, WriteWatch},
};
use crate::{
    codec::{
        Incoming,
        limits::{MAX_HEADER_BYTES, MAX_HEADERS},
        trailers::{Trailers, Trailing, WithTrailers},
    },
    fault::{Fault, Kind},
};

/// A connection that can take a request.
#[derive(Debug)]
pub struct Ready<B> {
    /// hyper's handle of the connection.
    pub sender: SendRequest<Trailing<B>>,
    /// Trailers of the request on their way out.
    pub trailers: Rc<Trailers>,
    /// Tells when a head is written.
    pub watch: WriteWatch,
    /// The connection has carried a request before.
    pub reused: bool,
    /// Its endpoint speaks HTTP/1.0: it has no chunks, and hyper would leave them out of the next request without a word.
    pub old: bool,
}

impl<B> Reusable for Ready<B> {
    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    fn is_done(&self) -> bool {
        !self.sender.is_closed() && !self.trailers.are_waiting() && !self.old
    }

    fn reuse(&mut self) {
        self.reused = true;
    }
}

impl<B: Body + Unpin + 'static> Ready<B> {
    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// If there is none. The request comes back if nothing of it was written.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, Unanswered<B>> {
        let request = request.map(|body| Trailing::new(body, Rc::clone(&self.trailers)));
        match self.sender.try_send_request(request).await {
            Ok(response) => {
                self.old |= response.version() != Version::HTTP_11;
                Ok(response.map(Incoming::Http1))
            }
            Err(mut error) => {
                let unprocessed = error.take_message().filter(|_| self.reused);
                let unprocessed = unprocessed.map(|request| request.map(Trailing::into_inner));
                Err(Unanswered { unprocessed, whole: true, error: error.into_error().into() })
            }
        }
    }
}

/// Starts HTTP/1 on a connection; its driver runs on this worker. `tunnel` = the connection may switch protocols.
///
/// # Errors
/// `connect_failed` if hyper refuses the connection.
pub async fn handshake<B>(stream: TcpStream, tunnel: bool) -> Result<Ready<B>, Fault>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (io, watch) = Watched::new(stream);
    let trailers = Rc::<Trailers>::default();
    let io = WithTrailers::new(io, Rc::clone(&trailers));
    let (sender, connection) = Builder::new()
        .preserve_header_case(true)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        // What every client takes, a client behind us gets too.
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|_| Fault::upstream(Kind::ConnectFailed))?;
    if tunnel {
        tokio::task::spawn_local(async move {
            // What it ends with reaches the exchange as the answer's error.
            let _ = connection.with_upgrades().await;
        });
    } else {
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
    }
    Ok(Ready { sender, trailers, watch, reused: false, old: false })
}
