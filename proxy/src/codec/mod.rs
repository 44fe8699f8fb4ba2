//! What HTTP/1 and HTTP/2 have in common once their frames are taken off.
//!
//! Comes in: hyper's messages (HTTP/1) and h2's streams. Goes out: one kind of body, one kind of error. Never: which request goes where.
//!
//! HTTP/2 is served over the `h2` crate itself and not through hyper, because hyper's interface has no place for what has to carry across: the code
//! of a reset in both directions, informational answers, and a request that was provably not processed together with its body.
//!
//! [`Incoming`] is a body that arrives, [`upload`] sends one on a stream, [`caller`] is the client's stream as its upstream stream
//! sees it; [`trailers`] are HTTP/1's. `answer_framing` and `chunked` find the end of an answer over HTTP/1 where no codec reads it.

pub(crate) mod answer_framing;
pub mod caller;
pub(crate) mod chunked;
mod error;
mod incoming;
mod kept;
pub mod limits;
pub mod trailers;
pub mod upload;

pub use error::{Error, ResetCode};
pub use incoming::Incoming;
pub use kept::kept;
