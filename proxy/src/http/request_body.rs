//! The body of the primary's upstream request: the client's body, copied to the shadows as it passes.
//!
//! Never: waits for a shadow. The client's pace and the endpoint's flow control are the only ones that count.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::replay::{Piece, Replay, Room};
use crate::{codec::Incoming, patience::UnderWay, shadow::queue::Sink};

/// How far a request's body has come on its way to the endpoint's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    #[default]
    Underway,
    /// All of it has been handed over.
    Sent,
    /// The client broke off, or sent what makes no sense.
    Broken,
}

/// The progress, shared with whoever needs to know.
pub type BodyProgress = Rc<Reached>;

/// How far a body has come.
#[derive(Debug, Default)]
pub struct Reached {
    progress: Cell<Progress>,
    waiting: RefCell<Option<Waker>>,
}

impl Reached {
    /// How far.
    #[must_use]
    pub fn get(&self) -> Progress {
        self.progress.get()
    }

    /// Resolves when all has been handed over. One may wait.
    pub async fn sent(&self) {
        poll_fn(|cx| {
            if self.get() == Progress::Sent {
                return Poll::Ready(());
            }
            self.waiting.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn set(&self, progress: Progress) {
        self.progress.set(progress);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

/// The client's body on its way to the endpoint.
pub struct RequestBody<B = Incoming> {
    inner: Option<B>,
    /// What goes out a second time, before the rest.
    again: VecDeque<Piece>,
    /// Keeps what passes.
    replay: Option<Replay>,
    sinks: Vec<Sink>,
    progress: BodyProgress,
    /// Counts its bytes, if somebody wants to know.
    counted: Option<Rc<Cell<u64>>>,
    /// Held until the client has sent everything.
    under_way: Option<UnderWay>,
}

impl<B> std::fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody").field("sinks", &self.sinks).finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes> + Unpin> RequestBody<B> {
    /// Copies what passes into `sinks` and adds its length to `counted`; the request is `under_way` until all has come.
    #[must_use]
    pub fn new(
        inner: B,
        sinks: Vec<Sink>,
        counted: Option<Rc<Cell<u64>>>,
        under_way: Option<UnderWay>,
    ) -> (Self, BodyProgress) {
        let progress = BodyProgress::default();
        let mut body = Self {
            inner: Some(inner),
            again: VecDeque::new(),
            replay: None,
            sinks,
            progress: Rc::clone(&progress),
            counted,
            under_way,
        };
        if body.is_end_stream() {
            body.finish();
        }
        (body, progress)
    }

    /// From now on what passes is kept, while there is room.
    pub fn keep(&mut self, room: &Room) -> Replay {
        self.replay.insert(Replay::new(room)).clone()
    }

    /// The same body from its beginning, if all that has passed was kept. The shadows have had that already.
    #[must_use]
    pub fn rewound(mut self) -> Option<Self> {
        self.again = self.replay.as_ref()?.pieces()?;
        Some(self)
    }

    /// For nobody's ears.
    #[must_use]
    pub fn without_shadows(mut self) -> Self {
        self.sinks.clear();
        self
    }

    /// A whole body that has passed before: for a request that is sent a second time.
    #[must_use]
    pub fn again(pieces: VecDeque<Piece>) -> Self {
        let progress = BodyProgress::default();
        progress.set(Progress::Sent);
        Self { inner: None, again: pieces, replay: None, sinks: Vec::new(), progress, counted: None, under_way: None }
    }

    fn finish(&mut self) {
        self.progress.set(Progress::Sent);
        self.under_way = None;
        for sink in self.sinks.drain(..) {
            sink.complete();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(piece) = self.again.pop_front() {
            return Poll::Ready(Some(Ok(piece.into())));
        }
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(counted), Some(chunk)) = (&self.counted, frame.data_ref()) {
                    counted.set(counted.get() + chunk.len() as u64);
                }
                if let Some(replay) = &self.replay {
                    replay.keep(frame);
                }
                for sink in &self.sinks {
                    if let Some(chunk) = frame.data_ref() {
                        sink.push(chunk);
                    } else if let Some(trailers) = frame.trailers_ref() {
                        sink.trailers(trailers);
                    }
                }
                // hyper asks no further after trailers.
                if frame.is_trailers() || self.is_end_stream() {
                    self.finish();
                }
            }
            Some(Err(_)) => {
                self.progress.set(Progress::Broken);
                self.under_way = None;
                // Dropping the sinks cancels the shadows.
                self.sinks.clear();
            }
            None => self.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_empty() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            _ if !self.again.is_empty() => SizeHint::default(),
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}
