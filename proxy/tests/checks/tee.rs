//! The copy of a body on its way to v1: whatever v2 does, v1's bytes are the client's; v2's are their beginning or all of them; and no memory
//! is left behind.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{BufMut as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use understudy::{
    http::request_body::RequestBody,
    shadow::{
        budget::Budget,
        queue::{self, Failure, QueueBody},
    },
};

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The client sends so many bytes.
    Send(u8),
    /// The client has sent everything.
    End,
    /// The client breaks off.
    Break,
    /// v1's connection asks for more.
    Primary,
    /// v2's connection asks for more.
    Shadow,
    /// v1's connection has gone.
    DropPrimary,
    /// v2's connection has gone.
    DropShadow,
    /// Who looks after the shadow has gone.
    DropFailure,
}

impl Step {
    /// Any byte is a step.
    #[must_use]
    pub(crate) fn from_byte(byte: u8) -> Self {
        match byte {
            0..=15 => Self::End,
            16..=19 => Self::Break,
            20..=23 => Self::DropPrimary,
            24..=27 => Self::DropShadow,
            28..=31 => Self::DropFailure,
            32..=95 => Self::Primary,
            96..=159 => Self::Shadow,
            160.. => Self::Send(byte - 160),
        }
    }
}

/// What the client's body says next: a chunk, that it broke, or that it is over.
type Said = Option<Result<Bytes, &'static str>>;

#[derive(Clone, Default)]
struct Client(Rc<RefCell<VecDeque<Said>>>);

impl Body for Client {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.0.borrow_mut().pop_front() {
            None => Poll::Pending,
            Some(frame) => Poll::Ready(frame.map(|frame| frame.map(Frame::data))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// Polls once; true at the end of the body, whichever it is.
fn poll<B: Body + Unpin>(body: &mut Option<B>, got: &mut Vec<u8>, ended: &mut Option<bool>) {
    let Some(polled) = body else { return };
    if ended.is_some() {
        return;
    }
    match Pin::new(polled).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => {
            if let Ok(data) = frame.into_data() {
                got.put(data);
            }
        }
        Poll::Ready(Some(Err(_))) => *ended = Some(false),
        Poll::Ready(None) => *ended = Some(true),
        Poll::Pending => {}
    }
}

/// Plays the steps with a shadow that may hold `limit` bytes, on a node that may hold `node` bytes of all shadows.
pub(crate) fn check(steps: &[Step], limit: usize, node: usize) {
    let budget = Budget::new(node, Gauge::default());
    let client = Client::default();
    let (sink, shadow, failure): (_, QueueBody, Failure) = queue::channel(limit, &budget, &SizeHint::new());
    let (primary, _progress) = RequestBody::new(client.clone(), vec![sink], None, None);
    let (mut primary, mut shadow, mut failure) = (Some(primary), Some(shadow), Some(failure));
    let (mut sent, mut next, mut over) = (Vec::new(), 0_u8, false);
    let (mut v1, mut v1_ended) = (Vec::new(), None);
    let (mut v2, mut v2_ended) = (Vec::new(), None);
    for step in steps {
        match step {
            Step::Send(count) if !over => {
                let chunk: Vec<u8> = (0..*count)
                    .map(|_| {
                        next = next.wrapping_add(1);
                        next
                    })
                    .collect();
                sent.extend_from_slice(&chunk);
                client.0.borrow_mut().push_back(Some(Ok(chunk.into())));
            }
            Step::End if !over => {
                client.0.borrow_mut().push_back(None);
                over = true;
            }
            Step::Break if !over => {
                client.0.borrow_mut().push_back(Some(Err("broken")));
                over = true;
            }
            Step::Send(_) | Step::End | Step::Break => {}
            Step::Primary => poll(&mut primary, &mut v1, &mut v1_ended),
            Step::Shadow => poll(&mut shadow, &mut v2, &mut v2_ended),
            Step::DropPrimary => primary = None,
            Step::DropShadow => shadow = None,
            Step::DropFailure => failure = None,
        }
        assert!(sent.starts_with(&v1), "v1's bytes are not the client's");
        assert!(v1.starts_with(&v2), "v2's bytes are not the beginning of v1's");
        assert!(budget.used() <= node, "{} bytes are held on a node for {node}", budget.used());
        if v1_ended == Some(true) {
            assert_eq!(v1, sent, "v1 was told that this was all");
        }
        if v2_ended == Some(true) {
            assert_eq!((&v2, v1_ended), (&sent, Some(true)), "v2 was told that this was all");
        }
    }
    drop((primary, shadow, failure));
    assert_eq!(budget.used(), 0, "memory is left behind");
}
