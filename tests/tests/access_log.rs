//! `--access-log`: a line for each primary and each shadow, tied together by an id.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use integration::{
    Theatre, case, harness,
    theatre::{GET, MIRROR, NEEDS, Setting, from_v1},
    wait,
};

fn main() -> ExitCode {
    harness::main(&[
        case!(a_primary_and_its_shadow_share_an_id).needs(NEEDS),
        case!(every_line_is_one_line_of_json).needs(NEEDS),
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

/// Fails if `--log-format json` leaves the access log as text.
fn every_line_is_one_line_of_json() -> Result<()> {
    let theatre = Setting::new(MIRROR).args(&["--log-format", "json"]).start()?;
    from_v1(&theatre.ask(GET)?)?;
    theatre.outcomes(&[("answered", 1)])?;
    for line in lines(&theatre, 2)? {
        ensure!(line.starts_with('{') && line.ends_with('}') && line.contains("\"id\":"), "{line}");
    }
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
