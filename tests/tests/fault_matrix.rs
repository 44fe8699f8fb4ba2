//! Whatever v2 does, v1's users cannot tell: every fault of v2 under a mixed load, in its short form. `cargo xtask soak` is the long one, and
//! the one that looks at times.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use integration::{
    case,
    fault_matrix::{
        Fault, Limits, Row, Usage, World,
        row::{closed_again, list, play},
        usage::Watch,
        world::{NEEDS, outcomes_between},
    },
    harness,
    load::{Load, STREAMS, Server},
    theatre::whole,
};

fn main() -> ExitCode {
    harness::main(&[
        case!(no_fault_of_v2_reaches_the_primary).needs(NEEDS),
        case!(no_fault_of_v2_reaches_the_primary_over_http2).needs(NEEDS),
        case!(ten_thousand_requests_while_v2_hangs).needs(NEEDS),
    ])
}

/// Idle connections go soon, so that the end of each is seen; a connect to a black hole is given up before patience ends; answers are cut soon, so
/// that two hundred of 1 GiB take no minutes; and how a shadow ends does not depend on how busy the machine is.
#[rustfmt::skip]
const ARGS: [&str; 8] = [
    "--upstream-idle-timeout", "1s",
    "--connect-timeout", "5s",
    "--shadow-answer-bytes", "1Mi",
    "--shadow-shed-lag", "0s",
];
/// More shadows than the load has requests: no limit decides how one ends.
const LIMITS: Limits = Limits { timeout: 1, max_concurrent: 10_000 };

/// Fails if the primary's body waits for a shadow, if a shadow's end is counted under another name or twice, if an answer of v2 is stored, or if
/// a connection of an ended shadow stays open.
fn no_fault_of_v2_reaches_the_primary() -> Result<()> {
    matrix(&Load { connections: 8, streams: 0, pace: None, requests: Some(25), small: false })?;
    Ok(())
}

/// The same of streams that share connections. Fails if one stream's fault ends its neighbours', or if a stream that v2 does not read stops the
/// primary's.
fn no_fault_of_v2_reaches_the_primary_over_http2() -> Result<()> {
    let world = matrix(&Load { connections: 0, streams: 8, pace: None, requests: Some(25), small: false })?;
    let kind = |kind| world.agent.metrics().map(|m| whole(m.sum("understudy_connections_total", &[("kind", kind)])));
    let (http1, http2) = (kind("http")?, kind("http2")?);
    let due = Fault::ALL.len() * 8 / STREAMS as usize;
    ensure!((http1, http2) == (0, due), "the load had {http1} connections of HTTP/1 and {http2} of HTTP/2, not {due}");
    Ok(())
}

/// Every fault under a load.
fn matrix(load: &Load) -> Result<World> {
    let world = World::start(&ARGS, LIMITS)?;
    let start = Usage::of(world.agent.pid())?;
    println!("{}", Row::head());
    let mut broken = Vec::new();
    for (fault, _) in Fault::ALL {
        let row = play(&world, fault, LIMITS, load).with_context(|| fault.name())?;
        println!("{}", row.line());
        // The other rows are worth seeing too.
        broken.extend(row.check(load).err().map(|error| format!("{error:#}")));
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    for (fault, server) in &world.v2 {
        ensure!(server.broken() == 0, "{}: v2 got {} broken bodies", fault.name(), server.broken());
    }
    let end = closed_again(&world, start)?;
    println!(
        "files and memory: {} and {} KiB at the start, {} and {} at the end",
        start.fds, start.rss, end.fds, end.rss
    );
    Ok(world)
}

/// Requests of whose shadows v2 answers none.
const MANY: u64 = 10_000;
/// The default of `--shadow-max-concurrent`.
const CAP: u64 = 128;

/// Fails if shadows wait in a line instead of being shed, if the limit is exceeded, or if a shed shadow costs a connection.
fn ten_thousand_requests_while_v2_hangs() -> Result<()> {
    // Nothing is to end by its timeout: v2 ends what it holds when all have been sent.
    let limits = Limits { timeout: 600, max_concurrent: CAP as u32 };
    let load = Load { connections: 40, streams: 0, pace: None, requests: Some(MANY / 40), small: true };
    let world = World::start(&ARGS, limits)?;
    let start = Usage::of(world.agent.pid())?;
    let before = world.agent.metrics()?;
    world.set(Fault::Hangs, limits)?;
    let watch = Watch::over(world.agent.pid());
    let report = world.load(&load)?;
    report.all_right()?;
    let hanging = world.agent.metrics_when("all have been sent", |m| whole(m.candidates()) as u64 == MANY)?;
    let (highest, held) = (watch.highest(), Usage::of(world.agent.pid())?);
    ensure!(whole(hanging.sum("understudy_shadows_active", &[])) as u64 == CAP, "not {CAP} shadows are under way");
    let shed = outcomes_between(&before, &hanging);
    ensure!(shed == [("shed_concurrency", MANY - CAP)], "while v2 hangs {} have ended", list(&shed));
    let most = start.fds + 2 * load.connections as usize + CAP as usize + 20;
    ensure!(highest.fds <= most, "{} open files, at most {most} are due", highest.fds);
    world.release();
    let outcomes = outcomes_between(&before, &world.agent.settled()?);
    ensure!(outcomes == [("reset", CAP), ("shed_concurrency", MANY - CAP)], "they ended as {}", list(&outcomes));
    let seen = world.server(Fault::Hangs).map_or(0, Server::requests);
    ensure!(seen == CAP, "v2 saw {seen} requests");
    let end = closed_again(&world, start)?;
    println!(
        "{MANY} requests, {CAP} shadows outstanding: {} files and {} KiB at the start, at most {} and {} while v2 hangs, {} and {} at the end",
        start.fds,
        start.rss,
        highest.fds.max(held.fds),
        highest.rss.max(held.rss),
        end.fds,
        end.rss
    );
    Ok(())
}
