//! What HTTP/1 and HTTP/2 have in common once their frames are taken off.
//!
//! Comes in: hyper's messages (HTTP/1) and h2's streams. Goes out: one kind of body, one kind of error. Never: which request goes where.
//!
//! HTTP/2 is served over the `h2` crate itself and not through hyper, because hyper's interface has no place for what has to carry across: the code
//! of a reset in both directions, informational answers, and a request that was provably not processed together with its body.
//!
//! [`Incoming`] is a body that arrives, [`upload`] sends one on a stream, [`caller`] is the client's stream as its upstream stream
//! sees it; [`trailers`] are HTTP/1's. `fields`, `answer_framing` and `chunked` are for
//! messages over HTTP/1 that no codec reads.

pub(crate) mod answer_framing;
pub mod caller;
pub(crate) mod chunked;
mod error;
pub(crate) mod fields;
mod incoming;
mod kept;
pub mod limits;
pub mod trailers;
pub mod upload;

pub use error::{Error, ResetCode};
pub use incoming::Incoming;
pub use kept::kept;
