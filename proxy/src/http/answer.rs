//! The body of what the client gets: the endpoint's answer as it comes, or a line of our own.
//!
//! When the endpoint's answer has ended, its connection goes back to the pool. When it breaks, so does the client's connection: the error
//! passes through.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    deadline::Deadline,
    line::Line,
    request_body::{BodyProgress, Progress, RequestBody},
};
use crate::{
    codec::{self, Incoming, trailers::Trailers},
    fault::{Fault, Kind},
    patience::UnderWay,
    route::endpoint::InFlight,
    shadow::send::Origin,
    upstream::{
        connection::Connection,
        pool::{Key, Protocol},
    },
};

/// An upstream connection in use by one exchange.
pub struct Lease {
    /// Whose it is, and the worker that it may go back to.
    pub origin: Rc<Origin>,
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
            let Origin { worker, drain, .. } = &*self.origin;
            worker.primaries.give_back(drain.is_cancelled(), self.key, self.connection);
        }
    }
}

enum Source {
    Upstream {
        body: Incoming,
        lease: Option<Lease>,
        /// When the rule wants its end.
        deadline: Option<Deadline>,
        /// The end was seen; a chunked body does not say so by itself.
        ended: bool,
    },
    Text(Option<Bytes>),
}

/// What an answer carries along until it has ended, one way or the other.
pub struct End {
    /// The access log line to write then.
    pub line: Line,
    /// The request that is under way until then.
    pub under_way: UnderWay,
    /// The connection's place for trailers, if its codec cannot be trusted with them.
    pub trailers: Option<Rc<Trailers>>,
}

/// The body of an answer.
pub struct AnswerBody {
    source: Source,
    end: Option<End>,
}

impl AnswerBody {
    /// The endpoint's answer.
    #[must_use]
    pub fn upstream(body: Incoming, lease: Lease, deadline: Option<Deadline>) -> Self {
        Self { source: Source::Upstream { body, lease: Some(lease), deadline, ended: false }, end: None }
    }

    /// Our own words.
    #[must_use]
    pub fn text(text: Bytes) -> Self {
        Self { source: Source::Text(Some(text)), end: None }
    }

    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self { source: Source::Text(None), end: None }
    }

    /// Keeps this until the end.
    pub fn end_with(&mut self, end: End) {
        self.end = Some(end);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = codec::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, codec::Error>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Upstream { body, lease, deadline, ended } => {
                let frame = Pin::new(body).poll_frame(cx);
                if let Some(time) = deadline
                    && time.is_over(cx, &frame)
                {
                    *deadline = None;
                    if let Some(lease) = lease {
                        lease.origin.worker.fault(Fault::upstream(Kind::AnswerTimeout));
                    }
                    return Poll::Ready(Some(Err(codec::Error::Late)));
                }
                let frame = ready!(frame);
                // hyper asks no further after trailers.
                *ended |= frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
                frame
            }
            Source::Text(text) => text.take().map(|text| Ok(Frame::data(text))),
        };
        if let (Some(end), Some(Ok(frame))) = (&mut this.end, &frame) {
            end.line.sent(frame.data_ref().map_or(0, Bytes::len));
            if let (Some(place), Some(trailers)) = (&end.trailers, frame.trailers_ref()) {
                place.put(trailers);
                return Poll::Ready(None);
            }
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
        if let Source::Upstream { body, lease, ended, .. } = &mut self.source
            && (*ended || body.is_end_stream())
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
    }
}
