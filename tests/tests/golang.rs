//! Go's net/http as client and as server.

use std::process::ExitCode;

use anyhow::{Result, ensure};
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
        case!(requests_in_parallel).needs(NEEDS),
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
    peers.agree(6, as_it_is)?;
    theatre.outcomes(&[("answered", 6)])?;
    Ok(())
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
