//! The short way of a plain request over HTTP/1.1: its head is read, matched and written anew, and the answer's bytes are passed on where they were read.
//!
//! Comes in: a captured connection from its first byte. Goes out: answered requests, and, at the first request that is not plain, the connection with
//! everything that is unread: hyper serves it from there to its end. Never: a request of which anything was counted or sent before it was clear that
//! it is plain; a message whose end two readers could see in different places.
//!
//! Plain is a request with an origin-form target, one Host, no body or one that has come with its head, and no wish to change the protocol or to be told to
//! go on; its rule forwards it as it is, to destinations that have endpoints, and sets no timeout. That is what most requests are; hyper costs them
//! three quarters of what we do in user mode (ARCHITECTURE has the figures), for messages that it takes apart and puts together again unchanged.
//!
//! `request` reads a request, `choose` says whether its rule is plain, `primary` and `sending` send it, `answer` reads the answer, `relay` moves it to the
//! client, `link` is a connection to an endpoint, `serve` does all that for one connection.

mod answer;
mod choose;
pub mod link;
mod primary;
mod relay;
mod request;
mod sending;
mod serve;

pub use serve::serve;
