//! What the kernel side decides, as pure functions that the host can test.
//!
//! Comes in: plain values that a hook read from its context, and a [`decide::Kernel`] that answers questions when they are asked.
//! Goes out: what to do with the socket. Never: a context pointer, a map, a helper call (those are in the binary's modules).
//!
//! | module | decides |
//! | --- | --- |
//! | [`address`] | which tables a destination belongs to, and what is local |
//! | [`decide`] | whether a connect goes to the proxy (the list of `cgroup/connect4|6`) |
//! | [`publish`] | what `ORIG` says of a connection (`sock_ops`) |
//! | [`names`] | what `getpeername` and `getsockname` answer |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod address;
pub mod decide;
pub mod names;
pub mod publish;
