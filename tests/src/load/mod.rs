//! Load and who bears it: a client that sends many requests and checks every byte of every answer, and a server that carries many connections
//! cheaply and can misbehave in every way that a matrix of faults needs.
//!
//! Comes in: how many connections, how fast, for how long. Goes out: latencies, and each answer that was not what it had to be. Nothing of a body
//! is ever kept: both ends know what it must be ([`exchange`]). It repairs nothing: a broken connection is a finding.

pub mod client;
pub mod exchange;
mod report;
pub mod server;
mod wire;

pub use client::{Load, Running};
pub use exchange::Kind;
pub use report::Report;
pub use server::{Manner, Server};
pub use wire::STREAMS;
