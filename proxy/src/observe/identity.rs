//! What a request is called where people look for it: its id in the access log, and its trace's in their tracing system.
//!
//! Comes in: a request's fields. Goes out: small values to copy. Never: allocates, or takes for a trace what is none.

use std::{fmt, num::NonZeroU128};

use http::HeaderMap;

use super::access_log::RequestId;

/// The field of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";
/// `00-` and 32 digits of the trace, `-` and 16 of the parent, `-` and two of flags.
const LENGTH: usize = 55;

/// The names of one request; its shadows have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// In the access log.
    pub request: RequestId,
    /// In the client's traces, if it says so.
    pub trace: Option<TraceId>,
}

/// The trace that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// What `traceparent` says, if there is one, and it is valid (W3C Trace Context, 3.2).
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(TRACEPARENT).iter();
        let (field, None) = (fields.next()?.as_bytes(), fields.next()) else { return None };
        // A later version may say more after another hyphen.
        let (known, more) = field.split_at_checked(LENGTH)?;
        let [version @ .., b'-'] = &known[..3] else { return None };
        let ([b'-'], [b'-']) = (&known[35..36], &known[52..53]) else { return None };
        let version = digits(version)?;
        if version == 0xff || !(more.is_empty() || (version > 0 && more[0] == b'-')) {
            return None;
        }
        digits(&known[53..])?;
        digits(&known[36..52]).filter(|parent| *parent != 0)?;
        digits(&known[3..35]).and_then(NonZeroU128::new).map(Self)
    }

    /// The two halves of its number.
    pub(super) fn halves(trace: Option<Self>) -> [u64; 2] {
        let number = trace.map_or(0, |Self(number)| number.get());
        [(number >> 64) as u64, number as u64]
    }

    /// From what [`halves`](Self::halves) gave.
    pub(super) fn from_halves([high, low]: [u64; 2]) -> Option<Self> {
        NonZeroU128::new((u128::from(high) << 64) | u128::from(low)).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Small hexadecimal digits and nothing else.
fn digits(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some((number << 4) | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(fields: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(TRACEPARENT, HeaderValue::from_str(field).unwrap());
        }
        TraceId::of(&headers).map(|trace| trace.to_string())
    }

    #[test]
    fn a_valid_trace_is_known_by_its_32_digits() {
        let of_later_version = format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-brings");
        for valid in [&format!("00-{TRACE}-00f067aa0ba902b7-01"), &of_later_version] {
            assert_eq!(of(&[valid]).as_deref(), Some(TRACE), "{valid}");
        }
        let small = "00000000000000000000000000000001";
        assert_eq!(of(&[&format!("00-{small}-00f067aa0ba902b7-00")]).as_deref(), Some(small));
    }

    /// Fails if one of the conditions goes.
    #[test]
    fn what_is_no_trace_is_none() {
        let zeros = "0".repeat(32);
        for invalid in [
            String::new(),
            "00-".into(),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("0x-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00f067aa0ba902b7-0g"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("01-{TRACE}-00f067aa0ba902b7-01more"),
            format!("00_{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}_00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7_01"),
            format!("00-{}-00f067aa0ba902b7-01", &TRACE[..31]),
        ] {
            assert_eq!(of(&[&invalid]), None, "{invalid:?}");
        }
        let valid = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(of(&[&valid, &valid]), None);
        assert_eq!(of(&[]), None);
    }
}
