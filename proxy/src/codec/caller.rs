//! The client's HTTP/2 stream as the upstream stream of its request sees it.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
};

use bytes::Bytes;
use h2::{Reason, server::SendResponse};
use http::{Response, StatusCode, response::Parts};

use super::upload::Piece;

/// The client's stream, shared by the task that serves it and the upstream stream.
pub struct Caller {
    respond: RefCell<SendResponse<Piece<Bytes>>>,
    given_up: Cell<Reason>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("given_up", &self.given_up).finish_non_exhaustive()
    }
}

impl Caller {
    /// Over the half of the stream that answers.
    #[must_use]
    pub fn new(respond: SendResponse<Piece<Bytes>>) -> Rc<Self> {
        Rc::new(Self { respond: RefCell::new(respond), given_up: Cell::new(Reason::CANCEL) })
    }

    /// Resolves when the client has given up before there was an answer; its code is kept.
    pub async fn gives_up(&self) {
        // An error means that the connection is gone.
        if let Ok(code) = poll_fn(|cx| self.respond.borrow_mut().poll_reset(cx)).await {
            self.given_up.set(code);
        }
    }

    /// The client has given up while it was answered.
    pub fn gave_up(&self, code: Reason) {
        self.given_up.set(code);
    }

    /// The code with which its request is given up: the client's own, or CANCEL.
    #[must_use]
    pub fn code(&self) -> Reason {
        self.given_up.get()
    }

    /// Passes an informational answer on (RFC 9113, 8.1). What cannot be passed on is lost: it was only information.
    pub fn inform(&self, interim: Response<()>) {
        if interim.status() != StatusCode::SWITCHING_PROTOCOLS {
            let _ = self.respond.borrow_mut().send_informational(interim);
        }
    }

    /// Begins the answer; `last` = it has no body.
    ///
    /// # Errors
    /// When the stream is gone, or the head is no HTTP/2.
    pub fn answer(&self, head: Parts, last: bool) -> Result<h2::SendStream<Piece<Bytes>>, h2::Error> {
        self.respond.borrow_mut().send_response(Response::from_parts(head, ()), last)
    }

    /// Ends the stream without an answer.
    pub fn reset(&self, code: Reason) {
        self.respond.borrow_mut().send_reset(code);
    }
}
