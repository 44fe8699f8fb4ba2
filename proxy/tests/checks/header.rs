//! What an intermediary takes out of a head: all that is one connection's, and nothing else.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use understudy::http::headers::{check_coding, end_to_end};

/// Fields of one connection whatever anybody says (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 4] = ["connection", "keep-alive", "proxy-connection", "upgrade"];
/// Fields that no `Connection` takes away.
const KEPT: [&str; 3] = ["host", "content-length", "transfer-encoding"];

fn listed(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Does a `Connection` of these name the field?
fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(name.as_str()))
}

/// Checks one head, given as lines `name: value`. What is no field is left out.
pub(crate) fn check(lines: &[(Vec<u8>, Vec<u8>)]) {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let before = listed(&headers);
    let kept = end_to_end(headers.clone());
    let after = listed(&kept);
    assert_eq!(listed(&end_to_end(kept.clone())), after, "a second intermediary takes out more");

    // What is left stands in the old order, and nothing of it is new.
    let mut rest = before.iter();
    for field in &after {
        assert!(rest.any(|old| old == field), "{field:?} is new, or in another place");
    }
    let coded = headers.contains_key(header::TRANSFER_ENCODING);
    for field @ (name, _) in &before {
        let count = |fields: &[(HeaderName, HeaderValue)]| fields.iter().filter(|other| *other == field).count();
        let is = |names: &[&str]| names.contains(&name.as_str());
        let may_go = is(&HOP_BY_HOP)
            || *name == header::TE
            || (coded && *name == header::CONTENT_LENGTH)
            || (is_nominated(&headers, name) && !is(&KEPT));
        if may_go {
            assert!(*name == header::TE || count(&after) == 0, "{name} stayed");
        } else {
            assert_eq!(count(&after), count(&before), "{name} went");
        }
    }
    let both = kept.contains_key(header::TRANSFER_ENCODING) && kept.contains_key(header::CONTENT_LENGTH);
    assert!(!both, "two framings travel on");
    if coded && check_coding(&headers).is_ok() {
        let codings: Vec<_> = kept.get_all(header::TRANSFER_ENCODING).iter().collect();
        assert!(codings.len() == 1 && codings[0].as_bytes().eq_ignore_ascii_case(b"chunked"), "{codings:?}");
    }
}
