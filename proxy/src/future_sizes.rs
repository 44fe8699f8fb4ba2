//! How much memory the tasks of a connection, a request and a shadow take while they wait. They are allocated, moved and cleared for each one, and
//! idle connections are many. A bound is what there is, rounded up a little; whoever makes a future smaller lowers its bound.
//!
//! A future's size is known without making one: it is the size of what a function returns that nobody calls.

use crate::{
    accept,
    http::{
        exchange,
        serve::{http1, http2},
    },
    opaque,
    shadow::send,
};

/// Bytes of what a function of so many arguments returns.
fn of1<A, R>(_: impl FnOnce(A) -> R) -> usize {
    size_of::<R>()
}

fn of2<A, B, R>(_: impl FnOnce(A, B) -> R) -> usize {
    size_of::<R>()
}

fn of3<A, B, C, R>(_: impl FnOnce(A, B, C) -> R) -> usize {
    size_of::<R>()
}

/// Fails if one of them grows beyond its bound: a large value is kept across an await that need not be (a body moved into a closure, an error by
/// value, a nested future that is not boxed).
#[test]
fn tasks_stay_as_small_as_they_are() {
    let sizes = [
        ("a connection, from its first byte to its end", of1(accept::handle), 3_200),
        ("… its HTTP/1 codec", of2(http1::serve), 1_280),
        ("… its HTTP/2 codec", of2(http2::serve), 2_816),
        ("a stream of HTTP/2", of3(http2::stream), 8_000),
        ("a request with its primary", of2(exchange::exchange), 7_000),
        ("a shadow over HTTP/1", of3(send::perform_http1), 1_072),
        ("a shadow over HTTP/2", of3(send::perform_http2), 2_688),
        ("an opaque connection", of3(opaque::splice), 512),
    ];
    let mut too_large = Vec::new();
    for (what, bytes, bound) in sizes {
        println!("{bytes:>6} bytes (bound {bound:>6}) {what}");
        if bytes > bound {
            too_large.push(what);
        }
    }
    assert!(too_large.is_empty(), "larger than they may be: {too_large:?}; the sizes are above");
}
