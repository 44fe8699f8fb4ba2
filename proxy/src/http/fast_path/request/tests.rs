use http::request::Parts;
use proptest::prelude::*;

use super::*;
use crate::http::{headers, reread};

fn plain(text: &str) -> (Plain, BytesMut) {
    let mut unread = BytesMut::from(text);
    let plain = read(&mut unread, 0).unwrap().unwrap();
    (plain, unread)
}

fn written(text: &str) -> String {
    String::from_utf8(plain(text).0.written).unwrap()
}

/// Fails if a field changes its place, its letter case or its value, or if one of the connection's goes on.
#[test]
fn what_is_written_is_what_came_without_what_is_hop_by_hop() {
    let came = "GET /a?b=%20c HTTP/1.1\r\nHOST: Example:80\r\nX-one: 1\r\nConnection: Keep-Alive\r\nx-ONE:  two \r\nkeep-alive: 5\r\n\
         Proxy-Connection: x\r\nCookie:\r\nuser-agent: \u{e4}\r\n\r\n";
    let expected =
        "GET /a?b=%20c HTTP/1.1\r\nHOST: Example:80\r\nX-one: 1\r\nx-ONE: two\r\nCookie:\r\nuser-agent: \u{e4}\r\n\r\n";
    assert_eq!(written(came), expected);
    let (plain, _) = plain(came);
    assert_eq!((plain.head.uri.to_string().as_str(), plain.head.headers.len(), plain.stays), ("/a?b=%20c", 8, true));
    assert_eq!(plain.head.headers.get_all("x-one").iter().collect::<Vec<_>>(), ["1", "two"]);
}

/// Fails if an empty line, a bare end of a line or a fragment goes on: the next reader could see another request in it.
#[test]
fn what_is_written_has_one_form() {
    assert_eq!(written("\r\n\r\nGET /p#f HTTP/1.1\nhost: a\n\n"), "GET /p HTTP/1.1\r\nhost: a\r\n\r\n");
}

#[test]
fn one_request_is_taken_and_the_next_is_left() {
    let (first, rest) = plain("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\n");
    assert_eq!((&first.body[..], &rest[..], first.is_head), (&b"hello"[..], &b"GET /2 HTTP/1.1\r\n"[..], false));
    let back = first.put_back(&rest);
    assert_eq!(&back[..], b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\n");
    let (last, rest) = plain("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!((last.stays, last.is_head, rest.len()), (false, true, 0));
}

/// Fails if a request is taken apart here that needs more than to be passed on, or if it loses a byte on its way to hyper.
#[test]
fn what_is_not_plain_stays_as_it_came() {
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(MOST_BYTES));
    let unfinished = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(MOST_BYTES));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(MOST_FIELDS));
    for other in [
        "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, x-mine\r\nx-mine: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhell",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551615\r\n\r\nx",
        "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n folded\r\n\r\n",
        "GET /\u{7f} HTTP/1.1\r\nhost: a\r\n\r\n",
        "nonsense\r\n\r\n",
        &long,
        &unfinished,
        &many,
    ] {
        let mut unread = BytesMut::from(other);
        assert!(matches!(read(&mut unread, 0), Err(NotPlain)), "{other:.60}");
        assert_eq!(unread, other.as_bytes(), "nothing is lost");
    }
}

#[test]
fn half_a_head_is_waited_for() {
    let whole = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for cut in 0..whole.len() {
        let mut unread = BytesMut::from(&whole[..cut]);
        assert!(matches!(read(&mut unread, 0), Ok(None)), "cut at {cut}");
        assert_eq!(unread, whole.as_bytes()[..cut]);
        unread.extend_from_slice(&whole.as_bytes()[cut..]);
        assert!(matches!(read(&mut unread, cut), Ok(Some(_))), "cut at {cut}, the end is seen");
    }
    let nonsense = BytesMut::from("a\u{1}b");
    assert!(matches!(read(&mut nonsense.clone(), 0), Err(NotPlain)));
    assert!(matches!(read(&mut nonsense.clone(), 2), Ok(None)), "what can be no end is not read again");
}

/// A field that a client may send, or nearly one.
fn field() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("host"),
        Just("Content-Length"),
        Just("transfer-encoding"),
        Just("Connection"),
        Just("keep-alive"),
        Just("TE"),
        Just("X-A"),
        Just("x-a"),
        Just("x b"),
        Just(""),
    ];
    let colon = prop_oneof![8 => Just(": "), 1 => Just(":"), 1 => Just(" :"), 1 => Just(":\t ")];
    let value = prop_oneof![
        Just("a"),
        Just("3"),
        Just("0"),
        Just("3, 3"),
        Just("chunked"),
        Just("close"),
        Just("Keep-Alive, close"),
        Just("x-a"),
        Just("trailers"),
        Just(""),
        Just("caf\u{e9} \u{1}"),
        Just("b \t"),
    ];
    let end = prop_oneof![12 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r\n "), 1 => Just("\r")];
    (name, colon, value, end).prop_map(|(name, colon, value, end)| [name, colon, value, end].concat())
}

fn request() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        6 => Just("GET /p?q HTTP/1.1\r\n"),
        3 => Just("POST /p HTTP/1.1\r\n"),
        1 => Just("\r\nHEAD /\u{e4} HTTP/1.1\n"),
        1 => Just("GET  / HTTP/1.1\r\n"),
        1 => Just("GET /a b HTTP/1.1\r\n"),
        1 => Just("GET /<> HTTP/1.1\r\n"),
        1 => Just("GET / HTTP/1.0\r\n"),
        1 => Just("GET http://a/ HTTP/1.1\r\n"),
    ];
    (line, proptest::bool::weighted(0.9), prop::collection::vec(field(), 0..5)).prop_map(|(line, host, fields)| {
        [line, if host { "Host: a\r\n" } else { "" }, &fields.concat(), "\r\nabc"].concat()
    })
}

fn shown(head: &Parts) -> String {
    format!("{} {} {:?} {:?}", head.method, head.uri, head.version, head.headers)
}

proptest! {
    /// Fails if a request is plain that hyper reads in another way, or not at all; if what is written is not what hyper would write of it; or if a byte is lost.
    #[test]
    fn what_is_plain_is_what_hyper_reads(text in request()) {
        let mut unread = BytesMut::from(&*text);
        match read(&mut unread, 0) {
            Ok(Some(plain)) => {
                prop_assert_eq!(&plain.put_back(&unread)[..], text.as_bytes());
                let by_hyper = reread::head(text.as_bytes());
                prop_assert!(by_hyper.is_some(), "hyper reads nothing");
                let by_hyper = by_hyper.unwrap();
                prop_assert_eq!(shown(&plain.head), shown(&by_hyper));
                let sent = reread::head(&plain.written).unwrap();
                let mut expected = by_hyper;
                expected.headers = headers::end_to_end(expected.headers);
                prop_assert_eq!(shown(&sent), shown(&expected));
            }
            Ok(None) | Err(NotPlain) => prop_assert_eq!(&unread[..], text.as_bytes()),
        }
    }
}
