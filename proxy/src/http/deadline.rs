//! A rule's timeout: how long the rest may take once the request is whole (Envoy's `RouteAction.timeout`, which Istio's `timeout` becomes).
//!
//! Comes in: the rule's time, how far the request's body has come. Goes out: the moment at which the answer must have ended. Never: a time that runs
//! while the client uploads, or one for shadows.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::sleep;

use super::request_body::BodyProgress;

/// Resolves when the time is over.
pub struct Deadline(Pin<Box<dyn Future<Output = ()>>>);

impl Deadline {
    /// `limit` after the request has gone out whole.
    #[must_use]
    pub fn new(limit: Duration, request: BodyProgress) -> Self {
        Self(Box::pin(async move {
            request.sent().await;
            sleep(limit).await;
        }))
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
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
}
