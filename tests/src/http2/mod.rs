//! HTTP/2 with prior knowledge as a test needs it: a client of which every stream is in its hands, and a server that does what it is told.
//!
//! Comes in: what a test sends, how a server is to behave. Goes out: messages with their trailers, the codes of resets, what a server saw. It never
//! repairs, retries or waits beyond the lab's patience.

mod client;
pub mod frames;
mod message;
mod server;

pub use client::{Client, run, until};
pub use message::{Broken, Message, fields, read, request, send, until_reset};
pub use server::{Call, Seen, Server};
