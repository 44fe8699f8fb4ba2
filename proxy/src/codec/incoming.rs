//! A body that arrives, whatever version of HTTP carries it.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};

use super::{Error, caller::Caller};

/// The body of a request or of an answer.
#[derive(Debug)]
pub enum Incoming {
    /// hyper's.
    Http1(hyper::body::Incoming),
    /// A stream of HTTP/2.
    Http2(Stream),
}

/// The receiving half of a stream. The peer may send more only as far as somebody has read.
#[derive(Debug)]
pub struct Stream {
    frames: RecvStream,
    /// All data has come; trailers may follow.
    data_ended: bool,
    caller: Option<Rc<Caller>>,
}

impl Incoming {
    /// A request's body, with the stream that it is to be answered on.
    #[must_use]
    pub fn request(frames: RecvStream, caller: Rc<Caller>) -> Self {
        Self::Http2(Stream { frames, data_ended: false, caller: Some(caller) })
    }

    /// An answer's body.
    #[must_use]
    pub fn answer(frames: RecvStream) -> Self {
        Self::Http2(Stream { frames, data_ended: false, caller: None })
    }

    /// Whose request it is, if it came over HTTP/2.
    #[must_use]
    pub fn caller(&self) -> Option<Rc<Caller>> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(stream) => stream.caller.clone(),
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.frames.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    // Whoever polls has room for it; this cannot fail for what has just been received.
                    let _ = self.frames.flow_control().release_capacity(chunk.len());
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_ended = true,
            }
        }
        self.frames.poll_trailers(cx).map(|trailers| trailers.map(|trailers| trailers.map(Frame::trailers)).transpose())
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Error::from),
            Self::Http2(stream) => stream.poll(cx).map_err(Error::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(stream) => stream.frames.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            // A length stands in the head, which travels on; the end of a stream needs none.
            Self::Http2(_) if self.is_end_stream() => SizeHint::with_exact(0),
            Self::Http2(_) => SizeHint::default(),
        }
    }
}
