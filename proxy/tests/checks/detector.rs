//! The detector: the same bytes get the same verdict however they are cut, and come out of it unchanged.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, ReadBuf};
use understudy::{
    detect::{Verdict, detect, has_unknown_version, sni},
    route::PortProtocol,
};

/// A connection whose bytes come in these pieces, and then its end.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    /// `cuts` are the pieces' lengths, over and over; none = one piece.
    fn new(bytes: &[u8], cuts: &[u8]) -> Self {
        let mut pieces = VecDeque::new();
        let mut rest = bytes;
        let mut lengths = cuts.iter().cycle();
        while !rest.is_empty() {
            let length = lengths.next().map_or(rest.len(), |cut| usize::from(*cut) + 1).min(rest.len());
            pieces.push_back(rest[..length].to_vec());
            rest = &rest[length..];
        }
        Self(pieces)
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.front_mut() {
            let count = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..count]);
            piece.drain(..count);
            if piece.is_empty() {
                self.0.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The verdict, without what depends on the first read: TLS passes through as any other bytes do.
fn verdict(bytes: &[u8], cuts: &[u8], declared: PortProtocol) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap_or_else(|error| panic!("no runtime: {error}"));
    let mut io = Pieces::new(bytes, cuts);
    let read = runtime.block_on(detect(&mut io, declared, Duration::from_secs(3600)));
    let (verdict, mut read) = read.unwrap_or_else(|error| panic!("bytes in memory cannot break: {error}"));
    for piece in io.0 {
        read.extend_from_slice(&piece);
    }
    assert_eq!(read, bytes, "bytes were lost, doubled or changed");
    if verdict == Verdict::Tls { Verdict::Opaque } else { verdict }
}

/// Checks one input.
pub(crate) fn check(bytes: &[u8], cuts: &[u8]) {
    for declared in [PortProtocol::Undeclared, PortProtocol::Http, PortProtocol::Http2] {
        let whole = verdict(bytes, &[], declared);
        assert_eq!(verdict(bytes, cuts, declared), whole, "{declared:?}: cut as {cuts:?}");
        assert_eq!(verdict(bytes, &[0], declared), whole, "{declared:?}: byte by byte");
    }
    let _ = (has_unknown_version(bytes), sni::server_name(bytes));
}
