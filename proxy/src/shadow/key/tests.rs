use http::Request;
use proptest::prelude::*;

use super::*;
use crate::shadow::sample::WHOLE;

fn head(fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::get("/");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn chances(request: u64) -> Chances {
    Chances { request, connection: 7, source: [10, 244, 1, 10].into() }
}

fn by(text: &str) -> SampleBy {
    text.parse().unwrap()
}

/// The smallest sample that takes the request: where its draw lies.
fn point(by: &SampleBy, head: &Parts, chances: &Chances) -> u32 {
    let draw = draw(by, head, chances);
    let (mut no, mut yes) = (0, WHOLE);
    while yes - no > 1 {
        let middle = no + (yes - no) / 2;
        if draw.takes(middle) { yes = middle } else { no = middle }
    }
    no
}

/// Calculated by another implementation, which agrees with the test vector of Aumasson and Bernstein's paper. Breaks if the key, the hash or
/// what is hashed changes: then every user's sample would be another one after an upgrade, and different on nodes of different versions.
#[test]
fn keyed_draws_are_what_the_documentation_promises() {
    let sid = head(&[("cookie", "a=1; SID=42"), ("cookie", "SID=43")]);
    let ipv6 = Chances { source: "fd00::10".parse().unwrap(), ..chances(0) };
    let mapped = Chances { source: "::ffff:10.244.1.10".parse().unwrap(), ..chances(0) };
    for (key, head, chances, expected) in [
        ("sourceIP", head(&[]), chances(0), 130_408),
        ("sourceIP", head(&[]), mapped, 130_408),
        ("sourceIP", head(&[]), ipv6, 55_198),
        ("header:X-User", head(&[("x-user", "ann")]), chances(0), 174_668),
        ("header:x-user", head(&[("x-user", "a"), ("x-user", "b")]), chances(0), 64_074),
        ("header:x-user", head(&[("x-user", "")]), chances(0), 211_018),
        ("cookie:SID", sid, chances(0), 526_059),
    ] {
        assert_eq!(point(&by(key), &head, &chances), expected, "{key}");
    }
}

#[test]
fn a_request_without_the_key_is_drawn_by_itself() {
    let without = head(&[("cookie", "SIDE=1; sid=2; XSID=3"), ("x-other", "1")]);
    for key in ["header:x-user", "cookie:SID", "request"] {
        for request in [0, u64::MAX / 3, u64::MAX] {
            let expected = (u128::from(request) * u128::from(WHOLE)) >> 64;
            assert_eq!(u128::from(point(&by(key), &without, &chances(request))), expected, "{key}");
        }
    }
}

#[test]
fn requests_of_a_connection_share_its_draw() {
    let one = Chances { connection: u64::MAX / 2, ..chances(0) };
    let other = Chances { request: u64::MAX, ..one };
    let points = [one, other].map(|chances| point(&by("connection"), &head(&[]), &chances));
    assert_eq!(points[0], points[1]);
    assert_eq!(points[0], 499_999);
}

/// Chance of at most `count` of `n` independent draws of probability `p` (`upper`: of at least `count`), summed up exactly in logarithms.
fn tail(n: u32, p: f64, count: u32, upper: bool) -> f64 {
    let mut log_choose = 0.0;
    let mut sum = 0.0;
    for k in 0..=n {
        if k > 0 {
            log_choose += (f64::from(n - k + 1) / f64::from(k)).ln();
        }
        if (upper && k >= count) || (!upper && k <= count) {
            sum += (log_choose + f64::from(k) * p.ln() + f64::from(n - k) * (1.0 - p).ln()).exp();
        }
    }
    sum
}

/// Users with numbers, names, addresses: neighbours in every sense. A hash that is no good would show here: each count must be one that
/// independent draws give at least once in 10,000 times.
#[test]
fn keys_that_resemble_each_other_fall_evenly() {
    const KEYS: u32 = 20_000;
    let header = |value: String| point(&by("header:x-user"), &head(&[("x-user", &value)]), &chances(0));
    let cookie = |value: String| point(&by("cookie:s"), &head(&[("cookie", &format!("s={value}"))]), &chances(0));
    let source = |number: u32| {
        let source = std::net::Ipv4Addr::from(0x0af4_0000 + number).into();
        point(&by("sourceIP"), &head(&[]), &Chances { source, ..chances(0) })
    };
    let families: [Vec<u32>; 4] = [
        (0..KEYS).map(|number| header(number.to_string())).collect(),
        (0..KEYS).map(|number| header(format!("user-{number:08}@example.org"))).collect(),
        (0..KEYS).map(|number| cookie(format!("{number:x}"))).collect(),
        (0..KEYS).map(source).collect(),
    ];
    for (number, points) in families.iter().enumerate() {
        for ppm in [1_000, 10_000, 250_000, 500_000, 990_000] {
            let taken = u32::try_from(points.iter().filter(|point| **point < ppm).count()).unwrap();
            let p = f64::from(ppm) / f64::from(WHOLE);
            let rare = tail(KEYS, p, taken, false).min(tail(KEYS, p, taken, true));
            assert!(rare > 1e-4, "family {number}: {taken} of {KEYS} at {ppm} ppm");
        }
    }
}

proptest! {
    /// Whatever is sampled by: who is in a smaller sample is in every larger one.
    #[test]
    fn samples_are_nested(
        key in prop_oneof!["request", "connection", "sourceIP", "header:x-user", "cookie:s"],
        value in "[ -~]{0,12}", request: u64, connection: u64, source: u32, a in 0..=WHOLE, b in 0..=WHOLE,
    ) {
        let head = head(&[("x-user", value.trim()), ("cookie", &format!("s={}", value.trim()))]);
        let chances = Chances { request, connection, source: std::net::Ipv4Addr::from(source).into() };
        let draw = draw(&by(&key), &head, &chances);
        prop_assert!(!draw.takes(a.min(b)) || draw.takes(a.max(b)));
    }

    /// A key decides alone: neither chance nor anything else of the request counts.
    #[test]
    fn the_same_key_gives_the_same_answer(value in "[a-z0-9]{1,12}", other in "[a-z]{0,8}", first: u64, second: u64) {
        for key in ["header:x-user", "cookie:s", "sourceIP"] {
            let one = head(&[("x-user", &value), ("cookie", &format!("s={value}"))]);
            let two = head(&[("x-other", &other), ("cookie", &format!("o={other}; s={value}")), ("x-user", &value)]);
            let another = Chances { connection: second, ..chances(second) };
            prop_assert_eq!(point(&by(key), &one, &chances(first)), point(&by(key), &two, &another));
        }
    }
}
