use std::future::poll_fn;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::SizeHint;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::yield_now,
};

use super::*;
use crate::{
    route::ShadowSettings,
    shadow::{
        budget::Budget,
        queue::{self, Failure, Sink},
    },
};

/// Our end of a connection, and v2's.
async fn pair() -> (Wire, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Wire::new(near), listener.accept().await.unwrap().0)
}

fn exchange(primary: &str) -> (Exchange, Sink, Failure) {
    let head = Head::of_shadow(primary.as_bytes(), &ShadowSettings::default()).unwrap();
    let budget = Budget::new(1 << 20, Gauge::default());
    let (sink, body, failure) = queue::channel(1 << 20, &budget, &SizeHint::new());
    (Exchange::new(head, body, 1000), sink, failure)
}

async fn run(wire: &mut Wire, exchange: &mut Exchange) -> Done {
    let mut room = [0; 64];
    poll_fn(|cx| wire.poll(exchange, &mut room, cx)).await
}

/// Answers once `request` has come, byte for byte.
async fn answer(far: &mut TcpStream, request: &str, answer: &str) {
    let mut read = vec![0; request.len()];
    far.read_exact(&mut read).await.unwrap();
    assert_eq!(String::from_utf8(read).unwrap(), request);
    far.write_all(answer.as_bytes()).await.unwrap();
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SENT: &str = "GET / HTTP/1.1\r\nHost: a-shadow\r\nx-understudy-shadow: true\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Fails if a byte of the request is lost or framed otherwise than the primary's, or if the connection is not used again.
#[tokio::test]
async fn one_connection_carries_every_kind_of_body() {
    let (mut wire, mut far) = pair().await;
    let marker = "x-understudy-shadow: true\r\n\r\n";
    for (framing, pieces, trailers, body) in [
        ("", &[][..], false, ""),
        ("content-length: 5\r\n", &["he", "llo"], false, "hello"),
        ("Transfer-Encoding: chunked\r\n", &["0123456789", "x"], false, "a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", &["x"], true, "1\r\nx\r\n0\r\nx-sum: 7\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", &[], false, "0\r\n\r\n"),
    ] {
        let (mut exchange, sink, _failure) = exchange(&format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n"));
        let request = format!("POST / HTTP/1.1\r\nHost: a-shadow\r\n{framing}{marker}{body}");
        let feed = async {
            for piece in pieces {
                sink.push(&Bytes::from_static(piece.as_bytes()));
                yield_now().await;
            }
            if trailers {
                let fields = [(http::HeaderName::from_static("x-sum"), HeaderValue::from_static("7"))];
                sink.trailers(&fields.into_iter().collect::<HeaderMap>());
            }
            sink.complete();
        };
        let (done, (), ()) = tokio::join!(run(&mut wire, &mut exchange), feed, answer(&mut far, &request, OK));
        assert_eq!((done, exchange.answer().bytes), (Done::Answered(200), 2), "{request:?}");
        assert!(wire.is_done() && !wire.is_closed());
        wire.reuse();
    }
}

/// Fails if a connection that still has a request on it is kept, or ends in peace.
#[tokio::test]
async fn an_answer_before_the_request_is_whole_resets_the_connection() {
    let (mut wire, mut far) = pair().await;
    let (mut exchange, sink, _failure) = exchange("POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\n\r\n");
    sink.push(&Bytes::from_static(b"he"));
    let request = "POST / HTTP/1.1\r\nHost: a-shadow\r\ncontent-length: 5\r\nx-understudy-shadow: true\r\n\r\nhe";
    let (done, ()) = tokio::join!(run(&mut wire, &mut exchange), answer(&mut far, request, OK));
    assert_eq!(done, Done::Answered(200));
    assert!(!wire.is_done());
    drop(wire);
    assert_eq!(far.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_quiet_connection_ends_in_peace_and_is_seen_to_be_closed() {
    let (mut wire, mut far) = pair().await;
    let (mut get, sink, _failure) = exchange(GET);
    sink.complete();
    assert_eq!(tokio::join!(run(&mut wire, &mut get), answer(&mut far, SENT, OK)).0, Done::Answered(200));
    drop(wire);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "no reset");

    let (mut wire, mut far) = pair().await;
    let (mut get, sink, _failure) = exchange(GET);
    sink.complete();
    let last = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok";
    let close = async {
        answer(&mut far, SENT, last).await;
        far.shutdown().await.unwrap();
    };
    assert_eq!(tokio::join!(run(&mut wire, &mut get), close).0, Done::Answered(200));
    assert!(!wire.is_done());
    drop(wire);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "no reset");

    for last_words in ["", "HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let (wire, mut far) = pair().await;
        assert!(!wire.is_closed());
        far.write_all(last_words.as_bytes()).await.unwrap();
        drop(far);
        wire.stream.readable().await.unwrap();
        assert!(wire.is_closed(), "{last_words:?}");
    }
}

/// Fails if a shadow is lost with a pooled connection that took nothing of it, or if what a fresh one did not take is sent again.
#[tokio::test]
async fn what_a_closed_connection_has_not_taken_goes_to_another() {
    for reused in [true, false] {
        let (mut wire, far) = pair().await;
        far.set_zero_linger().unwrap();
        drop(far);
        wire.stream.readable().await.unwrap();
        // The error of the reset is told once, and a write finds the connection closed.
        let _ = wire.stream.try_read(&mut [0]);
        if reused {
            wire.reuse();
        }
        let (mut get, sink, _failure) = exchange(GET);
        sink.complete();
        let done = run(&mut wire, &mut get).await;
        if !reused {
            assert_eq!(done, Done::Broken);
            continue;
        }
        assert_eq!(done, Done::Unsent);
        let (mut other, mut far) = pair().await;
        assert_eq!(tokio::join!(run(&mut other, &mut get), answer(&mut far, SENT, OK)).0, Done::Answered(200));
    }
}

/// Fails if the end of a chunk waits for the next one: who reads by chunks would not have what v1 has.
#[tokio::test]
async fn a_chunk_goes_out_whole_before_there_is_another() {
    let (mut wire, mut far) = pair().await;
    let (mut exchange, sink, _failure) = exchange("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    sink.push(&Bytes::from_static(b"hello"));
    let request = "POST / HTTP/1.1\r\nHost: a-shadow\r\ntransfer-encoding: chunked\r\nx-understudy-shadow: true\r\n\r\n5\r\nhello\r\n";
    let (done, ()) = tokio::join!(run(&mut wire, &mut exchange), answer(&mut far, request, OK));
    assert_eq!(done, Done::Answered(200));
}
