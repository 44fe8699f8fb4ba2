//! gRPC between two ends of `grpcio`: what a call says, how it ends, and what the server hears of a client that gave up.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    case, grpc, harness,
    needs::Need,
    parity::{Said, Server, Twice, equal, pairs, setting},
    theatre::{MIRROR, Theatre, VIP, whole},
};

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::PythonPeers, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[
        case!(calls_of_every_kind).needs(NEEDS),
        case!(statuses_and_messages).needs(NEEDS),
        case!(clients_that_give_up).needs(NEEDS),
        case!(calls_at_once).needs(NEEDS),
    ])
}

/// v1 and v2; whoever is not captured comes to v1 too.
fn stage() -> Result<(Theatre, Server, Server)> {
    let theatre = setting(MIRROR).start()?;
    let (v1, v2) = (grpc::serve(&theatre.node, &theatre.v1.pod)?, grpc::serve(&theatre.node, &theatre.v2.pod)?);
    theatre.node.cluster_ip(VIP, &[v1.address])?;
    Ok((theatre, v1, v2))
}

fn play(theatre: &Theatre, v1: &Server, name: &str) -> Result<Said> {
    Twice::run(&theatre.client, VIP, v1.address, |to| grpc::client(to, name))?.same()
}

/// v1 saw all calls twice, and v2 each once, as shadows.
fn agree(v1: &Server, v2: &Server, calls: usize) -> Result<()> {
    let primaries = pairs(&v1.lines(2 * calls)?)?;
    let mark = r#"["x-understudy-shadow", "true"]"#;
    let mut copies = Vec::new();
    for line in v2.lines(calls)? {
        ensure!(line.contains(mark), "v2 got what is no shadow: {line}");
        copies.push(line.replace(&format!(", {mark}"), "").replace(mark, ""));
    }
    copies.sort();
    equal("v2 was called", &copies.join("\n"), &primaries.join("\n"))
}

/// Fails if a message, a piece of metadata or a trailer is lost, or if one direction of a stream waits for the other's end.
fn calls_of_every_kind() -> Result<()> {
    let (theatre, v1, v2) = stage()?;
    let said = play(&theatre, &v1, "kinds")?;
    let calls = said.out.lines().count();
    ensure!(calls == 10 && said.out.matches(r#""code": "OK""#).count() == calls, "{}", said.out);
    ensure!(!said.out.contains(r#""same": false"#), "{}", said.out);
    agree(&v1, &v2, calls)?;
    theatre.outcomes(&[("answered", calls)])?;
    Ok(())
}

/// Fails if a status or its message is lost: they come in trailers, or in a head that is all there is.
fn statuses_and_messages() -> Result<()> {
    let (theatre, v1, v2) = stage()?;
    let said = play(&theatre, &v1, "statuses")?;
    for code in ["FAILED_PRECONDITION", "DATA_LOSS", "UNIMPLEMENTED"] {
        ensure!(said.out.contains(code), "no {code} in {}", said.out);
    }
    // Nobody is there to write down a method that is not.
    agree(&v1, &v2, 2)?;
    theatre.outcomes(&[("answered", 3)])?;
    Ok(())
}

/// Fails if `grpc-timeout` does not get through, or a reset of a stream neither way.
fn clients_that_give_up() -> Result<()> {
    let (theatre, v1, v2) = stage()?;
    let said = play(&theatre, &v1, "giving up")?;
    ensure!(said.out.contains("DEADLINE_EXCEEDED") && said.out.contains("CANCELLED"), "{}", said.out);
    // The server writes a call down once it has heard of its end.
    let lines = v1.lines(4)?;
    pairs(&lines)?;
    ensure!(lines.iter().all(|line| line.contains(r#""active": false"#)), "{lines:?}");
    // The deadline went to v2 with the copy. A copy that was complete lives on after its client has given up: here until v2 is gone.
    ensure!(v2.lines(1)?[0].contains(r#""deadline": true, "active": false"#), "{}", v2.log());
    drop(v2);
    let view = theatre.agent.settled()?;
    ensure!(whole(view.candidates()) == 2, "{:?}", view.lines("understudy_shadow_"));
    Ok(())
}

/// Fails if streams of one connection are mixed up.
fn calls_at_once() -> Result<()> {
    let (theatre, v1, v2) = stage()?;
    let said = play(&theatre, &v1, "at once")?;
    ensure!(said.out.lines().count() == 1 && !said.out.contains("false"), "{}", said.out);
    agree(&v1, &v2, 30)?;
    theatre.outcomes(&[("answered", 30)])?;
    Ok(())
}
