//! The copy that goes to v2.
//!
//! Comes in: a request's head after routing, and clones of its body's chunks. Goes out: exactly one counted outcome.
//! Never: an error to the primary, or anything that the primary awaits.
//!
//! `plan` decides per mirror at the request's start, `departure` waits for the primary's head to be written, `queue` carries body chunks from the
//! primary's body to the shadow's, `send` performs the shadow over what `connections` keeps (`wire` is HTTP/1) in the time that `deadlines` gives it, `answer` counts what comes back, `ticket` sees to it that each is counted once, `budget` bounds the node's memory (`chunk` is what it counts), `overload` puts shadows last when
//! the CPU is short, `key`, `sample` and `host` are the arithmetic.

mod answer;
pub mod budget;
pub mod chunk;
pub mod connections;
pub mod deadlines;
pub mod departure;
pub mod host;
pub mod key;
pub mod outcome;
pub mod overload;
pub mod plan;
pub mod queue;
pub mod sample;
pub mod send;
pub mod ticket;
pub mod wire;

/// Marks a shadow on its way, so that nobody takes it for the real thing; the only header that a shadow adds.
pub const MARKER: http::HeaderName = http::HeaderName::from_static("x-understudy-shadow");
