//! Where the body of an answer over HTTP/1 ends (RFC 9112, 6.3).
//!
//! Comes in: the final head's status, version and fields. Goes out: how the body's end is told, and whether the connection stays. Never: a guess where
//! two readers could disagree.

use httparse::{Header, ParserConfig};

use super::fields::{Field, members};

/// How an answer's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// What a head says of the end of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Of the body.
    pub framing: Framing,
    /// Of the answer, but not of the connection: it may carry another request, as far as its endpoint is concerned.
    pub stays: bool,
    /// It is in a transfer coding.
    pub is_coded: bool,
    /// Chunked stands where it cannot: before another coding.
    pub is_nonsense: bool,
    /// The connection has fields of its own.
    pub names_fields: bool,
}

/// Of an answer to HEAD (`is_head`), of HTTP/1.1 (`is_current`). `None` = nobody can say where it ends.
pub(crate) fn of(status: u16, is_current: bool, is_head: bool, fields: &[Header<'_>]) -> Option<Ending> {
    let (mut length_said, mut lengths_agree) = (None, true);
    let (mut is_coded, mut is_chunked, mut is_nonsense) = (false, false, false);
    let (mut closes, mut names_fields) = (false, false);
    for Header { name, value } in fields {
        match Field::of(name.as_bytes()) {
            Field::Length => {
                for member in members(value) {
                    let length = length(member);
                    lengths_agree &= length.is_some() && length_said.is_none_or(|said| said == length);
                    length_said = Some(length);
                }
            }
            Field::Coding => {
                for coding in members(value) {
                    is_nonsense |= is_chunked || !coding.is_ascii();
                    is_chunked = coding.eq_ignore_ascii_case(b"chunked");
                    is_coded = true;
                }
            }
            Field::Connection => {
                for token in members(value) {
                    let is_close = token.eq_ignore_ascii_case(b"close");
                    closes |= is_close;
                    names_fields |= !is_close && !token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            _ => {}
        }
    }
    let mut stays = is_current && !closes;
    let framing = if is_head || matches!(status, 101 | 204 | 304) {
        Framing::Length(0)
    } else if is_coded && is_chunked && is_current {
        // Whoever believes the length sees another end.
        stays &= length_said.is_none();
        Framing::Chunked
    } else if is_coded {
        Framing::Close
    } else {
        match length_said {
            None => Framing::Close,
            Some(Some(length)) if lengths_agree => Framing::Length(length),
            Some(_) => return None,
        }
    };
    Some(Ending { framing, stays, is_coded, is_nonsense, names_fields })
}

/// What every client takes, we take too.
pub(crate) fn lenient() -> ParserConfig {
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
    config
}

/// Whether a head may end in these bytes, behind the first `before`.
pub(crate) fn may_end(bytes: &[u8], before: usize) -> bool {
    // The empty line may have begun in those.
    let bytes = &bytes[before.saturating_sub(3)..];
    bytes.windows(2).any(|two| two == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

/// A length: digits and nothing else.
pub(crate) fn length(digits: &[u8]) -> Option<u64> {
    let only_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| only_digits)?.parse().ok()
}
