//! A rule's timeout: how long the rest may take once the request is whole (Envoy's `RouteAction.timeout`, which Istio's `timeout` becomes).
//!
//! Comes in: the rule's time, how far the request's body has come. Goes out: the moment at which the answer must have ended. Never: a time that runs
//! while the client uploads, or one for shadows.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::sleep;

use super::request_body::BodyProgress;
use crate::codec::limits::STREAM_WINDOW;

/// Resolves when the time is over.
pub struct Deadline {
    time: Pin<Box<dyn Future<Output = ()>>>,
    over: bool,
    /// Bytes of the answer that may still come when the time is over: they were here already, and the client was slow.
    grace: usize,
}

impl Deadline {
    /// `limit` after the request has gone out whole.
    #[must_use]
    pub fn new(limit: Duration, request: BodyProgress) -> Self {
        let time = Box::pin(async move {
            request.sent().await;
            sleep(limit).await;
        });
        Self { time, over: false, grace: STREAM_WINDOW as usize }
    }

    /// Whether the answer, from whose body this came, has taken too long.
    pub fn is_over<E>(&mut self, cx: &mut Context<'_>, frame: &Poll<Option<Result<Frame<Bytes>, E>>>) -> bool {
        if !self.over {
            self.over = self.time.as_mut().poll(cx).is_ready();
            return self.over && frame.is_pending();
        }
        if let Poll::Ready(Some(Ok(frame))) = frame {
            self.grace = self.grace.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
        frame.is_pending() || self.grace == 0
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.time.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use tokio::time::{Instant, timeout};

    use super::{super::request_body::RequestBody, *};

    /// Fails if the time runs from the request's arrival, or does not begin while somebody waits for it.
    #[tokio::test(start_paused = true)]
    async fn it_begins_when_the_request_is_whole() {
        let limit = Duration::from_secs(1);
        let (body, progress) = RequestBody::new(Full::new(Bytes::from_static(b"x")), Vec::new(), None, None);
        let mut deadline = Deadline::new(limit, Rc::clone(&progress));
        assert!(timeout(10 * limit, &mut deadline).await.is_err());
        let begun = Instant::now();
        let (_, ()) = tokio::join!(body.collect(), deadline);
        assert_eq!(begun.elapsed(), limit);
    }

    /// Fails if a slow client is taken for a slow endpoint, or if an answer without end may go on.
    #[tokio::test(start_paused = true)]
    async fn what_had_come_in_time_is_passed_on() {
        let (_, progress) = RequestBody::new(Full::new(Bytes::new()), Vec::new(), None, None);
        let mut deadline = Deadline::new(Duration::from_secs(1), progress);
        let frame = |length| Poll::Ready(Some(Ok::<_, ()>(Frame::data(Bytes::from(vec![0; length])))));
        let mut over = async |frame| std::future::poll_fn(|cx| Poll::Ready(deadline.is_over(cx, &frame))).await;
        assert!(!over(Poll::Pending).await);
        sleep(Duration::from_secs(2)).await;
        assert!(!over(frame(1)).await && !over(frame(1)).await);
        assert!(over(Poll::Pending).await && over(frame(STREAM_WINDOW as usize)).await);
    }
}
