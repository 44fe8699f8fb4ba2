//! Messages that the data path reads or writes beside the codec: 1xx of endpoints, and trailers behind the last chunk.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use understudy::{
    codec::trailers::{Trailers, WithTrailers},
    upstream::interim::{Interims, Listener},
};

/// A connection that takes so many bytes at a time, and every other time none.
struct Slow {
    taken: Vec<u8>,
    step: usize,
    pauses: bool,
}

impl Slow {
    fn new(step: usize) -> Self {
        Self { taken: Vec::new(), step, pauses: false }
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.pauses = !self.pauses;
        if self.pauses {
            return Poll::Pending;
        }
        let count = buf.len().min(self.step);
        self.taken.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls until it is ready.
fn finish<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

/// `cuts` are the pieces' lengths, over and over; none = one piece.
fn cut<'a>(bytes: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest, mut lengths) = (Vec::new(), bytes, cuts.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(lengths.next().map_or(rest.len(), |c| usize::from(*c) + 1).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// What is passed on of an endpoint's bytes that come in these pieces, and whether the final answer is still to come.
fn heard(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let (mut listener, interims) = (Listener::default(), Interims::default());
    let awaits = pieces.iter().all(|piece| listener.hear(piece, &interims));
    let mut io = Slow::new(usize::MAX);
    finish(poll_fn(|cx| interims.poll_write(cx, &mut io))).unwrap_or_else(|error| panic!("{error}"));
    assert!(interims.is_empty());
    (io.taken, awaits)
}

/// Checks what an endpoint says before its answer.
pub(crate) fn interims(bytes: &[u8], cuts: &[u8]) {
    let whole = heard(&[bytes]);
    assert_eq!(heard(&cut(bytes, cuts)), whole, "cut as {cuts:?}");
    assert_eq!(heard(&cut(bytes, &[0])), whole, "byte by byte");
    let (passed, _) = whole;
    assert_eq!(heard(&[&passed]), (passed.clone(), true), "a second intermediary reads something else");
    let mut rest = &passed[..];
    while !rest.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = head.parse(rest) else { panic!("{rest:?} is no message") };
        assert!(matches!(head.code, Some(100 | 102..=199)), "{:?} is passed on", head.code);
        for field in head.headers {
            let name = field.name.to_ascii_lowercase();
            let framing = ["connection", "keep-alive", "upgrade", "transfer-encoding", "content-length"];
            assert!(!framing.contains(&name.as_str()), "{name} is passed on");
        }
        let lines = rest[..length].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        assert!(lines.into_iter().all(|line| line.ends_with(b"\r")), "a line ends in a bare LF");
        rest = &rest[length..];
    }
}

/// Checks a body of these chunks, written in pieces to a connection that takes `step` bytes at a time, with these trailers.
pub(crate) fn last_chunk(chunks: &[Vec<u8>], fields: &[(Vec<u8>, Vec<u8>)], cuts: &[u8], step: usize) {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    let trailers = Rc::new(Trailers::default());
    trailers.put(&map);
    let encoded = chunks.iter().map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    let body = encoded.collect::<Vec<_>>().concat();
    let mut buffers = cut(&body, cuts);
    buffers.push(b"0\r\n\r\n");
    let mut io = Slow::new(step);
    let mut connection = WithTrailers::new(&mut io, Rc::clone(&trailers));
    let writing = async {
        for buffer in buffers {
            connection.write_all(buffer).await?;
        }
        connection.flush().await
    };
    finish(writing).unwrap_or_else(|error| panic!("{error}"));
    assert!(!trailers.are_waiting(), "trailers are left for the next message");
    let behind = io.taken.strip_prefix(&*body).unwrap_or_else(|| panic!("the body was changed: {:?}", io.taken));
    let behind = behind.strip_prefix(b"0\r\n").unwrap_or_else(|| panic!("no last chunk: {behind:?}"));
    let mut found = [httparse::EMPTY_HEADER; 32];
    let Ok(httparse::Status::Complete((length, found))) = httparse::parse_headers(behind, &mut found) else {
        panic!("no trailers: {behind:?}")
    };
    assert_eq!(length, behind.len(), "something follows the message");
    let framing = ["content-length", "transfer-encoding", "host", "trailer"];
    let wanted = map.iter().filter(|(name, _)| !framing.contains(&name.as_str()));
    let wanted: Vec<_> = wanted.map(|(name, value)| (name.as_str(), value.as_bytes().trim_ascii())).collect();
    let found: Vec<_> = found.iter().map(|field| (field.name, field.value.trim_ascii())).collect();
    assert_eq!(found, wanted);
}
