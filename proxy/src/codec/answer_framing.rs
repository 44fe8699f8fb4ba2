//! Where the body of an answer over HTTP/1 ends (RFC 9112, 6.3).
//!
//! Comes in: the final head's status, version and fields. Goes out: how the body's end is told, and whether the connection stays. Never: a guess where
//! two readers could disagree.

use httparse::{Header, ParserConfig};

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
}

/// Of an answer to HEAD (`is_head`), of HTTP/1.1 (`is_current`). `None` = nobody can say where it ends.
pub(crate) fn of(status: u16, is_current: bool, is_head: bool, fields: &[Header<'_>]) -> Option<Ending> {
    let values = |name: &'static str| {
        let named = fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.flat_map(|field| field.value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    };
    let has_none = is_head || matches!(status, 101 | 204 | 304);
    let closes = values("connection").any(|token| token.eq_ignore_ascii_case(b"close"));
    let mut stays = is_current && !closes;
    let framing = match values("transfer-encoding").next_back() {
        _ if has_none => Framing::Length(0),
        Some(coding) if is_current && coding.eq_ignore_ascii_case(b"chunked") => {
            // Whoever believes the length sees another end.
            stays &= values("content-length").next().is_none();
            Framing::Chunked
        }
        Some(_) => Framing::Close,
        None => {
            let mut lengths = values("content-length").map(length);
            match lengths.next() {
                None => Framing::Close,
                Some(Some(first)) if lengths.all(|other| other == Some(first)) => Framing::Length(first),
                Some(_) => return None,
            }
        }
    };
    Some(Ending { framing, stays })
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
