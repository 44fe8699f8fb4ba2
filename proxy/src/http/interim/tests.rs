use std::time::Duration;

use http::Request;
use hyper::{Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    task::LocalSet,
};

use super::*;
use crate::upstream::interim::Listener;

const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLINK: </a>\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What the endpoint does with a request.
type Endpoint = fn(Request<Incoming>, Rc<Interim>) -> Pin<Box<dyn Future<Output = &'static str>>>;

/// hyper's server on one end, the client on the other. `room` = bytes that fit into the connection.
async fn conversation<T>(room: usize, endpoint: Endpoint, client: impl AsyncFnOnce(DuplexStream) -> T) -> T {
    let (near, far) = duplex(room);
    let serve = async move {
        let interim = Rc::new(Interim::default());
        let io = ClientIo::new(near, Rc::clone(&interim));
        let service = service_fn(move |request: Request<Incoming>| {
            let interim = Rc::clone(&interim);
            async move {
                let (head, body) = request.into_parts();
                interim.begin(&head).await;
                let text = endpoint(Request::from_parts(head, body), interim).await;
                Ok::<_, std::convert::Infallible>(Response::new(text.to_owned()))
            }
        });
        let serving = http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(io), service);
        serving.with_upgrades().await.unwrap();
    };
    let local = LocalSet::new();
    local.spawn_local(serve);
    local.run_until(client(far)).await
}

fn says(interim: &Interim, message: &[u8]) {
    if let Some(relay) = interim.relay() {
        assert!(Listener::default().hear(message, &relay));
    }
}

async fn expect(client: &mut DuplexStream, text: &[u8]) {
    let mut read = vec![0; text.len()];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(text));
}

fn post(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
}

async fn whole(body: Incoming) -> usize {
    http_body_util::BodyExt::collect(body).await.unwrap().to_bytes().len()
}

/// Fails if messages are held back until the final answer, or if hyper's own 100 comes on top of them.
#[tokio::test]
async fn the_endpoints_words_come_while_it_still_thinks_and_hypers_never() {
    let endpoint: Endpoint = |request, interim| {
        Box::pin(async move {
            says(&interim, HINTS);
            says(&interim, CONTINUE);
            assert_eq!(whole(request.into_body()).await, 5);
            says(&interim, HINTS);
            "ok"
        })
    };
    conversation(1024, endpoint, async |mut client| {
        for _ in 0..2 {
            client.write_all(post(5).as_bytes()).await.unwrap();
            expect(&mut client, &[HINTS, CONTINUE].concat()).await;
            client.write_all(b"hello").await.unwrap();
            expect(&mut client, &[HINTS, OK.as_bytes()].concat()).await;
        }
    })
    .await;
}

/// Fails if hyper's own 100 is passed on when it comes glued before the final answer, or if what follows it is lost.
#[tokio::test]
async fn an_endpoint_that_says_nothing_says_no_100() {
    let endpoint: Endpoint = |request, _| {
        Box::pin(async move {
            let mut body = request.into_body();
            // Asks for the body and answers at once: hyper writes both together.
            let polled =
                poll_fn(|cx| Poll::Ready(http_body::Body::poll_frame(Pin::new(&mut body), cx).is_pending())).await;
            assert!(polled);
            tokio::time::sleep(Duration::from_millis(1)).await;
            "ok"
        })
    };
    conversation(1024, endpoint, async |mut client| {
        client.write_all(post(5).as_bytes()).await.unwrap();
        expect(&mut client, OK.as_bytes()).await;
    })
    .await;
}

/// Fails if a body that looks like hyper's 100 is taken for it, or an interim message comes into the middle of an answer: the client reads one
/// byte at a time, so that answers wait in hyper's buffer while the next request is under way.
#[tokio::test]
async fn pipelined_requests_behind_a_slow_reader_keep_every_message_whole() {
    const BODY: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let endpoint: Endpoint = |request, interim| {
        Box::pin(async move {
            says(&interim, HINTS);
            assert_eq!(whole(request.into_body()).await, 5);
            BODY
        })
    };
    conversation(1, endpoint, async |client| {
        let (mut read, mut write) = tokio::io::split(client);
        let sending = tokio::spawn(async move {
            write.write_all([post(5), "hello".into()].concat().repeat(5).as_bytes()).await.unwrap();
            write
        });
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
        let expected = [HINTS, answer.as_bytes()].concat().repeat(5);
        let mut seen = vec![0; expected.len()];
        read.read_exact(&mut seen).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&seen), String::from_utf8_lossy(&expected));
        drop(sending.await);
    })
    .await;
}

/// Fails without the look at the version (RFC 9110, 15.2: a server must not send 1xx to a 1.0 client).
#[tokio::test]
async fn a_client_of_1_0_gets_none() {
    let endpoint: Endpoint = |request, interim| {
        Box::pin(async move {
            says(&interim, HINTS);
            assert_eq!(whole(request.into_body()).await, 5);
            "ok"
        })
    };
    conversation(1024, endpoint, async |mut client| {
        client.write_all(post(5).replace("1.1", "1.0").as_bytes()).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        expect(&mut client, b"HTTP/1.0 200 OK\r\n").await;
    })
    .await;
}
