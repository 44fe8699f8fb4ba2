//! A connection to an endpoint for one request, of either protocol, and the connections that one worker keeps.

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;

use super::{
    connect::Dialer,
    http1::{self, Ready},
    http2,
    pool::{Key, MaxIdle, Pool, Protocol},
    streams::Streams,
    watched::WriteWatch,
};
use crate::{
    codec::{self, Incoming, ResetCode, caller::Caller},
    enrol::EnrolledPod,
    fault::Fault,
    net::addr::NetnsCookie,
};

/// What carries one request.
#[derive(Debug)]
pub enum Connection<B: Body> {
    /// A whole connection.
    Http1(Ready<B>),
    /// A stream of one. Dropped before it is given back, it is reset.
    Http2(http2::Stream<B::Data>),
}

/// A request without an answer.
#[derive(Debug)]
pub struct Unanswered<B> {
    /// The request, if it is provably not processed.
    pub unprocessed: Option<Request<B>>,
    /// Nothing was taken from its body.
    pub whole: bool,
    /// What happened.
    pub error: codec::Error,
}

impl<B> Connection<B>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: ResetCode,
{
    /// Tells when something was written.
    #[must_use]
    pub fn watch(&self) -> &WriteWatch {
        match self {
            Self::Http1(ready) => &ready.watch,
            Self::Http2(stream) => stream.watch(),
        }
    }

    /// An HTTP/1 connection that has carried a request before: it may have been closed meanwhile without our knowing.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        matches!(self, Self::Http1(Ready { reused: true, .. }))
    }

    /// Sends a request and waits for the head of the answer. `caller` is the client's stream, if it speaks HTTP/2.
    ///
    /// # Errors
    /// If there is none.
    pub async fn send(
        &mut self,
        request: Request<B>,
        caller: Option<Rc<Caller>>,
    ) -> Result<Response<Incoming>, Unanswered<B>> {
        match self {
            Self::Http1(ready) => ready.send(request).await,
            Self::Http2(stream) => Box::pin(stream.send(request, caller)).await,
        }
    }
}

/// The connections of one worker's primaries.
#[derive(Debug)]
pub struct Pools<B: Body> {
    dialer: Dialer,
    http1: Pool<Ready<B>>,
    http2: Rc<Streams<B::Data>>,
}

impl<B> Pools<B>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: ResetCode + Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Pools that give up what is idle for `timeout`, and keep no more HTTP/1 connections idle than `max`.
    #[must_use]
    pub fn new(dialer: Dialer, timeout: Duration, max: MaxIdle) -> Self {
        let http2 = Streams::new(dialer.clone(), timeout);
        Self { dialer, http1: Pool::new(timeout, max), http2 }
    }

    /// A connection that is there, or a new one.
    ///
    /// # Errors
    /// As [`Dialer::open`].
    pub async fn take(&self, pod: &Arc<EnrolledPod>, key: Key) -> Result<Connection<B>, Fault> {
        match key.protocol {
            Protocol::Http1 => match self.http1.take(key).await {
                Some(ready) => Ok(Connection::Http1(ready)),
                // Boxed what is rare or costs more anyway: a request's future is allocated, moved and cleared with every request.
                None => Box::pin(self.fresh(pod, key, false)).await,
            },
            Protocol::Http2 => Box::pin(self.http2.take(pod, key)).await.map(Connection::Http2),
        }
    }

    /// A connection of its own for a request that may turn it into a tunnel. Over HTTP/2 a tunnel is a stream like another.
    ///
    /// # Errors
    /// As [`Dialer::open`].
    pub async fn take_for_tunnel(&self, pod: &Arc<EnrolledPod>, key: Key) -> Result<Connection<B>, Fault> {
        match key.protocol {
            Protocol::Http1 => Box::pin(self.fresh(pod, key, true)).await,
            Protocol::Http2 => self.take(pod, key).await,
        }
    }

    async fn fresh(&self, pod: &EnrolledPod, key: Key, tunnel: bool) -> Result<Connection<B>, Fault> {
        let stream = self.dialer.open(pod, key.endpoint, key.class).await?;
        http1::handshake(stream, tunnel).await.map(Connection::Http1)
    }

    /// The exchange is complete on both sides. What `drains` keeps nothing: it would keep the namespace of its pod alive.
    pub fn give_back(&self, drains: bool, key: Key, connection: Connection<B>) {
        match connection {
            Connection::Http1(ready) if !drains => self.http1.put(key, ready),
            Connection::Http1(_) => {}
            Connection::Http2(stream) => stream.finish(),
        }
    }

    /// Closes what has been idle for too long or is closed already.
    pub fn evict(&self) {
        self.http1.evict();
        self.http2.evict();
    }

    /// Closes every idle connection of a pod that is no longer enrolled; an open one would keep its namespace alive.
    pub fn forget(&self, pod: NetnsCookie) {
        self.http1.forget(pod);
        self.http2.forget(pod);
    }
}
