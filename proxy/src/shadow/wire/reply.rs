//! Where an answer to a shadow ends, and what its status is.
//!
//! Comes in: the bytes of v2's connection, as they happen to be read. Goes out: that more is to come, or how the answer ended and whether the connection
//! can carry another request. Never: a byte that is kept, but for a head that is not whole; a guess where two readers could disagree about the end: then
//! the connection is not used again.

use std::mem::{self, MaybeUninit};

use http::StatusCode;
use httparse::{Header, Status};

use super::super::answer::Answer;
use crate::codec::{
    answer_framing::{self, Framing, may_end},
    chunked::{Chunked, Found},
    limits::{MAX_HEADER_BYTES, MAX_HEADERS},
};

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// More is to come.
    Partial,
    /// All of it is there, or as much of it as its bound lets us read.
    Whole {
        /// The answer's status.
        status: u16,
        /// Nothing of it is left on the connection, and nothing else.
        finished: bool,
        /// And the connection stays open.
        reusable: bool,
    },
    /// It broke off, or makes no sense.
    Broken,
}

/// What is at the beginning of an answer.
enum Head {
    /// The final head, after so many bytes.
    Whole(usize),
    /// A head that is not whole begins after so many bytes.
    Partial(usize),
    /// No head.
    Nonsense,
}

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Reader {
    part: Part,
    /// What has come of a head that is not whole.
    held: Vec<u8>,
    status: u16,
    /// Both sides leave the connection open.
    stays: bool,
    is_head: bool,
    is_current: bool,
    bound: u64,
}

#[derive(Debug)]
enum Part {
    Head,
    Length(u64),
    Chunks(Chunked),
    /// To the end of the connection.
    Rest,
}

impl Reader {
    /// Of the answer to a request, of HEAD or of HTTP/1.1 for instance, whose body is not read further than to `bound`.
    pub(super) fn new(is_head: bool, is_current: bool, bound: u64) -> Self {
        Self { part: Part::Head, held: Vec::new(), status: 0, stays: false, is_head, is_current, bound }
    }

    /// Reads on. What is counted of the body goes to `answer`.
    pub(super) fn feed(&mut self, bytes: &[u8], answer: &mut Answer) -> Reply {
        if !matches!(self.part, Part::Head) {
            return self.body(bytes, answer);
        }
        let mut held = mem::take(&mut self.held);
        let before = held.len();
        let bytes = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            // A head that dribbles is not read from its beginning for each byte.
            if held.len() <= MAX_HEADER_BYTES && !may_end(&held, before) {
                self.held = held;
                return Reply::Partial;
            }
            &held
        };
        match self.head(bytes) {
            Head::Whole(length) => self.body(&bytes[length..], answer),
            Head::Partial(start) if bytes.len() - start <= MAX_HEADER_BYTES => {
                self.held = bytes[start..].to_vec();
                Reply::Partial
            }
            Head::Partial(_) | Head::Nonsense => Reply::Broken,
        }
    }

    /// The connection has ended.
    pub(super) fn end(&self) -> Reply {
        match self.part {
            Part::Rest => Reply::Whole { status: self.status, finished: true, reusable: false },
            _ => Reply::Broken,
        }
    }

    fn whole(&self, finished: bool) -> Reply {
        let finished = finished && self.status != StatusCode::SWITCHING_PROTOCOLS;
        Reply::Whole { status: self.status, finished, reusable: finished && self.stays }
    }

    /// Reads heads, up to that of the final answer.
    fn head(&mut self, bytes: &[u8]) -> Head {
        let mut start = 0;
        loop {
            let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
            let mut head = httparse::Response::new(&mut []);
            match answer_framing::lenient().parse_response_with_uninit_headers(&mut head, &bytes[start..], &mut fields)
            {
                Ok(Status::Complete(length)) => start += length,
                Ok(Status::Partial) => return Head::Partial(start),
                Err(_) => return Head::Nonsense,
            }
            self.status = head.code.unwrap_or_default();
            let is_interim = (100..200).contains(&self.status) && self.status != StatusCode::SWITCHING_PROTOCOLS;
            if !is_interim {
                return if self.frame(head.version == Some(1), head.headers) {
                    Head::Whole(start)
                } else {
                    Head::Nonsense
                };
            }
        }
    }

    /// What the final head says of its body. Returns false if nobody can say where that ends.
    fn frame(&mut self, is_current: bool, fields: &[Header<'_>]) -> bool {
        let Some(ending) = answer_framing::of(self.status, is_current, self.is_head, fields) else { return false };
        self.stays = self.is_current && ending.stays;
        self.part = match ending.framing {
            Framing::Length(length) => Part::Length(length),
            Framing::Chunked => Part::Chunks(Chunked::new()),
            Framing::Close => Part::Rest,
        };
        true
    }

    fn body(&mut self, bytes: &[u8], answer: &mut Answer) -> Reply {
        let (data, end) = match &mut self.part {
            Part::Head => return Reply::Partial,
            Part::Length(left) => {
                let here = (*left).min(bytes.len() as u64);
                *left -= here;
                (here, (*left == 0).then_some(here as usize))
            }
            Part::Chunks(chunks) => match chunks.feed(bytes) {
                Found::Data(data) => (data, None),
                Found::End(data, at) => (data, Some(at)),
                Found::Nonsense => return Reply::Broken,
            },
            Part::Rest => (bytes.len() as u64, None),
        };
        answer.bytes += data;
        if answer.bytes > self.bound {
            answer.cut = true;
            return self.whole(false);
        }
        // What follows the answer was not asked for.
        end.map_or(Reply::Partial, |end| self.whole(end == bytes.len()))
    }
}

#[cfg(test)]
mod tests;
