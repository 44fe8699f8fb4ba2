//! An endpoint's answer, as its bytes are read.
//!
//! Comes in: bytes. Goes out: what the client gets before those bytes (heads without what is hop-by-hop, the size of a chunk), which of them it gets as they
//! are, and where the answer ends. Never: a byte of a body that is copied; a head that can be read in two ways.

use std::{mem, mem::MaybeUninit, ops::Range};

use httparse::{Header, Status};

use crate::{
    codec::{
        answer_framing::{self, Framing, may_end},
        chunked::{Chunked, Found},
        fields::{self, Field, members},
        limits::{MAX_HEADER_BYTES, MAX_HEADERS},
    },
    fault::Kind,
};

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Reader {
    part: Part,
    /// What has come of a head that is not whole.
    held: Vec<u8>,
    is_touched: bool,
    is_head: bool,
    /// The endpoint leaves the connection open.
    stays: bool,
}

#[derive(Debug)]
enum Part {
    Head,
    Length(u64),
    Chunks(Chunked),
    /// To the end of the connection; the client gets chunks.
    Close,
}

/// What was in the bytes of a read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// The final head has come, with this status.
    pub status: Option<u16>,
    /// The bytes that the client gets as they are.
    pub body: Range<usize>,
    /// How many of them are data.
    pub data: u64,
    /// What the client gets behind them.
    pub tail: &'static [u8],
    /// The answer has ended.
    pub end: Option<End>,
}

/// An answer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The connection may carry another request.
    pub reusable: bool,
}

/// What is at the beginning of some bytes.
enum Heads {
    /// The final head, up to there.
    Final(u16, usize),
    /// A head that is not whole begins there.
    Partial(usize),
}

impl Reader {
    /// Of the answer to a request, of HEAD for instance.
    pub(super) fn new(is_head: bool) -> Self {
        Self { part: Part::Head, held: Vec::new(), is_touched: false, is_head, stays: false }
    }

    /// Reads on. `lead` takes what the client gets before the bytes; `closes` = the client is told that the connection ends.
    ///
    /// # Errors
    /// Why it is no answer that can be passed on. A part of it may have been, if its head was.
    pub(super) fn feed(&mut self, bytes: &[u8], lead: &mut Vec<u8>, closes: bool) -> Result<Piece, Kind> {
        if !matches!(self.part, Part::Head) {
            return self.body(bytes, 0, lead);
        }
        self.is_touched = true;
        let mut held = mem::take(&mut self.held);
        let before = held.len();
        let whole = if before == 0 {
            bytes
        } else {
            held.extend_from_slice(bytes);
            // A head that dribbles is not read from its beginning for each byte.
            if held.len() <= MAX_HEADER_BYTES && !may_end(&held, before) {
                self.held = held;
                return Ok(Piece::default());
            }
            &held
        };
        match self.heads(whole, lead, closes)? {
            // What was held before was not whole.
            Heads::Final(status, end) => Ok(Piece { status: Some(status), ..self.body(bytes, end - before, lead)? }),
            Heads::Partial(start) if whole.len() - start <= MAX_HEADER_BYTES => {
                self.held = whole[start..].to_vec();
                Ok(Piece::default())
            }
            Heads::Partial(_) => Err(Kind::Reset),
        }
    }

    /// The connection has ended. Returns what the client gets then, if that was the end of the answer.
    pub(super) fn close(&self) -> Option<&'static [u8]> {
        matches!(self.part, Part::Close).then_some(b"0\r\n\r\n")
    }

    /// Whether nothing has come yet.
    pub(super) fn is_untouched(&self) -> bool {
        !self.is_touched
    }

    fn heads(&mut self, bytes: &[u8], lead: &mut Vec<u8>, closes: bool) -> Result<Heads, Kind> {
        let mut start = 0;
        loop {
            let mut places = [const { MaybeUninit::uninit() }; MAX_HEADERS];
            let mut head = httparse::Response::new(&mut []);
            let parsed =
                answer_framing::lenient().parse_response_with_uninit_headers(&mut head, &bytes[start..], &mut places);
            match parsed {
                Ok(Status::Complete(length)) => start += length,
                Ok(Status::Partial) => return Ok(Heads::Partial(start)),
                Err(_) => return Err(Kind::Reset),
            }
            let status = head.code.filter(|code| *code >= 100).ok_or(Kind::Reset)?;
            // What is taken out makes room for what is added.
            lead.reserve(bytes.len().min(MAX_HEADER_BYTES) + 64);
            lead.extend_from_slice(b"HTTP/1.1 ");
            for divisor in [100, 10, 1] {
                lead.push(b'0' + (status / divisor % 10) as u8);
            }
            lead.push(b' ');
            lead.extend_from_slice(head.reason.unwrap_or_default().as_bytes());
            lead.extend_from_slice(b"\r\n");
            match status {
                // Nobody has asked for another protocol.
                101 => return Err(Kind::Reset),
                100..200 => {
                    let goes_on = |field| !matches!(field, Field::Length | Field::Coding);
                    pass_on(head.headers, true, lead, goes_on);
                    lead.extend_from_slice(b"\r\n");
                }
                _ => {
                    self.last(status, head.version == Some(1), head.headers, lead, closes)?;
                    return Ok(Heads::Final(status, start));
                }
            }
        }
    }

    /// The final head's fields.
    fn last(
        &mut self,
        status: u16,
        is_current: bool,
        fields: &[Header<'_>],
        lead: &mut Vec<u8>,
        closes: bool,
    ) -> Result<(), Kind> {
        let ending = answer_framing::of(status, is_current, self.is_head, fields).ok_or(Kind::Reset)?;
        if ending.is_nonsense {
            return Err(Kind::MalformedAnswer);
        }
        if ending.is_coded && !is_current && ending.framing == Framing::Close {
            return Err(Kind::Reset);
        }
        self.stays = ending.stays;
        // Said twice, it is said once; beside a coding, the coding counts.
        let mut says_length = ending.is_coded || status == 204;
        pass_on(fields, ending.names_fields, lead, |field| match field {
            Field::Length => !mem::replace(&mut says_length, true),
            Field::Coding => status != 204,
            _ => true,
        });
        if ending.framing == Framing::Close {
            lead.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if closes {
            lead.extend_from_slice(b"connection: close\r\n");
        }
        lead.extend_from_slice(b"\r\n");
        self.part = match ending.framing {
            Framing::Length(length) => Part::Length(length),
            Framing::Chunked => Part::Chunks(Chunked::new()),
            Framing::Close => Part::Close,
        };
        Ok(())
    }

    /// What is body of `bytes`, which begins at `start`.
    fn body(&mut self, bytes: &[u8], start: usize, lead: &mut Vec<u8>) -> Result<Piece, Kind> {
        let here = &bytes[start..];
        let (taken, data, ended, tail) = match &mut self.part {
            Part::Head => return Err(Kind::Reset),
            Part::Length(left) => {
                let data = (*left).min(here.len() as u64);
                *left -= data;
                (data as usize, data, *left == 0, &b""[..])
            }
            Part::Chunks(chunks) => match chunks.feed(here) {
                Found::Data(data) => (here.len(), data, false, &b""[..]),
                Found::End(data, at) => (at, data, true, &b""[..]),
                Found::Nonsense => return Err(Kind::Reset),
            },
            Part::Close if here.is_empty() => (0, 0, false, &b""[..]),
            Part::Close => {
                lead.extend_from_slice(format!("{:x}\r\n", here.len()).as_bytes());
                (here.len(), here.len() as u64, false, &b"\r\n"[..])
            }
        };
        // What follows the answer was not asked for.
        let end = ended.then_some(End { reusable: self.stays && taken == here.len() });
        Ok(Piece { status: None, body: start..start + taken, data, tail, end })
    }
}

/// Writes the fields that are end-to-end and that `goes_on` lets pass. `some_are_named` = the connection has fields of its own.
fn pass_on(fields: &[Header<'_>], some_are_named: bool, lead: &mut Vec<u8>, mut goes_on: impl FnMut(Field) -> bool) {
    let is_named = |name: &str| {
        let connections = fields.iter().filter(|field| Field::of(field.name.as_bytes()) == Field::Connection);
        let mut named = connections.flat_map(|field| members(field.value));
        some_are_named && named.any(|member| member.eq_ignore_ascii_case(name.as_bytes()))
    };
    for Header { name, value } in fields {
        let field = Field::of(name.as_bytes());
        let goes = match field {
            Field::Connection | Field::HopByHop | Field::Upgrade => false,
            Field::Te => members(value).any(|member| member.eq_ignore_ascii_case(b"trailers")),
            // Some fields are no connection's to take away.
            Field::Host | Field::Length | Field::Coding => goes_on(field),
            Field::Plain | Field::Expect => !is_named(name),
        };
        if goes {
            // The same length may stand there several times.
            let value = if field == Field::Length { members(value).next().unwrap_or_default() } else { value };
            fields::write_answers(lead, name.as_bytes(), value);
        }
    }
}

#[cfg(test)]
mod tests;
