//! The body of what the client gets: the endpoint's answer as it comes, or a line of our own.
//!
//! When the endpoint's answer has ended, its connection goes back to the pool. When it breaks, so does the client's connection: the error
//! passes through.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    line::Line,
    request_body::{BodyProgress, Progress, RequestBody},
};
use crate::{
    codec::{self, Incoming},
    enrol::EnrolledPod,
    route::endpoint::InFlight,
    upstream::{
        connection::Connection,
        pool::{Key, Protocol},
    },
    worker::Worker,
};

/// An upstream connection in use by one exchange.
pub struct Lease {
    /// Where it may go back to.
    pub worker: Rc<Worker>,
    /// Whose it is.
    pub pod: Arc<EnrolledPod>,
    /// Its place in the pool.
    pub key: Key,
    /// The connection.
    pub connection: Connection<RequestBody>,
    /// Whether the request has gone out whole. If not, an HTTP/1 connection cannot carry another.
    pub body: BodyProgress,
    /// Counts at the endpoint.
    pub in_flight: InFlight,
}

impl Lease {
    fn give_back(self) {
        if self.body.get() == Progress::Sent || self.key.protocol == Protocol::Http2 {
            self.worker.primaries.give_back(&self.pod, self.key, self.connection);
        }
    }
}

enum Source {
    Upstream {
        body: Incoming,
        lease: Option<Lease>,
        /// The end was seen; a chunked body does not say so by itself.
        ended: bool,
    },
    Text(Option<Bytes>),
}

/// The body of an answer.
pub struct AnswerBody {
    source: Source,
    /// Written when the answer has ended, one way or the other.
    line: Option<Line>,
}

impl AnswerBody {
    /// The endpoint's answer.
    #[must_use]
    pub fn upstream(body: Incoming, lease: Lease) -> Self {
        Self { source: Source::Upstream { body, lease: Some(lease), ended: false }, line: None }
    }

    /// Our own words.
    #[must_use]
    pub fn text(text: Bytes) -> Self {
        Self { source: Source::Text(Some(text)), line: None }
    }

    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self { source: Source::Text(None), line: None }
    }

    /// The access log line to write at the end.
    pub fn log(&mut self, line: Line) {
        self.line = Some(line);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = codec::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, codec::Error>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Upstream { body, ended, .. } => {
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
                // hyper asks no further after trailers.
                *ended |= frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
                frame
            }
            Source::Text(text) => text.take().map(|text| Ok(Frame::data(text))),
        };
        if let (Some(line), Some(Ok(frame))) = (&mut this.line, &frame) {
            line.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream { body, .. } => body.is_end_stream(),
            Source::Text(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream { body, .. } => body.size_hint(),
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Source::Upstream { body, lease, ended } = &mut self.source
            && (*ended || body.is_end_stream())
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
    }
}
