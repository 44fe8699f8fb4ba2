//! HTTP/2 on a connection to an endpoint: many requests at a time, each on a stream of its own.
//!
//! Comes in: a connection, requests. Goes out: answers, or how they failed and whether the endpoint has processed anything. Never: which
//! connection is taken (that is `streams`).

use std::{
    cell::{Cell, RefCell},
    future::{Future as _, pending, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Buf;
use h2::{
    Reason, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{Request, Response, Version, request::Parts};
use http_body::Body;
use tokio::{
    net::TcpStream,
    task::{AbortHandle, spawn_local},
    time::{Instant, sleep, timeout},
};

use super::{
    connection::Unanswered,
    watched::{Watched, WriteWatch},
};
use crate::{
    codec::{
        Incoming, ResetCode,
        caller::Caller,
        limits::{MAX_HEADER_BYTES, STREAM_WINDOW, UPSTREAM_STREAMS, UPSTREAM_WINDOW},
        upload::{Piece, Upload},
    },
    fault::{Fault, Kind},
    net::Class,
};

/// How long a connection that a shadow was given up on may take to tell the endpoint so.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection that carries streams.
pub struct Http2<D: Buf> {
    sender: SendRequest<Piece<D>>,
    watch: WriteWatch,
    streams: Cell<usize>,
    /// When its last stream ended.
    idle_since: Cell<Instant>,
    /// How long an endpoint that has answered may read nothing of the rest.
    patience: Duration,
}

impl<D: Buf> std::fmt::Debug for Http2<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2").field("streams", &self.streams).finish_non_exhaustive()
    }
}

/// Starts HTTP/2 on a connection, without asking whether the endpoint speaks it (RFC 9113, 3.3); its driver runs on this worker and ends when
/// nobody has a stream or a handle any more. An endpoint that has answered and reads nothing of the rest for the time of `patience` is not sent it.
///
/// # Errors
/// `reset` if the connection breaks before anything could be written.
pub async fn handshake<D: Buf + 'static>(
    stream: TcpStream,
    class: Class,
    patience: Duration,
) -> Result<Rc<Http2<D>>, Fault> {
    let (io, watch) = Watched::new(stream);
    let handshake = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(UPSTREAM_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .handshake::<_, Piece<D>>(io);
    let (sender, driver) = handshake.await.map_err(|_| Fault::upstream(Kind::Reset))?;
    let abandoned = matches!(class, Class::Shadow(_)).then(|| watch.clone());
    spawn_local(async move {
        let abandoned = async {
            match &abandoned {
                Some(watch) => {
                    watch.given_up().await;
                    sleep(FAREWELL).await;
                }
                None => pending().await,
            }
        };
        // Every stream hears of it by itself.
        tokio::select! {
            ended = driver => if let Err(error) = ended {
                tracing::debug!(%error, "HTTP/2 connection to an endpoint ended");
            },
            () = abandoned => {}
        }
    });
    Ok(Rc::new(Http2 { sender, watch, streams: Cell::new(0), idle_since: Cell::new(Instant::now()), patience }))
}

impl<D: Buf> Http2<D> {
    /// Whether it still takes streams: it is open, no GOAWAY has come, and no shadow had to be given up on it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let ready = self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        !matches!(ready, Poll::Ready(Err(_))) && !self.watch.is_retired()
    }

    /// A place for one more stream, if there is one.
    #[must_use]
    pub fn place(self: &Rc<Self>) -> Option<Place<D>> {
        let most = self.sender.current_max_send_streams().clamp(1, UPSTREAM_STREAMS);
        if self.streams.get() >= most || !self.is_open() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        Some(Place(Rc::clone(self)))
    }

    /// Since when it has had no stream; `None` = it has one.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        (self.streams.get() == 0).then(|| self.idle_since.get())
    }
}

/// A place among the streams of a connection, until it is dropped.
#[derive(Debug)]
pub struct Place<D: Buf>(Rc<Http2<D>>);

impl<D: Buf> Drop for Place<D> {
    fn drop(&mut self) {
        let Http2 { streams, idle_since, watch, .. } = &*self.0;
        streams.set(streams.get() - 1);
        if streams.get() == 0 {
            idle_since.set(Instant::now());
            if watch.is_retired() {
                watch.give_up();
            }
        }
    }
}

/// Gives a shadow's stream up when it is dropped: the connection takes no more shadows then, and ends with those that it has, so that what is unsent is
/// not kept for an endpoint that may never take it.
#[derive(Debug)]
pub struct Leash(Option<WriteWatch>);

impl Leash {
    /// The exchange is over on both sides.
    pub fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.retire();
        }
    }
}

/// One request's stream. Dropped before [`Stream::finish`], it is reset.
#[derive(Debug)]
pub struct Stream<D: Buf> {
    place: Rc<Place<D>>,
    call: Option<Call<D>>,
}

/// A stream that has been opened.
#[derive(Debug)]
struct Call<D: Buf> {
    out: Rc<RefCell<SendStream<Piece<D>>>>,
    caller: Option<Rc<Caller>>,
    /// Sends the rest of the request while the answer is read.
    upload: Option<AbortHandle>,
    finished: Rc<Cell<bool>>,
}

impl<D: Buf> Drop for Call<D> {
    fn drop(&mut self) {
        if self.finished.get() {
            return;
        }
        if let Some(upload) = &self.upload {
            upload.abort();
        }
        let code = self.caller.as_ref().map_or(Reason::CANCEL, |caller| caller.code());
        self.out.borrow_mut().send_reset(code);
    }
}

impl<D: Buf + 'static> Stream<D> {
    /// On this place.
    #[must_use]
    pub fn new(place: Place<D>) -> Self {
        Self { place: Rc::new(place), call: None }
    }

    /// Tells when something was written.
    #[must_use]
    pub fn watch(&self) -> &WriteWatch {
        &self.place.0.watch
    }

    /// What holds it while it carries a shadow.
    #[must_use]
    pub fn leash(&self) -> Leash {
        Leash(Some(self.watch().clone()))
    }

    /// Sends a request and waits for the head of the answer; what is left of the request's body then follows by itself. `caller` hears
    /// informational answers, and knows the code if the request is given up.
    ///
    /// # Errors
    /// If there is none. The request comes back if the endpoint has provably not processed it.
    pub async fn send<B>(
        &mut self,
        request: Request<B>,
        caller: Option<Rc<Caller>>,
    ) -> Result<Response<Incoming>, Unanswered<B>>
    where
        B: Body<Data = D> + Unpin + 'static,
        B::Error: ResetCode,
    {
        let (head, body) = request.into_parts();
        let copy = head.clone();
        let last = body.is_end_stream();
        let opened = self.place.0.sender.clone().send_request(Request::from_parts(addressed(head), ()), last);
        let (mut answer, out) = match opened {
            Ok((answer, out)) => (answer, Rc::new(RefCell::new(out))),
            Err(error) => {
                let unprocessed = Some(Request::from_parts(copy, body));
                return Err(Unanswered { unprocessed, whole: true, error: error.into() });
            }
        };
        let call = self.call.insert(Call { out: Rc::clone(&out), caller, upload: None, finished: Rc::default() });
        let mut upload = Upload::new(body, Reason::CANCEL);
        let result = poll_fn(|cx| {
            // How it ends shows in the answer.
            let _ = upload.poll(&mut out.borrow_mut(), cx);
            inform(&mut answer, call.caller.as_deref(), cx);
            Pin::new(&mut answer).poll(cx)
        })
        .await;
        match result {
            Ok(response) => {
                if !upload.is_ended() {
                    let rest = rest(upload, out, Rc::clone(&self.place), Rc::clone(&call.finished));
                    call.upload = Some(spawn_local(rest).abort_handle());
                }
                Ok(response.map(Incoming::answer))
            }
            Err(error) => {
                let (body, whole) = upload.into_body();
                let unprocessed = is_unprocessed(&error).then(|| Request::from_parts(copy, body));
                Err(Unanswered { unprocessed, whole, error: error.into() })
            }
        }
    }

    /// The answer is complete: there is nothing to reset. What is left of the request goes on.
    pub fn finish(mut self) {
        if let Some(call) = &mut self.call {
            call.finished.set(true);
        }
    }
}

/// Sends what is left of a request whose answer has begun. Once that has ended nobody looks after the stream any more: then an endpoint that does not
/// read either would hold it, its place and the client's half for ever.
async fn rest<B>(
    mut upload: Upload<B>,
    out: Rc<RefCell<SendStream<Piece<B::Data>>>>,
    place: Rc<Place<B::Data>>,
    finished: Rc<Cell<bool>>,
) where
    B: Body + Unpin,
    B::Error: ResetCode,
{
    let mut stuck = None;
    while timeout(place.0.patience, poll_fn(|cx| upload.poll(&mut out.borrow_mut(), cx))).await.is_err() {
        let now = upload.is_stuck_after().filter(|_| finished.get());
        if now.is_some() && now == stuck {
            out.borrow_mut().send_reset(Reason::CANCEL);
            return;
        }
        stuck = now;
    }
}

/// h2 refuses a request without an authority unless it takes it for one of HTTP/1 on its way: then it sends `:scheme` and no `:authority`, and the
/// Host field says whom the request is for, as it was written (RFC 9113, 8.3.1).
fn addressed(mut head: Parts) -> Parts {
    if head.uri.authority().is_none() {
        head.version = Version::HTTP_11;
    }
    head
}

/// Passes on what the endpoint says before its final answer.
fn inform(answer: &mut ResponseFuture, caller: Option<&Caller>, cx: &mut Context<'_>) {
    while let (Some(caller), Poll::Ready(Some(Ok(interim)))) = (caller, answer.poll_informational(cx)) {
        caller.inform(interim);
    }
}

/// Whether the endpoint says that it has done nothing: its GOAWAY names an earlier stream as the last (RFC 9113, 6.8), or it refused the stream
/// (8.7). h2 gives a stream its peer's GOAWAY as an error only if the stream is above the last one.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}
