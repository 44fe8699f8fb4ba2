use std::{
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::{
    capture::heartbeat::monotonic_ns,
    observe::{access_log::RequestId, identity::TraceId},
};

const SECOND: u64 = 1_000_000_000;

fn trace(number: u64) -> Option<TraceId> {
    let field = format!("00-{number:016x}{number:016x}-00f067aa0ba902b7-01");
    let headers: HeaderMap =
        [(http::HeaderName::from_static("traceparent"), HeaderValue::try_from(field).unwrap())].into_iter().collect();
    TraceId::of(&headers)
}

fn whose(number: u64) -> Identity {
    Identity { request: RequestId::from_bits(number), trace: trace(number) }
}

fn counts(histogram: &Histogram) -> Vec<u64> {
    histogram.buckets.iter().map(|bucket| bucket.count.load(Ordering::Relaxed)).collect()
}

fn text(histogram: &Histogram) -> String {
    let mut out = String::new();
    let mut family = Family::begin(&mut out, Wall::now(), "understudy_test_seconds", "A test").unwrap();
    family.member(&[("rule", &"a \"b\"\\\n"), ("mirror", &0)], histogram).unwrap();
    out
}

/// Fails if a bound is not part of its bucket (`<` for `<=`), or what is over the last bound is not counted.
#[test]
fn a_bucket_ends_with_its_bound() {
    for (index, bound) in BOUNDS.into_iter().enumerate() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(bound), 0, whose(1));
        histogram.observe(Duration::from_micros(bound + 1), 0, whose(1));
        let counts = counts(&histogram);
        assert_eq!((counts[index], counts[index + 1]), (1, 1), "{bound}");
    }
    let histogram = Histogram::default();
    histogram.observe(Duration::ZERO, 0, whose(1));
    histogram.observe(Duration::MAX, 0, whose(1));
    assert_eq!((counts(&histogram)[0], counts(&histogram)[BUCKETS - 1]), (1, 1));
}

#[test]
fn bounds_grow() {
    assert!(BOUNDS.is_sorted_by(|a, b| a < b));
}

/// Fails if buckets are not cumulative, or labels are written as they came.
#[test]
fn the_text_is_what_open_metrics_wants() {
    let histogram = Histogram::default();
    histogram.observe(Duration::from_nanos(400_499), 5 * SECOND, Identity { trace: None, ..whose(0xab) });
    histogram.observe(Duration::from_millis(7), 5 * SECOND, whose(0xcd));
    histogram.observe(Duration::from_secs(2), 5 * SECOND, whose(0xef));
    let text = text(&histogram);
    let labels = r#"rule="a \"b\"\\\n",mirror="0""#;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        &lines[..3],
        &[
            "# HELP understudy_test_seconds A test.",
            "# TYPE understudy_test_seconds histogram",
            "# UNIT understudy_test_seconds seconds"
        ]
    );
    let first = format!(
        "understudy_test_seconds_bucket{{{labels},le=\"0.0005\"}} 1 # {{request_id=\"00000000000000ab\"}} 0.0004 "
    );
    assert!(lines[3].starts_with(&first), "{}", lines[3]);
    assert_eq!(lines[4], format!("understudy_test_seconds_bucket{{{labels},le=\"0.001\"}} 1"));
    let third = format!(
        "understudy_test_seconds_bucket{{{labels},le=\"0.01\"}} 2 # {{request_id=\"00000000000000cd\",\
         trace_id=\"00000000000000cd00000000000000cd\"}} 0.007 "
    );
    assert!(lines[7].starts_with(&third), "{}", lines[7]);
    assert!(
        lines[13].starts_with(&format!("understudy_test_seconds_bucket{{{labels},le=\"1.0\"}} 2")),
        "{}",
        lines[13]
    );
    assert_eq!(lines[18], format!("understudy_test_seconds_bucket{{{labels},le=\"+Inf\"}} 3"));
    assert_eq!(lines[19], format!("understudy_test_seconds_count{{{labels}}} 3"));
    assert_eq!(lines[20], format!("understudy_test_seconds_sum{{{labels}}} 2.0074"));
    assert_eq!(lines.len(), 21);
}

/// The time of an example is the wall clock's, and the same at each scrape.
#[test]
fn an_example_has_the_time_of_its_end() {
    let histogram = Histogram::default();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    histogram.observe(Duration::from_micros(1), monotonic_ns(), whose(1));
    let text = text(&histogram);
    let at = text.lines().find(|line| line.contains("request_id")).unwrap().rsplit(' ').next().unwrap();
    let at: f64 = at.parse().unwrap();
    let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    // The text has milliseconds.
    assert!(before - 0.002 <= at && at <= after + 0.002, "{before} {at} {after}");
}

/// Fails if each observation writes its example (then a busy bucket costs five stores for each request).
#[test]
fn an_example_stays_for_a_second() {
    let slot = Slot::default();
    let example = |at, number| Example { at, micros: 1, whose: whose(number) };
    assert_eq!(slot.read(), None);
    for (at, number, there) in
        [(5 * SECOND, 1, 1), (5 * SECOND + 1, 2, 1), (6 * SECOND - 1, 3, 1), (6 * SECOND, 4, 4), (5 * SECOND, 5, 4)]
    {
        slot.offer(example(at, number));
        assert_eq!(slot.read().unwrap().whose, whose(there), "after {number}");
    }
}

/// Writers that write at every turn, and a reader that must see no mixture of two, until it has seen a thousand. Fails if the reader does not
/// compare versions; counts stay exact whoever counts at once.
#[test]
fn concurrent_writers_lose_no_count_and_tear_no_example() {
    let (histogram, next, done) = (&Histogram::default(), &AtomicU64::new(1), &AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // All parts of an example come from one number; each is a second after the one before.
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    histogram.observe(Duration::from_micros(number % 500), number * SECOND, whose(number));
                }
            });
        }
        let (mut last, mut seen, mut torn) = (None, 0, None);
        while seen < 1000 && torn.is_none() {
            let example = histogram.buckets[0].example.read();
            let Some(read) = example.filter(|_| example != last) else { continue };
            let number = read.at / SECOND;
            let whole = Example { at: number * SECOND, micros: number % 500, whose: whose(number) };
            torn = (read != whole).then_some(read);
            (last, seen) = (example, seen + 1);
        }
        // Before anything fails: the writers wait for it.
        done.store(true, Ordering::Relaxed);
        assert_eq!(torn, None);
    });
    let observed = next.load(Ordering::Relaxed) - 1;
    assert_eq!(counts(histogram)[0], observed);
    let sum: u64 = (1..=observed).map(|number| number % 500).sum();
    assert_eq!(histogram.sum.load(Ordering::Relaxed), sum);
}
