//! Where a body in chunks ends (RFC 9112, 7.1). Comes in: its bytes, as they happen to be read. Goes out: how many of them are data, and whether the
//! last chunk and its trailers have come. Never: the data itself.

use super::limits::MAX_HEADER_BYTES;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a chunk's size; `None` = there must be one.
    Size(Option<u64>),
    /// Behind the size, up to the end of its line.
    Extension(u64),
    /// So many bytes of data are left of a chunk.
    Data(u64),
    /// The data's own end of line: what is left of it.
    DataEnd { cr: bool },
    /// Behind the last chunk: so many characters of a trailer's line have come (the end of a line does not count).
    Trailer(u64),
}

/// Reads along.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes that are no data, since the last data.
    other: usize,
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
        Self { state: State::Size(None), other: 0 }
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
    fn step(&self, byte: u8) -> Option<Option<State>> {
        Some(Some(match (self.state, byte) {
            (State::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16)?;
                State::Size(Some(size.unwrap_or(0).checked_mul(16)?.checked_add(u64::from(digit))?))
            }
            (State::Size(Some(0)) | State::Extension(0), b'\n') => State::Trailer(0),
            (State::Size(Some(size)) | State::Extension(size), b'\n') => State::Data(size),
            (State::Size(Some(size)), b'\r' | b';' | b' ' | b'\t') | (State::Extension(size), _) => {
                State::Extension(size)
            }
            (State::DataEnd { cr: true }, b'\r') => State::DataEnd { cr: false },
            (State::DataEnd { .. }, b'\n') => State::Size(None),
            (State::Trailer(0), b'\n') => return Some(None),
            (State::Trailer(_), b'\n') => State::Trailer(0),
            (State::Trailer(length), b'\r') => State::Trailer(length),
            (State::Trailer(length), _) => State::Trailer(length + 1),
            (State::Size(_) | State::DataEnd { .. } | State::Data(_), _) => return None,
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
            (b"5 \r\n0\r\n\r\n\r\n0 ;x\r\n\r\n", 5),
        ] {
            let behind = [body, b"HTTP/1.1 200"].concat();
            for cut in 0..=body.len() {
                assert_eq!(found(&behind, cut), Found::End(data, body.len()), "{body:?} cut at {cut}");
                let before = &body[..cut.min(body.len() - 1)];
                assert!(matches!(Chunked::new().feed(before), Found::Data(_)), "{before:?} has no end");
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_nonsense() {
        for body in
            [&b"\r\n"[..], b"x\r\n", b"-1\r\n", b"3\r\nabcd", b"fffffffffffffffff\r\n", b";\r\n", b"5\r\nhello0\r\n"]
        {
            for cut in 0..body.len() {
                assert_eq!(found(body, cut), Found::Nonsense, "{body:?}");
            }
        }
        let endless = [&b"1;"[..], &[b'x'; MAX_HEADER_BYTES]].concat();
        assert_eq!(Chunked::new().feed(&endless), Found::Nonsense);
    }
}
