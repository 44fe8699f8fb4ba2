//! Where a body in chunks ends (RFC 9112, 7.1). Comes in: its bytes, as they happen to be read. Goes out: how many of them are data, and whether the
//! last chunk and its trailers have come. Never: the data itself; an end that another reader could see elsewhere: a line ends with CR and LF, and
//! nothing else with either of them.

use super::{limits::MAX_HEADER_BYTES, trailers::FRAMING};

/// `transfer-encoding`, the longest of [`FRAMING`].
const LONGEST_FRAMING: usize = 17;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a chunk's size; `None` = there must be one.
    Size(Option<u64>),
    /// In the blanks behind the size.
    Blank(u64),
    /// In what may follow the size on its line.
    Extension(u64),
    /// Behind the CR of that line.
    SizeEnd(u64),
    /// So many bytes of data are left of a chunk.
    Data(u64),
    /// The data's own end of line: what is left of it.
    DataEnd { cr: bool },
    /// Behind the last chunk: so many characters of a trailer's line have come.
    Trailer(usize),
    /// Behind the CR of a line of so many.
    TrailerEnd(usize),
}

/// Reads along.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes that are no data, since the last data.
    other: usize,
    /// How the trailer's line begins, in small letters.
    name: [u8; LONGEST_FRAMING],
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// So much data; more is to come.
    Data(u64),
    /// So much data, and its end after so many bytes of what was read.
    End(u64, usize),
    /// That is no body in chunks.
    Nonsense,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self { state: State::Size(None), other: 0, name: [0; LONGEST_FRAMING] }
    }

    /// Reads on.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Found {
        let (mut at, mut data) = (0, 0);
        while let Some(byte) = bytes.get(at) {
            if let State::Data(left) = &mut self.state {
                let here = (*left).min((bytes.len() - at) as u64);
                *left -= here;
                data += here;
                at += here as usize;
                self.other = 0;
                if *left == 0 {
                    self.state = State::DataEnd { cr: true };
                }
                continue;
            }
            at += 1;
            self.other += 1;
            let Some(next) = self.step(*byte).filter(|_| self.other <= MAX_HEADER_BYTES) else {
                return Found::Nonsense;
            };
            match next {
                Some(state) => self.state = state,
                None => return Found::End(data, at),
            }
        }
        Found::Data(data)
    }

    /// One byte that is no data. `None` = it cannot stand here; `Some(None)` = it is the last.
    fn step(&mut self, byte: u8) -> Option<Option<State>> {
        Some(Some(match (self.state, byte) {
            (State::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16)?;
                State::Size(Some(size.unwrap_or(0).checked_mul(16)?.checked_add(u64::from(digit))?))
            }
            (State::Size(Some(size)) | State::Blank(size) | State::Extension(size), b'\r') => State::SizeEnd(size),
            (State::Size(Some(size)) | State::Blank(size), b' ' | b'\t') => State::Blank(size),
            (State::Size(Some(size)) | State::Blank(size), b';') => State::Extension(size),
            (State::Extension(size), _) if byte != b'\n' => State::Extension(size),
            (State::SizeEnd(0), b'\n') => State::Trailer(0),
            (State::SizeEnd(size), b'\n') => State::Data(size),
            (State::DataEnd { cr: true }, b'\r') => State::DataEnd { cr: false },
            (State::DataEnd { cr: false }, b'\n') => State::Size(None),
            (State::Trailer(length), b'\r') => State::TrailerEnd(length),
            (State::Trailer(length), _) if byte != b'\n' => {
                let is_framing = |name: &[u8]| FRAMING.iter().any(|framing| framing.as_str().as_bytes() == name);
                if byte == b':' && self.name.get(..length).is_some_and(is_framing) {
                    return None;
                }
                if let Some(place) = self.name.get_mut(length) {
                    *place = byte.to_ascii_lowercase();
                }
                State::Trailer(length + 1)
            }
            (State::TrailerEnd(0), b'\n') => return Some(None),
            (State::TrailerEnd(_), b'\n') => State::Trailer(0),
            _ => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found if the bytes come in two pieces; the place of the end is from the beginning.
    fn found(body: &[u8], cut: usize) -> Found {
        let mut reader = Chunked::new();
        let first = match reader.feed(&body[..cut]) {
            Found::Data(data) => data,
            other => return other,
        };
        match reader.feed(&body[cut..]) {
            Found::Data(data) => Found::Data(first + data),
            Found::End(data, at) => Found::End(first + data, cut + at),
            Found::Nonsense => Found::Nonsense,
        }
    }

    /// Fails if the end is seen too early, too late, or not, wherever a read happens to end.
    #[test]
    fn the_end_is_where_it_is_however_the_bytes_are_cut() {
        for (body, data) in [
            (&b"0\r\n\r\n"[..], 0),
            (b"5\r\nhello\r\n0\r\n\r\n", 5),
            (b"A;name=\"x\"\r\n0123456789\r\n1\r\n\n\r\n00\r\nx-sum: 7\r\ny:\r\n\r\n", 11),
            (b"5 \r\n0\r\n\r\n\r\n0\t ;x\r\nhosts: a\r\nthe-transfer-encoding: b\r\ntransfer-encodings: c\r\n\r\n", 5),
        ] {
            let behind = [body, b"HTTP/1.1 200"].concat();
            for cut in 0..=body.len() {
                assert_eq!(found(&behind, cut), Found::End(data, body.len()), "{body:?} cut at {cut}");
                let before = &body[..cut.min(body.len() - 1)];
                assert!(matches!(Chunked::new().feed(before), Found::Data(_)), "{before:?} has no end");
            }
        }
    }

    /// Fails if an end is seen where another reader may see none, or none where another sees one.
    #[test]
    fn what_is_no_chunk_is_nonsense() {
        for body in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"3\r\nabcd",
            b"fffffffffffffffff\r\n",
            b";\r\n",
            b"5\r\nhello0\r\n",
            b"2;\nxx\r\n",
            b"2\n",
            b"2;a\rb\r\n",
            b"2 2\r\n",
            b"1\r\nx\n",
            b"0\r\n\n",
            b"0\r\nx: y\n",
            b"0\r\nx\ry\r\n",
            b"0\r\nx: y\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"0\r\nHost:a\r\n\r\n",
        ] {
            for cut in 0..body.len() {
                assert_eq!(found(body, cut), Found::Nonsense, "{body:?}");
            }
        }
        let endless = [&b"1;"[..], &[b'x'; MAX_HEADER_BYTES]].concat();
        assert_eq!(Chunked::new().feed(&endless), Found::Nonsense);
    }
}
