//! `--access-log`: a line for each primary and each candidate of a mirror, tied together by an id.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, Theatre, Wire, case, harness,
    script::{Cue, Script},
    theatre::{ANSWER, GET, MIRROR, NEEDS, PORT, ROUTE, Setting, from_v1, whole},
    wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

fn main() -> ExitCode {
    harness::main(&[
        case!(a_primary_and_its_shadow_share_an_id).needs(NEEDS),
        case!(every_line_is_one_line_of_json).needs(NEEDS),
        case!(every_candidate_has_a_line).needs(NEEDS),
        case!(a_shadow_that_ends_first_waits_for_its_primary).needs(NEEDS),
        case!(a_shadow_that_ends_last_is_logged_at_its_end).needs(NEEDS),
        case!(a_client_that_goes_away_takes_no_line_with_it).needs(NEEDS),
        case!(what_a_drain_cuts_off_is_logged).needs(NEEDS),
        case!(a_client_cannot_forge_a_line).needs(NEEDS),
    ])
}

fn lines(theatre: &Theatre, count: usize) -> Result<Vec<String>> {
    let lines = wait::until(&format!("{count} lines in the access log"), || {
        let log = theatre.agent.access_log();
        let lines: Vec<_> = log.lines().map(ToOwned::to_owned).collect();
        Ok((lines.len() >= count && log.ends_with('\n')).then_some(lines))
    })?;
    ensure!(lines.len() == count, "{} lines instead of {count}:\n{}", lines.len(), lines.join("\n"));
    Ok(lines)
}

/// `[time] id kind "METHOD path version" status …`
fn id_and_kind(line: &str) -> Result<(&str, &str)> {
    let mut words = line.split(' ').skip(1);
    Ok((words.next().context("no id")?, words.next().context("no kind")?))
}

/// Fails if the shadow draws an id of its own, or a line is written twice or not at all.
fn a_primary_and_its_shadow_share_an_id() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    for i in 0..5 {
        from_v1(&wire.exchange(format!("GET /{i} HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n").as_bytes())?)?;
    }
    // One that no rule is concerned with has no shadow.
    wire.exchange(b"GET /elsewhere HTTP/1.1\r\nHost: elsewhere\r\n\r\n")?;
    theatre.outcomes(&[("answered", 5)])?;
    drop(wire);
    let lines = lines(&theatre, 11)?;
    let find = |kind: &str, text: &str| {
        let mut found =
            lines.iter().filter(|line| id_and_kind(line).is_ok_and(|(_, k)| k == kind) && line.contains(text));
        let line = found.next().with_context(|| format!("no {kind} of {text} in\n{}", lines.join("\n")))?;
        ensure!(found.next().is_none(), "two lines for {kind} of {text}");
        Ok(line)
    };
    for i in 0..5 {
        let request = format!("\"GET /{i} HTTP/1.1\" 200 ");
        let (primary, shadow) = (find("primary", &request)?, find("shadow", &request)?);
        ensure!(id_and_kind(primary)?.0 == id_and_kind(shadow)?.0, "other ids:\n{primary}\n{shadow}");
        ensure!(
            primary.contains("\"httpbin:8000\"") && shadow.contains("\"httpbin-shadow:8000\""),
            "{primary}\n{shadow}"
        );
        ensure!(shadow.contains("answered"), "{shadow}");
        ensure!(primary.contains(&theatre.v1.pod.v4().to_string()), "no endpoint in {primary}");
        ensure!(shadow.contains(&theatre.v2.pod.v4().to_string()), "no endpoint in {shadow}");
    }
    find("primary", "GET /elsewhere ")?;
    let mut ids: Vec<_> = lines.iter().filter_map(|line| Some(id_and_kind(line).ok()?.0)).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == 6, "{} ids for six requests", ids.len());
    Ok(())
}

/// What a line of text says under a name: ` name=value`.
fn said<'a>(line: &'a str, name: &str) -> Result<&'a str> {
    let (_, rest) = line.split_once(&format!(" {name}=")).with_context(|| format!("no {name} in {line}"))?;
    Ok(rest.split(' ').next().unwrap_or(rest))
}

/// Status and duration that a primary's line begins with: `… HTTP/1.1" 200 0 3 4.213ms …`.
fn primary_end(line: &str) -> Result<(&str, &str)> {
    let (_, rest) = line.split_once("HTTP/1.1\" ").with_context(|| format!("no version in {line}"))?;
    let words: Vec<_> = rest.split(' ').collect();
    Ok((words[0], words[3]))
}

/// Fails if `--log-format json` leaves the access log as text, or if a shadow's line says something else of its primary than the primary's own.
fn every_line_is_one_line_of_json() -> Result<()> {
    let theatre = Setting::new(MIRROR).args(&["--log-format", "json"]).start()?;
    from_v1(&theatre.ask(GET)?)?;
    theatre.outcomes(&[("answered", 1)])?;
    theatre.v2.recorder.behave(Behaviour::Reset);
    from_v1(&theatre.ask(GET)?)?;
    theatre.outcomes(&[("answered", 1), ("reset", 1)])?;
    let objects =
        lines(&theatre, 4)?.iter().map(|line| serde_json::from_str(line)).collect::<Result<Vec<Value>, _>>()?;
    for (outcome, status) in [("answered", Value::from(200)), ("reset", Value::Null)] {
        let shadow = objects.iter().find(|object| object["outcome"] == outcome).context(outcome)?;
        let primary = objects.iter().find(|object| object["kind"] == "primary" && object["id"] == shadow["id"]);
        let primary = primary.with_context(|| format!("no primary of {shadow}"))?;
        ensure!(shadow["status"] == status && shadow["duration_ms"].is_f64(), "{shadow}");
        ensure!(primary["status"] == 200 && primary["duration_ms"].is_f64(), "{primary}");
        for field in ["status", "duration_ms"] {
            ensure!(shadow[format!("primary_{field}")] == primary[field], "{field}:\n{primary}\n{shadow}");
        }
    }
    Ok(())
}

/// Fails if a way to end a candidate has no line, or two; the metrics say how many there must be of each.
fn every_candidate_has_a_line() -> Result<()> {
    const MIRRORS: &str = "    mirrors:\n    - destination: {host: httpbin, subset: v2}\n\
        \x20   - destination: {host: httpbin, subset: empty}\n    - destination: {host: httpbin, subset: unheard-of}\n\
        \x20   - destination: {host: httpbin, subset: v2}\n      percentage: {value: 0.0001}\n";
    let limits = ["--shadow-methods", "GET", "--shadow-max-concurrent", "1", "--shadow-timeout", "2s"];
    let theatre = Setting::new(&(ROUTE.to_owned() + MIRRORS)).args(&limits).start()?;
    theatre.ask_v1()?;
    theatre.agent.settled()?;
    for request in ["POST / HTTP/1.1\r\nContent-Length: 0\r\n", "GET /loop HTTP/1.1\r\nX-Understudy-Shadow: true\r\n"] {
        from_v1(&theatre.ask(format!("{request}Host: httpbin\r\n\r\n").as_bytes())?)?;
    }
    let upgrade = b"GET /up HTTP/1.1\r\nHost: httpbin\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    from_v1(&theatre.ask(upgrade)?)?;
    theatre.v2.recorder.behave(Behaviour::Hang);
    for _ in 0..2 {
        theatre.ask_v1()?;
    }
    let view = theatre.agent.settled()?;
    let candidates = whole(view.candidates());
    ensure!(candidates == 6 * 4, "{candidates} candidates");
    let lines = lines(&theatre, 6 + candidates)?;
    let shadows: Vec<_> =
        lines.iter().filter(|line| id_and_kind(line).is_ok_and(|(_, kind)| kind == "shadow")).collect();
    let mut named = 0;
    for outcome in [
        "answered",
        "timeout",
        "no_endpoint",
        "unknown_destination",
        "shed_concurrency",
        "sampled_out",
        "method_excluded",
        "not_mirrorable",
        "loop",
    ] {
        for mirror in ["0", "1", "2", "3"] {
            let counted = view.sum("understudy_shadow_requests_total", &[("mirror", mirror), ("outcome", outcome)]);
            let word = format!("\" {outcome} rule=");
            let found =
                shadows.iter().filter(|line| line.contains(&word) && said(line, "mirror").is_ok_and(|m| m == mirror));
            let found = found.count();
            ensure!(
                found == whole(counted),
                "{found} lines and {counted} shadows of mirror {mirror} ended as {outcome}"
            );
            named += found;
        }
        ensure!(whole(view.outcome(outcome)) > 0, "nothing ended as {outcome}");
    }
    ensure!(named == candidates, "{named} of {candidates} lines have a known outcome");
    for line in shadows {
        ensure!(said(line, "primary")? == "200" && said(line, "primary_duration")?.ends_with("ms"), "{line}");
        let sent = [" answered rule=", " timeout rule="].iter().any(|outcome| line.contains(outcome));
        ensure!((said(line, "endpoint")? == "-") != sent && line.contains("\"-\" ") != sent, "{line}");
    }
    Ok(())
}

/// A v1 that answers when it gets its cue, after it has given the test the other one.
fn hesitant(theatre: &Theatre) -> Result<(Script, Cue, Cue)> {
    let (asked, go) = (Cue::default(), Cue::default());
    let (asks, goes) = (asked.clone(), go.clone());
    let script = Script::start(theatre.v1.pod.netns(), theatre.v1.address(PORT), move |mut wire: Wire| {
        wire.head()?;
        asks.give();
        goes.wait(1)?;
        wire.send([ANSWER.0, ANSWER.1].concat().as_bytes())
    })?;
    Ok((script, asked, go))
}

/// Fails if the shadow's line is written before anybody knows how its primary ends, or is lost while it waits.
fn a_shadow_that_ends_first_waits_for_its_primary() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1_port_free().start()?;
    let (_v1, asked, go) = hesitant(&theatre)?;
    let mut wire = theatre.dial()?;
    wire.send(GET)?;
    asked.wait(1)?;
    theatre.outcomes(&[("answered", 1)])?;
    // Another request, of no rule: its line is written after the shadow has ended.
    theatre.ask(b"GET /elsewhere HTTP/1.1\r\nHost: elsewhere\r\n\r\n")?;
    let before = lines(&theatre, 1)?;
    ensure!(before[0].contains("/elsewhere"), "{before:?}");
    go.give();
    from_v1(&wire.answer()?)?;
    let lines = lines(&theatre, 3)?;
    let (primary, shadow) = (&lines[1], &lines[2]);
    ensure!(id_and_kind(primary)?.1 == "primary" && id_and_kind(shadow)?.1 == "shadow", "{lines:#?}");
    let end = primary_end(primary)?;
    ensure!(end.0 == "200" && (said(shadow, "primary")?, said(shadow, "primary_duration")?) == end, "{lines:#?}");
    Ok(())
}

/// Fails if the primary's line waits for its shadow's, or if the shadow forgets how its primary has ended.
fn a_shadow_that_ends_last_is_logged_at_its_end() -> Result<()> {
    let theatre = Setting::new(MIRROR).v2_port_free().start()?;
    let cue = Cue::default();
    let goes = cue.clone();
    let _v2 = Script::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), move |mut wire| {
        wire.head()?;
        goes.wait(1)?;
        wire.send(b"HTTP/1.1 202 Late\r\nContent-Length: 2\r\n\r\nok")
    })?;
    theatre.ask_v1()?;
    let primary = lines(&theatre, 1)?.remove(0);
    ensure!(id_and_kind(&primary)?.1 == "primary", "{primary}");
    cue.give();
    theatre.outcomes(&[("answered", 1)])?;
    let shadow = lines(&theatre, 2)?.remove(1);
    ensure!(shadow.contains("\" 202 0 2 ") && shadow.contains(" answered "), "{shadow}");
    ensure!(
        (said(&shadow, "primary")?, said(&shadow, "primary_duration")?) == primary_end(&primary)?,
        "{primary}\n{shadow}"
    );
    Ok(())
}

/// Fails if lines that wait are only written when the primary has an answer.
fn a_client_that_goes_away_takes_no_line_with_it() -> Result<()> {
    let theatre = Setting::new(MIRROR).v1(Behaviour::Hang).start()?;
    let mut wire = theatre.dial()?;
    wire.send(GET)?;
    theatre.outcomes(&[("answered", 1)])?;
    wire.reset()?;
    let lines = lines(&theatre, 2)?;
    ensure!(primary_end(&lines[0])?.0 == "-" && id_and_kind(&lines[0])?.1 == "primary", "{lines:#?}");
    ensure!(said(&lines[1], "primary")? == "-" && lines[1].contains(" answered "), "{lines:#?}");
    Ok(())
}

/// Fails if the process ends without dropping what is under way: then neither the primary nor the shadow that waits for it has a line.
fn what_a_drain_cuts_off_is_logged() -> Result<()> {
    let mut theatre = Setting::new(MIRROR).v1(Behaviour::Hang).args(&["--drain-timeout", "1s"]).start()?;
    let mut wire = theatre.dial()?;
    wire.send(GET)?;
    theatre.outcomes(&[("answered", 1)])?;
    theatre.v2.recorder.behave(Behaviour::Hang);
    let mut other = theatre.dial()?;
    other.send(GET)?;
    theatre.v2.recorder.wait_for(2)?;
    let process = theatre.agent.process();
    process.signal(Signal::SIGTERM)?;
    ensure!(process.wait()?.success(), "the agent did not end well:\n{}", process.tail(20));
    ensure!(!process.log().contains("panicked"), "{}", process.log());
    let log = theatre.agent.access_log();
    ensure!(log.lines().count() == 4, "{log}");
    let count = |word: &str| log.matches(word).count();
    ensure!(count(" primary \"GET /get HTTP/1.1\" - ") == 2 && count(" primary=- ") == 2, "{log}");
    ensure!(count(" answered ") == 1 && count(" draining ") == 1, "{log}");
    Ok(())
}

/// Fails if a request's bytes are written as they came.
fn a_client_cannot_forge_a_line() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let forged = "GET /\"%0A[x]\u{1b}[31m HTTP/1.1\r\nHost: httpbin\r\nX: \"\r\n\r\n";
    let mut wire = theatre.dial()?;
    wire.send(forged.as_bytes())?;
    let _ = wire.answer()?;
    from_v1(&theatre.ask(GET)?)?;
    theatre.agent.settled()?;
    wait::until("the honest lines are written", || {
        Ok((theatre.agent.access_log().matches("GET /get ").count() >= 2).then_some(()))
    })?;
    let log = theatre.agent.access_log();
    ensure!(!log.contains('\u{1b}'), "an escape sequence is in the log: {log:?}");
    ensure!(log.lines().all(|line| line.starts_with('[') && id_and_kind(line).is_ok()), "{log}");
    Ok(())
}
