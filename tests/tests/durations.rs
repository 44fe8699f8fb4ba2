//! How long primaries and shadows take, as histograms of `/metrics`, with exemplars that lead to the access log and to the client's traces.

use std::{collections::BTreeSet, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, MetricsView, Theatre, case, harness,
    theatre::{GET, MIRROR, NEEDS, ROUTE, Setting, from_v1, whole},
};

const PRIMARIES: &str = "understudy_request_duration_seconds";
const SHADOWS: &str = "understudy_shadow_duration_seconds";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn main() -> ExitCode {
    harness::main(&[
        case!(what_was_sent_is_in_the_histograms_and_nothing_else).needs(NEEDS),
        case!(an_exemplar_leads_to_the_access_log_and_to_the_trace).needs(NEEDS),
    ])
}

/// The count of a histogram; it must be that of its last bucket too, and buckets must not shrink.
fn count(view: &MetricsView, name: &str) -> Result<usize> {
    let bucket = |bound: &str| view.sum(&format!("{name}_bucket"), &[("le", bound)]);
    let count = view.sum(&format!("{name}_count"), &[]);
    let buckets = ["0.0005", "0.01", "1.0", "30.0", "+Inf"].map(bucket);
    ensure!(buckets.is_sorted() && whole(buckets[4]) == whole(count), "{name}: {buckets:?}, count {count}");
    Ok(whole(count))
}

/// Fails if candidates that were never sent have a duration, if shadows without an answer have none, or if requests of no rule are counted.
fn what_was_sent_is_in_the_histograms_and_nothing_else() -> Result<()> {
    let mirrors = "    mirrors:\n    - destination: {host: httpbin, subset: v2}\n\
                   \x20   - destination: {host: httpbin, subset: empty}\n";
    let setting = Setting::new(&(ROUTE.to_owned() + mirrors)).args(&["--shadow-timeout", "1s"]);
    let theatre = setting.start()?;
    let view = theatre.agent.metrics()?;
    ensure!((count(&view, PRIMARIES)?, count(&view, SHADOWS)?) == (0, 0), "counted before the first request");
    let mut wire = theatre.dial()?;
    for _ in 0..3 {
        from_v1(&wire.exchange(GET)?)?;
    }
    theatre.agent.settled()?;
    from_v1(&wire.exchange(b"GET / HTTP/1.1\r\nHost: httpbin\r\nX-Understudy-Shadow: true\r\n\r\n")?)?;
    wire.exchange(b"GET /elsewhere HTTP/1.1\r\nHost: elsewhere\r\n\r\n")?;
    theatre.v2.recorder.behave(Behaviour::Hang);
    from_v1(&wire.exchange(GET)?)?;
    let view = theatre.outcomes(&[("answered", 3), ("timeout", 1), ("no_endpoint", 4), ("loop", 2)])?;
    ensure!(count(&view, PRIMARIES)? == 5, "{:#?}", view.lines(PRIMARIES));
    ensure!(count(&view, SHADOWS)? == 4, "{:#?}", view.lines(SHADOWS));
    let empty = view.sum(&format!("{SHADOWS}_count"), &[("destination", "httpbin.mirror/empty")]);
    ensure!(whole(empty) == 0, "{empty} shadows were sent to nobody");
    // The one that waited for its timeout of a second is seen as such, and no primary has waited for it.
    let (late, all) =
        (view.sum(&format!("{SHADOWS}_bucket"), &[("le", "0.5")]), view.sum(&format!("{SHADOWS}_sum"), &[]));
    ensure!(whole(late) <= 3 && all >= 1.0, "{late} shadows within half a second, {all} s in all");
    Ok(())
}

/// Exemplars of a histogram's buckets.
fn exemplars<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}_bucket{{")));
    lines.filter_map(|line| Some(line.split_once(" # ")?.1)).collect()
}

/// A label of an exemplar.
fn label<'a>(exemplar: &'a str, name: &str) -> Option<&'a str> {
    exemplar.split_once(&format!("{name}=\""))?.1.split('"').next()
}

fn text(theatre: &Theatre) -> Result<String> {
    let answer = theatre.agent.get_metrics_address("/metrics")?;
    let head = answer.head.to_ascii_lowercase();
    // Prometheus looks for exemplars in no other type.
    ensure!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{head}");
    Ok(answer.text())
}

/// Fails if an exemplar has another id than the log, the trace of nobody, or a value outside of its bucket.
fn an_exemplar_leads_to_the_access_log_and_to_the_trace() -> Result<()> {
    let theatre = Setting::new(MIRROR).start()?;
    theatre.ask_v1()?;
    theatre.agent.settled()?;
    theatre
        .agent
        .metrics_when("the primary has ended", |view| whole(view.sum(&format!("{PRIMARIES}_count"), &[])) == 1)?;
    for name in [PRIMARIES, SHADOWS] {
        let text = text(&theatre)?;
        let exemplars = exemplars(&text, name);
        ensure!(exemplars.len() == 1 && label(exemplars[0], "trace_id").is_none(), "{name}: {exemplars:?}");
    }
    let traced =
        format!("GET /traced HTTP/1.1\r\nHost: httpbin\r\nTraceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n\r\n");
    // A bucket keeps its example for a second: ask until a traced request is one of both.
    integration::wait::until("exemplars with the trace", || {
        from_v1(&theatre.ask(traced.as_bytes())?)?;
        theatre.agent.settled()?;
        let text = text(&theatre)?;
        let is_there = |name| exemplars(&text, name).iter().any(|exemplar| label(exemplar, "trace_id") == Some(TRACE));
        Ok((is_there(PRIMARIES) && is_there(SHADOWS)).then_some(()))
    })?;
    let text = text(&theatre)?;
    let log = theatre.agent.access_log();
    for (name, kind) in [(PRIMARIES, "primary"), (SHADOWS, "shadow")] {
        for exemplar in exemplars(&text, name) {
            let id = label(exemplar, "request_id").with_context(|| format!("no id in {exemplar}"))?;
            let path = if label(exemplar, "trace_id").is_some() { "/traced" } else { "/get" };
            let line = format!(" {id} {kind} \"GET {path} HTTP/1.1\" 200 ");
            integration::wait::until(&format!("{line:?} in the access log"), || {
                Ok(theatre.agent.access_log().contains(&line).then_some(()))
            })
            .with_context(|| log.clone())?;
        }
    }
    // Each is an example of its own bucket.
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| line.contains(" # {")) {
        let (series, exemplar) = line.split_once(" # ").context("no exemplar")?;
        let name = series.split('{').next().unwrap_or_default();
        let bound = label(series, ",le").context("no bound")?;
        let value: f64 = exemplar.rsplit(' ').nth(1).context("no value")?.parse()?;
        ensure!(bound == "+Inf" || value <= bound.parse()?, "{line}");
        seen.insert(name);
    }
    ensure!(seen.len() == 2, "exemplars in {seen:?}");
    Ok(())
}
