//! How a body breaks off.

use h2::Reason;

/// A body that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// On an HTTP/1 connection.
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    /// On an HTTP/2 stream.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// The time that a rule gives it is over.
    #[error("the rule's time for the answer is over")]
    Late,
}

impl Error {
    /// The other side of an HTTP/2 connection has said it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Http2(error) if error.is_remote())
    }
}

/// What an error says about the stream that it ended.
pub trait ResetCode {
    /// The code of the RST_STREAM that ended it (RFC 9113, 6.4); `None` if it was something else, a broken connection for instance.
    fn reset_code(&self) -> Option<Reason>;
}

impl ResetCode for Error {
    fn reset_code(&self) -> Option<Reason> {
        match self {
            Self::Http1(_) | Self::Late => None,
            Self::Http2(error) => error.reset_code(),
        }
    }
}

impl ResetCode for h2::Error {
    fn reset_code(&self) -> Option<Reason> {
        if self.is_reset() { self.reason() } else { None }
    }
}
