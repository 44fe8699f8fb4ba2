//! A plain request on its way to an endpoint.
//!
//! Comes in: its head and its body, and a connection as often as that takes something. Goes out: what has become of it. Never: a copy of it; a wait that
//! keeps its answer from being read.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;

/// What is left of a request.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    head: &'a [u8],
    body: &'a [u8],
    state: State,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing of it has gone out.
    Untouched,
    /// The connection takes nothing, and has taken nothing.
    Refused,
    /// A part of it has gone out.
    Begun,
    /// The connection takes no more of it; what the endpoint said before may still be read.
    Broken,
    /// It has gone out.
    Whole,
}

impl<'a> Sending<'a> {
    /// A head, which is not empty, and a body.
    pub(super) fn new(head: &'a [u8], body: &'a [u8]) -> Self {
        Self { head, body, state: State::Untouched }
    }

    /// How far it has come.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Writes what the connection takes, if there is anything left to write.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) {
        while matches!(self.state, State::Untouched | State::Begun) {
            let mut to = Pin::new(&mut *to);
            let written = if self.body.is_empty() {
                to.as_mut().poll_write(cx, self.head)
            } else {
                to.as_mut().poll_write_vectored(cx, &[self.head, self.body].map(IoSlice::new))
            };
            match written {
                Poll::Pending => return,
                Poll::Ready(Ok(count)) if count > 0 => self.taken(count),
                Poll::Ready(other) => {
                    let error = other.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    tracing::debug!(%error, "an endpoint's connection takes nothing");
                    self.state = if self.state == State::Untouched { State::Refused } else { State::Broken };
                }
            }
        }
    }

    fn taken(&mut self, count: usize) {
        let of_head = count.min(self.head.len());
        self.head = &self.head[of_head..];
        self.body = &self.body[count - of_head..];
        self.state = if self.head.len() + self.body.len() == 0 { State::Whole } else { State::Begun };
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Fails if a byte is lost or doubled where a connection takes a part, or if the state does not tell what has gone out.
    #[tokio::test]
    async fn it_goes_out_as_the_connection_takes_it() {
        let (mut ours, mut theirs) = tokio::io::duplex(4);
        let mut sending = Sending::new(b"head:", b"body");
        let cx = &mut Context::from_waker(Waker::noop());
        let mut came = Vec::new();
        assert_eq!(sending.state(), State::Untouched);
        for state in [State::Begun, State::Begun, State::Whole, State::Whole] {
            sending.poll(cx, &mut ours);
            assert_eq!(sending.state(), state);
            if came.len() < 9 {
                let mut part = [0; 4];
                let count = theirs.read(&mut part).await.unwrap();
                came.extend_from_slice(&part[..count]);
            }
        }
        assert_eq!(came, b"head:body");
    }

    #[tokio::test]
    async fn a_connection_that_takes_no_more_is_told_from_one_that_took_nothing() {
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut ours, theirs) = tokio::io::duplex(4);
        let (mut begun, mut untouched) = (Sending::new(b"head:", b""), Sending::new(b"head:", b""));
        begun.poll(cx, &mut ours);
        drop(theirs);
        begun.poll(cx, &mut ours);
        untouched.poll(cx, &mut ours);
        assert_eq!((begun.state(), untouched.state()), (State::Broken, State::Refused));
    }
}
