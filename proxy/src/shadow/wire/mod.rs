//! A shadow over HTTP/1: from the bytes of the primary's head to the last byte of v2's answer.
//!
//! Comes in: the head as it went to v1, the queue of the body, a connection. Goes out: how it ended. Never: a header map, a task or a buffer of its
//! own for each connection; what v2 answers is looked at where it was read, and kept only as far as a head is not whole.
//!
//! `head` makes v2's head of v1's, `outgoing` writes the request, `reply` finds the end of an answer, `connection` does
//! both at once.

pub mod connection;
pub mod head;
mod outgoing;
mod reply;
