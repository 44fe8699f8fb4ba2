//! How many requests are mirrored: exact at 0 and 100 percent, binomial between, and nested among the mirrors of one rule.

use std::{collections::BTreeSet, ops::RangeInclusive, process::ExitCode};

use anyhow::{Result, ensure};
use integration::{
    Recorder, Theatre, case, harness,
    theatre::{NEEDS, ROUTE, Setting, from_v1, whole},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(the_bounds_are_those_of_the_binomial_distribution).needs(&[]),
        case!(nothing_is_mirrored_at_0_percent).needs(NEEDS),
        case!(everything_is_mirrored_at_100_percent).needs(NEEDS),
        case!(one_percent).needs(NEEDS),
        case!(a_quarter).needs(NEEDS),
        case!(samples_of_several_mirrors_are_nested).needs(NEEDS),
        case!(a_sample_does_not_depend_on_weights).needs(NEEDS),
    ])
}

/// Requests of a test, over this many connections that all are kept.
const REQUESTS: usize = 4000;
const CONNECTIONS: usize = 8;
/// A test fails although all is well at most this often.
const FALSE_ALARM: f64 = 1e-9;

/// The counts of `n` independent draws of probability `p` outside of which each end has less than half of [`FALSE_ALARM`]. Exact: the binomial
/// distribution itself is summed up from both ends, in logarithms because its ends are too small for numbers.
fn bounds(n: usize, p: f64) -> RangeInclusive<usize> {
    let mut log_choose = 0.0;
    let mass: Vec<f64> = (0..=n)
        .map(|k| {
            if k > 0 {
                log_choose += ((n - k + 1) as f64 / k as f64).ln();
            }
            (log_choose + k as f64 * p.ln() + (n - k) as f64 * (1.0 - p).ln()).exp()
        })
        .collect();
    let outside = |masses: &mut dyn Iterator<Item = &f64>| {
        let mut sum = 0.0;
        masses
            .take_while(|mass| {
                sum += **mass;
                sum < FALSE_ALARM / 2.0
            })
            .count()
    };
    outside(&mut mass.iter())..=n - outside(&mut mass.iter().rev())
}

fn the_bounds_are_those_of_the_binomial_distribution() -> Result<()> {
    // A fair coin, 40 times: 2^-40 < 0.5e-9 for none or all, 41 * 2^-40 < 0.5e-9, 821 * 2^-40 = 0.75e-9.
    ensure!(bounds(40, 0.5) == (2..=38), "{:?}", bounds(40, 0.5));
    // Six standard deviations, roughly: the mean of 1000 with a deviation of 27.4.
    let quarter = bounds(4000, 0.25);
    ensure!((830..=840).contains(quarter.start()) && (1164..=1174).contains(quarter.end()), "{quarter:?}");
    // None of 4000 at one percent: 0.99^4000 = 3.5e-18.
    ensure!(*bounds(4000, 0.01).start() >= 5);
    Ok(())
}

/// Sends numbered requests over some kept connections.
fn send(theatre: &Theatre) -> Result<()> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|c| {
                scope.spawn(move || {
                    let mut wire = theatre.dial()?;
                    for i in (c..REQUESTS).step_by(CONNECTIONS) {
                        from_v1(&wire.exchange(format!("GET /{i} HTTP/1.1\r\nHost: httpbin\r\n\r\n").as_bytes())?)?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        clients.into_iter().try_for_each(|c| c.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// The stage for a rule with further words about its mirror; no shadow is shed.
fn stage(more: &str) -> Result<Theatre> {
    Setting::new(&format!("{ROUTE}{more}")).args(&["--shadow-max-concurrent", "100000"]).start()
}

fn mirror(more: &str) -> Result<Theatre> {
    stage(&format!("    mirror: {{host: httpbin, subset: v2}}\n    {more}\n"))
}

fn numbers(recorder: &Recorder) -> BTreeSet<String> {
    recorder.requests().iter().map(|request| request.request_line()).collect()
}

fn all_at_v1(theatre: &Theatre) -> Result<()> {
    let v1 = theatre.v1.recorder.count();
    ensure!(v1 == REQUESTS && theatre.native.recorder.count() == 0, "v1 got {v1} requests");
    Ok(())
}

/// Sends all, and checks that as many came to v2 as the metrics say.
fn counted(theatre: &Theatre) -> Result<usize> {
    send(theatre)?;
    all_at_v1(theatre)?;
    let view = theatre.agent.settled()?;
    let (candidates, answered) = (whole(view.candidates()), whole(view.outcome("answered")));
    theatre.outcomes(&[("answered", answered), ("sampled_out", candidates - answered)])?;
    let v2 = theatre.v2.recorder.count();
    ensure!(candidates == REQUESTS && v2 == answered, "{candidates} candidates, {answered} answered, {v2} at v2");
    ensure!(numbers(&theatre.v2.recorder).len() == v2, "a request was mirrored twice");
    Ok(v2)
}

/// Fails if `{}` means "all", if 0 is taken for "absent", or if `mirror_percent` beats `mirrorPercentage`.
fn nothing_is_mirrored_at_0_percent() -> Result<()> {
    let theatre = mirror("mirror_percent: 0")?;
    for more in [
        "mirrorPercentage: {value: 0.0}",
        "mirrorPercentage: {}",
        "mirrorPercentage: {value: 0}\n    mirror_percent: 100",
    ] {
        for _ in 0..50 {
            theatre.ask_v1()?;
        }
        // Compiled away: no candidates, no outcomes.
        theatre.outcomes(&[])?;
        theatre.rule(&format!("{ROUTE}    mirror: {{host: httpbin, subset: v2}}\n    {more}\n"))?;
    }
    theatre.ask_v1()?;
    theatre.outcomes(&[])?;
    ensure!(theatre.v2.recorder.peers().is_empty(), "v2 was connected to");
    Ok(())
}

/// Fails if the sample is off by one draw.
fn everything_is_mirrored_at_100_percent() -> Result<()> {
    let theatre = mirror("mirrorPercentage: {value: 100.0}\n    mirror_percent: 1")?;
    ensure!(counted(&theatre)? == REQUESTS);
    ensure!(numbers(&theatre.v1.recorder) == numbers(&theatre.v2.recorder), "v2 got other requests than v1");
    Ok(())
}

/// Fails if the percentage is taken for a fraction (or per mille), or if each connection draws once.
fn one_percent() -> Result<()> {
    let theatre = mirror("mirror_percent: 1")?;
    let (count, wanted) = (counted(&theatre)?, bounds(REQUESTS, 0.01));
    ensure!(wanted.contains(&count), "{count} of {REQUESTS} mirrored at 1 %, which should be in {wanted:?}");
    Ok(())
}

/// As [`one_percent`].
fn a_quarter() -> Result<()> {
    let theatre = mirror("mirrorPercentage: {value: 25.0}")?;
    let (count, wanted) = (counted(&theatre)?, bounds(REQUESTS, 0.25));
    ensure!(wanted.contains(&count), "{count} of {REQUESTS} mirrored at 25 %, which should be in {wanted:?}");
    Ok(())
}

/// Fails if every mirror draws for itself.
fn samples_of_several_mirrors_are_nested() -> Result<()> {
    let theatre = stage(
        "    mirrors:\n    - destination: {host: httpbin, subset: v2}\n      percentage: {value: 10.0}\n\
         \x20   - destination: {host: httpbin, subset: v3}\n      percentage: {value: 50.0}\n",
    )?;
    send(&theatre)?;
    let view = theatre.agent.settled()?;
    ensure!(whole(view.candidates()) == 2 * REQUESTS, "{} candidates", view.candidates());
    ensure!(whole(view.outcome("answered") + view.outcome("sampled_out")) == 2 * REQUESTS, "other outcomes");
    let (small, large) = (numbers(&theatre.v2.recorder), numbers(&theatre.native.recorder));
    for (sample, p) in [(&small, 0.1), (&large, 0.5)] {
        let wanted = bounds(REQUESTS, p);
        ensure!(wanted.contains(&sample.len()), "{} of {REQUESTS} at {p}, not in {wanted:?}", sample.len());
    }
    ensure!(small.is_subset(&large), "the smaller sample is not inside the larger one");
    Ok(())
}

/// One half goes to either of two versions, one half is mirrored. Fails if both are decided by one draw, as in Envoy: then the mirrored half is
/// the half that went to the first version.
fn a_sample_does_not_depend_on_weights() -> Result<()> {
    let theatre = Setting::new(
        "  - route:\n    - {destination: {host: httpbin, subset: v1}, weight: 50}\n    - {destination: {host: httpbin, subset: v3}, weight: 50}\n\
         \x20   mirror: {host: httpbin, subset: v2}\n    mirrorPercentage: {value: 50.0}\n",
    )
    .args(&["--shadow-max-concurrent", "100000"])
    .start()?;
    let mut wire = theatre.dial()?;
    for i in 0..REQUESTS {
        wire.exchange(format!("GET /{i} HTTP/1.1\r\nHost: httpbin\r\n\r\n").as_bytes())?;
    }
    let view = theatre.agent.settled()?;
    let answered = whole(view.outcome("answered"));
    theatre.outcomes(&[("answered", answered), ("sampled_out", REQUESTS - answered)])?;
    let mirrored = numbers(&theatre.v2.recorder);
    let halves = [numbers(&theatre.v1.recorder), numbers(&theatre.native.recorder)];
    ensure!(halves[0].len() + halves[1].len() == REQUESTS && bounds(REQUESTS, 0.5).contains(&halves[0].len()));
    for half in &halves {
        let (both, wanted) = (half.intersection(&mirrored).count(), bounds(half.len(), 0.5));
        ensure!(wanted.contains(&both), "{both} of one version's {} are mirrored, not in {wanted:?}", half.len());
    }
    Ok(())
}
