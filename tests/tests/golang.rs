//! Go's net/http as client and as server.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use integration::{
    case,
    golang::{self, Peers},
    harness,
    needs::Need,
    parity::{Said, Twice, setting},
    theatre::{MIRROR, Theatre, VIP},
};

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Cgroup2, Need::Btf, Need::Agent, Need::GolangPeer];

fn main() -> ExitCode {
    harness::main(&[
        case!(requests_on_one_connection).needs(NEEDS),
        case!(bodies_with_and_without_a_length).needs(NEEDS),
        case!(trailers_both_ways).needs(NEEDS),
        case!(expectations).needs(NEEDS),
        case!(requests_in_parallel).needs(NEEDS),
        case!(the_same_over_http2).needs(NEEDS),
    ])
}

fn stage() -> Result<(Theatre, Peers)> {
    let theatre = setting(MIRROR).start()?;
    let peers = Peers::start(&theatre)?;
    Ok((theatre, peers))
}

fn play(theatre: &Theatre, peers: &Peers, name: &str) -> Result<Twice> {
    Twice::run(&theatre.client, VIP, peers.v1.address, |to| golang::ask(to, name))
}

/// Whether a connection is used again is for the two at its ends to say, and the proxy is one of them: it keeps the client's after an answer after which the
/// server has closed its own.
fn whatever_was_reused(said: Said) -> Said {
    Said { out: said.out.replace(r#""reused":false"#, r#""reused":true"#), ..said }
}

fn as_it_is(line: &str) -> String {
    line.to_owned()
}

/// Fails if a status, a field or a body is changed on the way, if HEAD or 304 are taken for what has a body, or if a client whose server closes after an
/// answer is closed too without having been told.
fn requests_on_one_connection() -> Result<()> {
    let (theatre, peers) = stage()?;
    let both = play(&theatre, &peers, "keep-alive")?;
    let new = both.captured.out.matches(r#""reused":false"#).count();
    ensure!(new == 1, "the client made {new} connections to the proxy");
    both.map(whatever_was_reused).same()?;
    peers.agree(11, as_it_is)?;
    theatre.outcomes(&[("answered", 11)])?;
    Ok(())
}

/// Fails if a body of unknown length gets one or the other way round, or if 3 MiB are not the same 3 MiB at v1, at v2 and back at the client.
fn bodies_with_and_without_a_length() -> Result<()> {
    let (theatre, peers) = stage()?;
    play(&theatre, &peers, "bodies")?.same()?;
    peers.agree(8, as_it_is)?;
    theatre.outcomes(&[("answered", 8)])?;
    Ok(())
}

/// Fails if trailers of a request or of an answer are lost, also those that were not announced; or if they need a `TE` that Go does not send.
fn trailers_both_ways() -> Result<()> {
    let (theatre, peers) = stage()?;
    let said = play(&theatre, &peers, "trailers")?.same()?;
    ensure!(
        said.out.matches(r#""X-Unannounced":["too"]"#).count() == 2 && said.out.contains("X-Echo-X-Later"),
        "{}",
        said.out
    );
    peers.agree(2, as_it_is)?;
    theatre.outcomes(&[("answered", 2)])?;
    Ok(())
}

/// Whether a client sends what the server has refused already hangs on the server's `Connection: close` beside its 417, which is the proxy's to see and not the
/// client's: one sees it and stops, the other sends.
fn whatever_was_sent_in_vain(said: Said) -> Said {
    let lines = said.out.lines().map(|line| match line.contains("417 ") {
        true => line.replace(r#""sent":70000"#, r#""sent":0"#),
        false => line.to_owned(),
    });
    Said { out: lines.collect::<Vec<_>>().join("\n"), ..said }
}

/// Fails if a 100 comes that v1 did not send, if none comes (Go's client waits for minutes), or if 103 gets lost.
fn expectations() -> Result<()> {
    let (theatre, peers) = stage()?;
    let said = play(&theatre, &peers, "expect")?.map(whatever_was_reused).map(whatever_was_sent_in_vain).same()?;
    ensure!(said.out.contains(r#""interim":["103 "#), "{}", said.out);
    // Whose expectation fails sends no body and hangs up: his shadow has its answer by then or is cancelled, maybe before v2 was connected to.
    theatre.agent.metrics_when("three candidates", |m| m.candidates() > 2.5)?;
    let view = theatre.agent.settled()?;
    let (answered, cancelled) = (view.outcome("answered"), view.outcome("cancelled"));
    ensure!(answered + cancelled == 3.0 && answered >= 2.0, "{:?}", view.lines("understudy_shadow_requests"));
    peers.agree_but_for(r#""target":"/refuse""#, 3, as_it_is)
}

/// Fails if answers or shadows of requests in flight together are mixed up.
fn requests_in_parallel() -> Result<()> {
    let (theatre, peers) = stage()?;
    let said = play(&theatre, &peers, "parallel")?.same()?;
    ensure!(said.out.lines().count() == 20, "{}", said.out);
    peers.agree(20, as_it_is)?;
    theatre.outcomes(&[("answered", 20)])?;
    Ok(())
}

/// Fails if a request of HTTP/2 is taken apart otherwise than one of HTTP/1: bodies, trailers and streams in flight together.
fn the_same_over_http2() -> Result<()> {
    let (theatre, peers) = stage()?;
    let plays = [("h2-keep-alive", 11), ("h2-bodies", 8), ("h2-trailers", 2), ("h2-parallel", 20)];
    for (name, answers) in plays {
        let said = play(&theatre, &peers, name)?.map(whatever_was_reused).same().context(name)?;
        ensure!(said.out.matches(r#""proto":"HTTP/2.0""#).count() == answers, "{name}: {}", said.out);
    }
    let requests = plays.iter().map(|(_, answers)| answers).sum();
    peers.agree(requests, as_it_is)?;
    theatre.outcomes(&[("answered", requests)])?;
    Ok(())
}
