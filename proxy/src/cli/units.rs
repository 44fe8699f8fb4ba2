//! Values of flags with a unit or a grammar: `200ms`, `64Mi`, names, domains.
//!
//! Comes in: text. Goes out: a number or a checked text, or a sentence that says what is wrong with it.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use http::HeaderName;

use crate::{
    control::validate::header_ops,
    net::Dscp,
    route::{Methods, SampleBy},
};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// `1h30m`, `1.5s`, `200ms`: numbers with `ms`, `s`, `m` or `h`, added up (Go's notation). `0` needs no unit.
///
/// # Errors
///
/// A sentence for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    let grammar = || format!("`{text}` is no duration; write it like 200ms, 10s or 1m30s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(grammar)?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| grammar())?;
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        seconds += number
            * match unit {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(grammar()),
            };
        rest = tail;
    }
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty()).ok_or_else(grammar)?;
    if duration > WEEK { Err(format!("{text} is longer than a week")) } else { Ok(duration) }
}

/// A [`duration`] above zero.
///
/// # Errors
///
/// A sentence for the user.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("must be longer than zero".into()) } else { Ok(duration) }
}

/// A [`duration`] that a heartbeat of several beats a second can keep.
///
/// # Errors
///
/// A sentence for the user.
pub fn heartbeat(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration < Duration::from_millis(100) {
        return Err("must be 100ms or more, or a busy process looks hung".into());
    }
    Ok(duration)
}

/// `1024`, `64Ki`, `1Mi`, `2G`: a Kubernetes quantity in whole bytes.
///
/// # Errors
///
/// A sentence for the user.
pub fn bytes(text: &str) -> Result<usize, String> {
    let grammar = || format!("`{text}` is no size; write it in bytes or like 64Ki, 1Mi or 2G");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| grammar())?;
    let factor: usize = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(grammar()),
    };
    number.checked_mul(factor).ok_or_else(|| format!("{text} is more than this machine can address"))
}

/// How many entries the rules map shall have.
///
/// # Errors
///
/// A sentence for the user.
pub fn max_rules(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(n @ 1..=16_777_216) => Ok(n),
        _ => Err("must be a number from 1 to 16777216".into()),
    }
}

/// How many threads carry traffic.
///
/// # Errors
///
/// A sentence for the user.
pub fn workers(text: &str) -> Result<NonZeroU32, String> {
    let wanted = text.parse().ok().filter(|n: &NonZeroU32| n.get() <= 1024);
    wanted.ok_or_else(|| "must be a number from 1 to 1024".into())
}

/// An RFC 1123 label: it becomes the name of a folder.
///
/// # Errors
///
/// A sentence for the user.
pub fn name(text: &str) -> Result<String, String> {
    if is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 63 lower-case letters, digits and inner hyphens".into())
    }
}

/// Name of a node or a pod: an RFC 1123 subdomain.
///
/// # Errors
///
/// A sentence for the user.
pub fn node_name(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no name of a node or a pod: lower-case letters, digits, inner hyphens and dots"))
    }
}

/// A DNS domain in lower case, without the final dot.
///
/// # Errors
///
/// A sentence for the user.
pub fn domain(text: &str) -> Result<String, String> {
    let domain = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if domain.len() <= 253 && domain.split('.').all(is_label) {
        Ok(domain)
    } else {
        Err(format!("`{text}` is no DNS domain; the usual one is cluster.local"))
    }
}

/// What may stand at the end of a host name: nothing, or characters of host names.
///
/// # Errors
///
/// A sentence for the user.
pub fn host_suffix(text: &str) -> Result<String, String> {
    let fits = text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be at most 63 letters, digits, hyphens, dots and underscores".into())
    }
}

/// Names of header fields. (A type of its own: clap takes a `Vec` for a flag that is given several times.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedHeaders(pub Arc<[HeaderName]>);

/// Methods, separated by commas; `*` is all.
///
/// # Errors
///
/// A sentence for the user.
pub fn methods(text: &str) -> Result<Methods, String> {
    Methods::from_words(text.split(',').map(str::trim))
        .map_err(|word| format!("`{word}` is no method; write names like GET,HEAD in upper case, or * for all"))
}

/// Header fields, separated by commas, that a shadow may lose.
///
/// # Errors
///
/// A sentence for the user.
pub fn removed_headers(text: &str) -> Result<RemovedHeaders, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let names = names
        .map(|name| header_ops::of_shadow(name).map_err(|problem| format!("`{name}` cannot be removed: {problem}")));
    names.collect::<Result<_, _>>().map(RemovedHeaders)
}

/// What samples are samples of.
///
/// # Errors
///
/// A sentence for the user.
pub fn sampling(text: &str) -> Result<SampleBy, String> {
    text.parse().map_err(|problem| format!("`{text}` is no key of a sample: {problem}"))
}

/// A code point of Differentiated Services.
///
/// # Errors
///
/// A sentence for the user.
pub fn dscp(text: &str) -> Result<Dscp, String> {
    text.parse().ok().and_then(Dscp::new).ok_or_else(|| "must be a number from 0 to 63".into())
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| inner(b) || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_go_notation() {
        for (text, millis) in
            [("200ms", 200), ("10s", 10_000), ("5m", 300_000), ("1m30s", 90_000), ("1.5s", 1_500), ("0", 0), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "10", "s", "-1s", "1 s", "1d", "1..5s", "1s2", "800h", "1e400s", "ms1"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(positive_duration("0s").is_err());
        assert!(heartbeat("99ms").is_err());
        assert!(heartbeat("100ms").is_ok());
    }

    #[test]
    fn sizes_are_read_as_kubernetes_quantities() {
        for (text, size) in
            [("0", 0), ("1024", 1024), ("64Ki", 65_536), ("1Mi", 1_048_576), ("2k", 2000), ("1Gi", 1 << 30)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "Mi", "-1", "1.5Mi", "1mi", "1 Mi", "99999999999999Gi"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for text in ["", "..", "a/b", "A", "-a", "a-", &"a".repeat(64)] {
            assert!(name(text).is_err(), "{text}");
        }
        assert!(name("node-1").is_ok());
    }

    #[test]
    fn domains_lose_their_final_dot_and_upper_case() {
        assert_eq!(domain("Cluster.Local.").as_deref(), Ok("cluster.local"));
        for text in ["", ".", "a..b", "under_score"] {
            assert!(domain(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_suffix_cannot_break_out_of_the_host() {
        for text in ["", "-shadow", ".v2_x"] {
            assert!(host_suffix(text).is_ok(), "{text}");
        }
        for text in ["-shadow:80", "a\r\nb: c", " ", "/x", "é"] {
            assert!(host_suffix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_can_be_taken_from_shadows_but_not_their_host_or_framing() {
        let RemovedHeaders(names) = removed_headers("Authorization, cookie").unwrap();
        assert_eq!(names.iter().map(HeaderName::as_str).collect::<Vec<_>>(), ["authorization", "cookie"]);
        assert!(removed_headers("").unwrap().0.is_empty());
        for text in ["host", "content-length", "connection", "x-understudy-shadow", ":path", "a b"] {
            assert!(removed_headers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_code_point_is_a_number_of_six_bits() {
        assert_eq!(dscp("0"), Ok(Dscp::UNCHANGED));
        for text in ["64", "-1", "", "le"] {
            assert!(dscp(text).is_err(), "{text}");
        }
    }
}
