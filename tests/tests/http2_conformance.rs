//! HTTP/2 that RFC 9113 forbids, frame by frame: what the client is told, and that v1 never sees it.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use integration::{
    Theatre, Wire, case, harness,
    http2::Server,
    theatre::{NEEDS, PORT, ROUTE, Setting, VIP},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(what_breaks_the_protocol_ends_the_connection).needs(NEEDS),
        case!(what_breaks_a_request_ends_its_stream).needs(NEEDS),
        case!(a_body_that_breaks_its_word_is_no_whole_request).needs(NEEDS),
        case!(a_head_that_never_ends_is_cut_off).needs(NEEDS),
    ])
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Kinds of frames, and their flags (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WHOLE: u8 = END_HEADERS | END_STREAM;

// Codes (RFC 9113, 7).
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as it stands, neither indexed nor packed (RFC 7541, 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    assert!(name.len() < 127 && value.len() < 127, "the length would need a second byte");
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

type Field<'a> = (&'a str, &'a str);

const METHOD: Field<'_> = (":method", "POST");
const SCHEME: Field<'_> = (":scheme", "http");
const PATH: Field<'_> = (":path", "/get");
const AUTHORITY: Field<'_> = (":authority", "httpbin:8000");
const GET: &[Field<'_>] = &[(":method", "GET"), SCHEME, PATH, AUTHORITY];
const POST: &[Field<'_>] = &[METHOD, SCHEME, PATH, AUTHORITY];

fn block(fields: &[Field<'_>]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

fn head(stream: u32, flags: u8, fields: &[Field<'_>]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(fields))
}

/// An ordinary request with these fields behind its own.
fn with(more: &[Field<'_>]) -> Vec<u8> {
    head(1, WHOLE, &[GET, more].concat())
}

/// A connection of HTTP/2.
struct Frames(Wire);

impl Frames {
    fn connect(theatre: &Theatre) -> Result<Self> {
        let mut wire = Wire::connect(&theatre.client, VIP)?;
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())?;
        Ok(Self(wire))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.send(bytes)
    }

    /// The next frame of a kind: its stream and payload.
    fn next(&mut self, wanted: u8) -> Result<(u32, Vec<u8>)> {
        loop {
            let beginning = self.0.take(9).context("no such frame has come")?;
            let [a, b, c, kind, _, rest @ ..] = &*beginning else { bail!("half a frame") };
            let payload = self.0.take(u32::from_be_bytes([0, *a, *b, *c]) as usize)?;
            let stream = u32::from_be_bytes(rest.try_into()?);
            if *kind == wanted {
                return Ok((stream, payload));
            }
            ensure!(*kind != GOAWAY, "told to go away: {payload:?}");
        }
    }

    /// The connection is given up with this code, or with the general one, which the h2 crate prefers to most others.
    fn given_up(&mut self, code: u32) -> Result<()> {
        let (_, payload) = self.next(GOAWAY)?;
        let told = payload.get(4..8).unwrap_or_default();
        ensure!(
            [code, PROTOCOL_ERROR].iter().any(|code| told == code.to_be_bytes()),
            "GOAWAY {told:?} instead of {code}"
        );
        Ok(())
    }

    /// The stream is given up with this code, and the connection lives.
    fn stream_given_up(&mut self, stream: u32, code: u32) -> Result<()> {
        let (which, payload) = self.next(RST_STREAM)?;
        ensure!((which, &*payload) == (stream, &code.to_be_bytes()), "RST_STREAM {payload:?} on {which}, not {code}");
        self.ask(stream + 2)
    }

    /// An ordinary request is answered.
    fn ask(&mut self, stream: u32) -> Result<()> {
        self.send(&head(stream, WHOLE, GET))?;
        let (which, _) = self.next(HEADERS)?;
        ensure!(which == stream, "an answer on {which} instead of {stream}");
        let (_, body) = self.next(DATA)?;
        ensure!(body == b"one", "{body:?}");
        Ok(())
    }
}

fn stage() -> Result<(Theatre, Server)> {
    let theatre = Setting::new(ROUTE).v1_port_free().start()?;
    let v1 = Server::answering(theatre.v1.pod.netns(), theatre.v1.address(PORT), "one")?;
    Ok((theatre, v1))
}

fn setting(number: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&number.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// Fails if frames are passed on instead of read, or if an error of the connection is answered with nothing but its end.
fn what_breaks_the_protocol_ends_the_connection() -> Result<()> {
    let (theatre, v1) = stage()?;
    let unfinished = head(1, END_STREAM, GET);
    let whole = head(3, WHOLE, GET);
    let cases = [
        ("DATA on no stream", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("DATA before its head", frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
        ("more padding than payload", frame(DATA, PADDED, 1, b"\x05x"), PROTOCOL_ERROR),
        ("HEADERS on no stream", head(0, WHOLE, GET), PROTOCOL_ERROR),
        ("HEADERS on a server's stream", head(2, WHOLE, GET), PROTOCOL_ERROR),
        ("a frame above the limit", frame(HEADERS, WHOLE, 1, &[0; 16_385]), FRAME_SIZE_ERROR),
        ("an index that nothing has", frame(HEADERS, WHOLE, 1, &[0xff, 0x80, 0x01]), COMPRESSION_ERROR),
        ("a string beyond its block", frame(HEADERS, WHOLE, 1, &[0, 0x7e, b'x']), COMPRESSION_ERROR),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &block(GET)), PROTOCOL_ERROR),
        ("another frame within a head", [&*unfinished, &frame(PING, 0, 0, &[0; 8])].concat(), PROTOCOL_ERROR),
        ("another head within a head", [&*unfinished, &whole].concat(), PROTOCOL_ERROR),
        ("PUSH_PROMISE of a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), PROTOCOL_ERROR),
        ("RST_STREAM before the stream", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), PROTOCOL_ERROR),
        ("RST_STREAM of five bytes", frame(RST_STREAM, 0, 1, &[0; 5]), FRAME_SIZE_ERROR),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL_ERROR),
        ("SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE_ERROR),
        ("SETTINGS that say yes and more", frame(SETTINGS, ACK, 0, &[0; 6]), FRAME_SIZE_ERROR),
        ("ENABLE_PUSH of 2", setting(2, 2), PROTOCOL_ERROR),
        ("an INITIAL_WINDOW_SIZE of 2^31", setting(4, 1 << 31), FLOW_CONTROL_ERROR),
        ("a MAX_FRAME_SIZE of 16,383", setting(5, 16_383), PROTOCOL_ERROR),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("PING of seven bytes", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("WINDOW_UPDATE by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("WINDOW_UPDATE before the stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), PROTOCOL_ERROR),
        ("a window above 2^31 - 1", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), FLOW_CONTROL_ERROR),
        ("PRIORITY on no stream", frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 0]), PROTOCOL_ERROR),
        // Only their streams are wrong, but a block that does not become fields is an error of the connection for the h2 crate.
        ("an uppercase name", with(&[("X-A", "1")]), PROTOCOL_ERROR),
        ("a field that begins with a colon", with(&[(":other", "1")]), PROTOCOL_ERROR),
        ("a line end in a value", with(&[("x-a", "1\r\nx-b: 2")]), PROTOCOL_ERROR),
        ("a NUL in a value", with(&[("x-a", "1\0")]), PROTOCOL_ERROR),
        ("a space in a name", with(&[("x a", "1")]), PROTOCOL_ERROR),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, code) in &cases {
        let mut client = Frames::connect(&theatre)?;
        let told = client.send(bytes).and_then(|()| client.given_up(*code));
        wrong.extend(told.err().map(|error| format!("{name}: {error:#}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(v1.heads() == 0, "v1 saw {} of them", v1.heads());
    // An older stream cannot come after a younger one; the younger one was right.
    let mut client = Frames::connect(&theatre)?;
    client.ask(3)?;
    client.send(&head(1, WHOLE, GET))?;
    client.given_up(PROTOCOL_ERROR)?;
    ensure!(v1.heads() == 1, "v1 saw {}", v1.heads());
    Ok(())
}

/// Fails if a head that is none becomes a request, or if one bad request ends the others' connection.
fn what_breaks_a_request_ends_its_stream() -> Result<()> {
    let (theatre, v1) = stage()?;
    let cases = [
        ("Connection", with(&[("connection", "x-a")])),
        ("Keep-Alive", with(&[("keep-alive", "5")])),
        ("Proxy-Connection", with(&[("proxy-connection", "close")])),
        ("Transfer-Encoding", with(&[("transfer-encoding", "chunked")])),
        ("Upgrade", with(&[("upgrade", "websocket")])),
        ("TE but trailers", with(&[("te", "gzip")])),
        ("a field of answers", with(&[(":status", "200")])),
        ("two methods", with(&[METHOD])),
        ("two paths", with(&[PATH])),
        ("a pseudo-field behind others", head(1, WHOLE, &[METHOD, SCHEME, ("x-a", "1"), PATH, AUTHORITY])),
        ("no method", head(1, WHOLE, &[SCHEME, PATH, AUTHORITY])),
        ("no scheme", head(1, WHOLE, &[METHOD, PATH, AUTHORITY])),
        ("no path", head(1, WHOLE, &[METHOD, SCHEME, AUTHORITY])),
        ("an empty path", head(1, WHOLE, &[METHOD, SCHEME, (":path", ""), AUTHORITY])),
    ];
    all_given_up(&theatre, &cases)?;
    ensure!(v1.heads() == cases.len(), "v1 saw {} and not {}", v1.heads(), cases.len());
    // Only the stream's own window is too large.
    let mut client = Frames::connect(&theatre)?;
    client.send(&head(1, END_HEADERS, POST))?;
    client.send(&frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]))?;
    client.stream_given_up(1, FLOW_CONTROL_ERROR)
}

/// Sends each case on a connection of its own: its stream, the first, must be given up.
fn all_given_up(theatre: &Theatre, cases: &[(&str, Vec<u8>)]) -> Result<()> {
    let mut wrong = Vec::new();
    for (name, bytes) in cases {
        let mut client = Frames::connect(theatre)?;
        let told = client.send(bytes).and_then(|()| client.stream_given_up(1, PROTOCOL_ERROR));
        wrong.extend(told.err().map(|error| format!("{name}: {error:#}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Fails if a body that is longer or shorter than its Content-Length, or a head in its middle, reach v1 as the end of a request.
fn a_body_that_breaks_its_word_is_no_whole_request() -> Result<()> {
    let (theatre, v1) = stage()?;
    let begun = |length| head(1, END_HEADERS, &[POST, &[("content-length", length)]].concat());
    let cases = [
        ("too short", [begun("5"), frame(DATA, END_STREAM, 1, b"1234")].concat()),
        ("too long", [begun("3"), frame(DATA, END_STREAM, 1, b"1234")].concat()),
        ("nothing at all", head(1, WHOLE, &[POST, &[("content-length", "5")]].concat())),
        ("a second head", [begun("1"), frame(DATA, 0, 1, b"1"), head(1, END_HEADERS, &[("x-a", "1")])].concat()),
    ];
    all_given_up(&theatre, &cases)?;
    // The good ones only: what v1 has of the others is none it could answer.
    let whole: Vec<_> = v1.seen().into_iter().filter(|seen| seen.whole).collect();
    ensure!(whole.len() == cases.len() && whole.iter().all(|seen| seen.head.method == "GET"), "{whole:?}");
    // The h2 crate takes a pseudo-field out of trailers instead of refusing them; it does not travel on.
    let mut client = Frames::connect(&theatre)?;
    client.send(&[begun("1"), frame(DATA, 0, 1, b"1"), head(1, WHOLE, &[PATH, ("x-a", "1")])].concat())?;
    client.next(DATA)?;
    let seen = v1.seen().pop().context("v1 saw nothing")?;
    let names: Vec<_> = seen.message.trailers.iter().flat_map(http::HeaderMap::keys).collect();
    ensure!(seen.whole && names == ["x-a"], "{seen:?}");
    // What follows the end of a request is not its. A connection that has not forgotten the stream ends.
    let mut client = Frames::connect(&theatre)?;
    client.send(&[head(1, WHOLE, GET), frame(DATA, END_STREAM, 1, b"more")].concat())?;
    match client.next(RST_STREAM) {
        Ok((_, code)) => ensure!(code == STREAM_CLOSED.to_be_bytes(), "RST_STREAM {code:?}"),
        Err(error) => ensure!(error.to_string().starts_with("told to go away"), "{error:#}"),
    }
    let bodies: Vec<_> = v1.seen().into_iter().map(|seen| seen.message.body).collect();
    ensure!(!bodies.iter().any(|body| body.ends_with(b"more")), "{bodies:?}");
    Ok(())
}

/// Fails if the fields of a head may go on for ever, in frames with something in them or in empty ones.
fn a_head_that_never_ends_is_cut_off() -> Result<()> {
    let (theatre, v1) = stage()?;
    let more = block(&[("x-filler", &*"x".repeat(100)); 100]);
    for part in [&*more, b""] {
        let mut client = Frames::connect(&theatre)?;
        client.send(&head(1, END_STREAM, GET))?;
        // It may be cut off before everything is sent.
        for _ in 0..200 {
            if client.send(&frame(CONTINUATION, 0, 1, part)).is_err() {
                break;
            }
        }
        client.given_up(ENHANCE_YOUR_CALM)?;
    }
    ensure!(v1.heads() == 0, "v1 saw {} of them", v1.heads());
    Frames::connect(&theatre)?.ask(1)
}
