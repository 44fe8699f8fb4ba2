//! A request's head from what was written of it, to send it a second time.
//!
//! Comes in: the bytes of a head, as the codec wrote them. Goes out: the head, as the codec reads it. Never on the way of a request that is sent once:
//! keeping the bytes is all that such a one pays for it.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future as _, ready},
    pin::pin,
    task::{Context, Waker},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{join, sink};

/// Reads the head again, with the letter case of its fields, which nobody but the codec can tell the codec. `None` = it is none.
#[must_use]
pub fn head(written: &[u8]) -> Option<Parts> {
    let found = Cell::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        found.set(Some(request.into_parts().0));
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let mut codec = http1::Builder::new();
    // Rules may have made it longer than what we take from clients.
    let lines = written.iter().filter(|byte| **byte == b'\n').count();
    codec.preserve_header_case(true).max_headers(lines).max_header_size(written.len());
    let reading = pin!(codec.serve_connection(TokioIo::new(join(written, sink())), service));
    // All of it is there: one look is enough, and its answer goes nowhere.
    let _ = reading.poll(&mut Context::from_waker(Waker::noop()));
    found.take()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::{io::AsyncReadExt as _, task::LocalSet};

    use super::*;

    /// Fails if a field loses its place or its letter case on the way.
    #[tokio::test]
    async fn what_is_written_again_is_what_was_written() {
        let written = "PUT /a?b HTTP/1.1\r\nHOST: Example\r\nx-One: 1\r\nX-one: 2\r\ncontent-LENGTH: 0\r\n\r\n";
        let again = head(written.as_bytes()).unwrap();
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let test = async {
            let mut builder = hyper::client::conn::http1::Builder::new();
            let (mut sender, connection) =
                builder.preserve_header_case(true).handshake(TokioIo::new(ours)).await.unwrap();
            tokio::task::spawn_local(connection);
            let request = Request::from_parts(again, Empty::<Bytes>::new());
            let sent =
                tokio::task::spawn_local(async move { sender.send_request(request).await.unwrap().collect().await });
            let mut bytes = vec![0; written.len()];
            theirs.read_exact(&mut bytes).await.unwrap();
            sent.abort();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(LocalSet::new().run_until(test).await, written);
    }

    #[test]
    fn half_a_head_is_none() {
        assert!(head(b"GET / HTTP/1.1\r\nhost: a\r\n").is_none());
    }
}
