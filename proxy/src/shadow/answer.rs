//! A shadow's answer: read chunk by chunk, counted, thrown away. Never stored, and never more of it than the bound.

use bytes::Buf as _;
use http_body::Body;
use http_body_util::BodyExt as _;

/// What was read of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Body bytes.
    pub(super) bytes: u64,
    /// It was longer than the bound; the rest was not read.
    pub(super) cut: bool,
}

impl Answer {
    /// Reads `body` to its end, or until it is longer than `bound`. Returns false if it broke off before.
    pub(super) async fn discard(&mut self, mut body: impl Body + Unpin, bound: u64) -> bool {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            self.bytes += frame.data_ref().map_or(0, |chunk| chunk.remaining() as u64);
            if self.bytes > bound {
                self.cut = true;
                break;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
    };

    use bytes::Bytes;
    use http_body::Frame;

    use super::*;

    /// Chunks of ten bytes; `None` = without end, else how many before the body breaks off (or ends).
    struct Tens(Option<u32>, bool);

    impl Body for Tens {
        type Data = Bytes;
        type Error = Option<Infallible>;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match &mut self.0 {
                Some(0) => return Poll::Ready(if self.1 { Some(Err(None)) } else { None }),
                Some(left) => *left -= 1,
                None => {}
            }
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"0123456789")))))
        }
    }

    async fn read(body: Tens, bound: u64) -> (bool, Answer) {
        let mut answer = Answer::default();
        (answer.discard(body, bound).await, answer)
    }

    /// Fails if the bound is not kept: the last body has no end.
    #[tokio::test]
    async fn what_is_longer_than_the_bound_is_cut_and_an_answer_all_the_same() {
        assert_eq!(read(Tens(Some(3), false), 30).await, (true, Answer { bytes: 30, cut: false }));
        assert_eq!(read(Tens(Some(4), false), 30).await, (true, Answer { bytes: 40, cut: true }));
        assert_eq!(read(Tens(None, false), 99).await, (true, Answer { bytes: 100, cut: true }));
    }

    #[tokio::test]
    async fn a_broken_answer_is_none() {
        assert_eq!(read(Tens(Some(3), true), 100).await, (false, Answer { bytes: 30, cut: false }));
    }
}
