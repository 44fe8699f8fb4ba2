//! What a shadow may cost: bytes of its answer, memory in the kernel, descriptors. Its end gives all of it back.

use std::{fs, net::SocketAddr, process::ExitCode};

use anyhow::{Result, ensure};
use integration::{
    Behaviour, Theatre, case, harness,
    theatre::{GET, MIRROR, NEEDS, PORT, Setting, from_v1, noise, whole},
    wait,
};

fn main() -> ExitCode {
    harness::main(&[
        case!(an_answer_without_end_is_read_up_to_the_bound).needs(NEEDS),
        case!(a_given_up_shadow_leaves_nothing_in_the_kernel).needs(NEEDS),
        case!(an_early_answer_frees_the_connection).needs(NEEDS),
        case!(the_last_descriptors_are_not_for_shadows).needs(NEEDS),
    ])
}

/// Sockets of the client's namespace that are connected to `to`, or still have something to send there.
fn sockets(theatre: &Theatre, to: SocketAddr) -> Result<Vec<String>> {
    let SocketAddr::V4(to) = to else { anyhow::bail!("not IPv4") };
    let remote = format!("{:08X}:{:04X}", u32::from_le_bytes(to.ip().octets()), to.port());
    let table = theatre.client.run(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?))?;
    let sockets = table.lines().filter(|line| {
        let mut fields = line.split_whitespace().skip(2);
        // 06 is TIME_WAIT: an end in peace.
        fields.next() == Some(&remote) && fields.next() != Some("06")
    });
    Ok(sockets.map(str::to_owned).collect())
}

/// Waits until nothing is left of the shadows' connections.
fn all_gone(theatre: &Theatre) -> Result<()> {
    let v2 = theatre.v2.address(PORT);
    let mut left = Vec::new();
    let gone = wait::until("no socket to v2 is left", || {
        left = sockets(theatre, v2)?;
        Ok(left.is_empty().then_some(()))
    });
    gone.map_err(|error| error.context(format!("left:\n{}", left.join("\n"))))
}

fn gauge(theatre: &Theatre, name: &str) -> Result<usize> {
    Ok(whole(theatre.agent.metrics()?.sum(name, &[])))
}

/// Fails if an answer is read to its end, if a cut one is no answer, or if its connection is kept.
fn an_answer_without_end_is_read_up_to_the_bound() -> Result<()> {
    const ASKED: usize = 20;
    const BOUND: usize = 1 << 20;
    let args = ["--shadow-answer-bytes", "1Mi", "--shadow-timeout", "60s"];
    let theatre = Setting::new(MIRROR).v2(Behaviour::Endless).args(&args).start()?;
    theatre.ask_v1()?;
    theatre.outcomes(&[("answered", 1)])?;
    let before = gauge(&theatre, "process_resident_memory_bytes")?;
    let mut wire = theatre.dial()?;
    for _ in 1..ASKED {
        from_v1(&wire.exchange(GET)?)?;
    }
    let view = theatre.outcomes(&[("answered", ASKED)])?;
    ensure!(whole(view.sum("understudy_shadow_answers_cut_total", &[])) == ASKED, "not every answer was cut");
    all_gone(&theatre)?;
    let (sent, after) = (theatre.v2.recorder.endless() as usize, gauge(&theatre, "process_resident_memory_bytes")?);
    println!("{ASKED} answers without end: v2 got rid of {} KiB of each", (sent / ASKED) >> 10);
    println!("resident memory {} KiB before, {} KiB after", before >> 10, after >> 10);
    // What v2's kernel had taken but not sent counts as well: up to 4 MiB (net.ipv4.tcp_wmem).
    ensure!(sent < ASKED * (BOUND + (8 << 20)), "v2 got rid of {sent} bytes");
    ensure!(after < before + ASKED * BOUND, "answers are kept");
    wait::until("both lines of every request are in the access log", || {
        Ok((theatre.agent.access_log().matches(" answer=cut").count() == ASKED).then_some(()))
    })
}

fn upload(theatre: &Theatre, length: usize) -> Result<()> {
    let mut wire = theatre.dial()?;
    wire.send(format!("POST /up HTTP/1.1\r\nHost: httpbin\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
    wire.send(&noise(length))?;
    from_v1(&wire.answer()?)
}

/// Fails if a connection with unsent bytes is closed instead of reset: the kernel would hold them for minutes, for a peer that does not read.
fn a_given_up_shadow_leaves_nothing_in_the_kernel() -> Result<()> {
    let theatre = Setting::new(MIRROR).v2(Behaviour::Deaf).args(&["--shadow-timeout", "2s"]).start()?;
    upload(&theatre, 16 << 20)?;
    theatre.outcomes(&[("too_slow", 1)])?;
    all_gone(&theatre)?;
    // The whole of this one fits into the shadow's buffer and the kernel's.
    upload(&theatre, 1 << 20)?;
    theatre.outcomes(&[("too_slow", 1), ("timeout", 1)])?;
    all_gone(&theatre)?;
    theatre.agent.gave_back()?;
    Ok(())
}

/// Fails if the connection of a shadow that is answered goes on with a body that nobody reads.
fn an_early_answer_frees_the_connection() -> Result<()> {
    let args = ["--shadow-buffer-bytes", "32Mi"];
    let theatre = Setting::new(MIRROR).v2(Behaviour::EarlyThenDeaf).args(&args).start()?;
    upload(&theatre, 16 << 20)?;
    theatre.outcomes(&[("answered", 1)])?;
    all_gone(&theatre)?;
    theatre.agent.gave_back()?;
    Ok(())
}

/// Fails if shadows that hang take the descriptors that clients and primaries need.
fn the_last_descriptors_are_not_for_shadows() -> Result<()> {
    const LIMIT: usize = 400;
    // Without the capability the agent cannot raise the limit, as in most clusters.
    let limit = format!("--nofile={LIMIT}:{LIMIT}");
    let under = ["prlimit", &limit, "setpriv", "--bounding-set", "-sys_resource"];
    let args = ["--shadow-max-concurrent", "1000", "--shadow-timeout", "10s"];
    let theatre = Setting::new(MIRROR).v2(Behaviour::Hang).under(&under).args(&args).start()?;
    let mut wires = Vec::new();
    let shed = |theatre: &Theatre| Ok::<_, anyhow::Error>(whole(theatre.agent.metrics()?.outcome("shed_overload")));
    while shed(&theatre)? < 5 {
        let mut wire = theatre.dial()?;
        from_v1(&wire.exchange(GET)?)?;
        wires.push(wire);
        ensure!(wires.len() < LIMIT, "{} connections, and shadows are still taken", wires.len());
    }
    let open = gauge(&theatre, "process_open_fds")?;
    println!("{open} descriptors of {LIMIT} open with {} clients; {} shadows shed", wires.len(), shed(&theatre)?);
    ensure!(open < LIMIT, "no descriptor is left");
    // The shadows end by their timeout; then there is room for more.
    theatre.agent.settled()?;
    all_gone(&theatre)?;
    theatre.v2.recorder.behave(Behaviour::Ok(b"two".to_vec()));
    from_v1(&wires[0].exchange(GET)?)?;
    let shed = shed(&theatre)?;
    let view = theatre.agent.settled()?;
    ensure!(whole(view.outcome("answered")) == 1, "no room for a shadow after all have ended");
    theatre.outcomes(&[("answered", 1), ("shed_overload", shed), ("timeout", wires.len() - shed)])?;
    Ok(())
}
