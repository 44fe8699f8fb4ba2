//! The codec on one captured connection, until it ends or drains. Comes in: bytes. Goes out: requests for `exchange`, and what it answers.

pub mod http1;
pub mod http2;
