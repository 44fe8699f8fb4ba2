//! What the application sees of its own socket: with capture, exactly what it would see without.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Stage, case, client, harness,
    needs::Need,
    seed::VIP,
    stage::{VIP6, Way},
};
use libc::IPPROTO_TCP;

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[
        case!(names_are_those_of_a_native_connection_whatever_rp_filter_says).needs(NEEDS),
        case!(a_mapped_socket_is_captured_by_the_v4_rule_and_sees_mapped_names).needs(NEEDS),
        case!(the_server_sees_the_pods_address).needs(NEEDS),
        case!(the_names_stay_while_the_hooks_come_and_go).needs(NEEDS),
    ])
}

/// How a client makes its connection, and what its socket is called then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    case: String,
    peer: SocketAddr,
    /// The port only if the client chose it.
    local: SocketAddr,
}

/// `::ffff:a.b.c.d` as a socket address of IPv6.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    }
}

/// Every way to bind, in every family.
fn variants(stage: &Stage) -> Result<Vec<(String, Option<SocketAddr>, SocketAddr)>> {
    let own = SocketAddr::from((stage.client.v4(), 0));
    let own6 = SocketAddr::from((stage.client.v6().context("the stage is not dual-stack")?, 0));
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let any6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let families = [("IPv4", VIP, any, own), ("mapped", mapped(VIP), any6, mapped(own)), ("IPv6", VIP6, any6, own6)];
    let mut all = Vec::new();
    for (number, (family, to, any, own)) in (0_u16..).zip(families) {
        let fixed = |mut address: SocketAddr, last: u16| {
            address.set_port(23_000 + number * 10 + last);
            Some(address)
        };
        for (how, from) in [
            ("unbound", None),
            ("any address, port 0", Some(any)),
            ("any address, fixed port", fixed(any, 1)),
            ("own address, port 0", Some(own)),
            ("own address, fixed port", fixed(own, 2)),
        ] {
            all.push((format!("{family}, {how}"), from, to));
        }
    }
    Ok(all)
}

/// The names of one connection of each variant, and the way it went.
fn names(stage: &Stage) -> Result<Vec<(Names, Way)>> {
    let one = |(case, from, to): (String, Option<SocketAddr>, SocketAddr)| {
        let mut stream =
            stage.client.run(|| client::connect_from(from, to, IPPROTO_TCP)).with_context(|| case.clone())?;
        let mut local = stream.local_addr()?;
        if from.is_none_or(|from| from.port() == 0) {
            ensure!(local.port() != 0, "{case}: no port");
            local.set_port(0);
        }
        let peer = stream.peer_addr()?;
        let way = stage.ask_on(&mut stream).with_context(|| case.clone())?;
        // The same port is used again: it must not wait for the old connection's end.
        nix::sys::socket::setsockopt(
            &stream,
            nix::sys::socket::sockopt::Linger,
            &libc::linger { l_onoff: 1, l_linger: 0 },
        )?;
        Ok((Names { case, peer, local }, way))
    };
    variants(stage)?.into_iter().map(one).collect()
}

/// T38. Fails without the getpeername hooks, without the getsockname hooks (a socket bound to any address and a port of its own cannot be
/// bound again, so its name would be loopback), and if the answer of one of them has the wrong family or port.
fn names_are_those_of_a_native_connection_whatever_rp_filter_says() -> Result<()> {
    let mut stage = Stage::builder().dual_stack().lay()?;
    let native = names(&stage)?;
    stage.start_agent()?;
    for rp_filter in ["0", "1", "2"] {
        for device in ["all", "lo", "eth0"] {
            stage.client.netns().sysctl(&format!("ipv4/conf/{device}/rp_filter"), rp_filter)?;
        }
        for ((before, _), (now, way)) in native.iter().zip(names(&stage)?) {
            ensure!(*before == now, "rp_filter {rp_filter}: without us {before:?}, with us {now:?}");
            ensure!(way == Way::Captured, "rp_filter {rp_filter}: {} was not captured", now.case);
        }
        stage.captured()?;
    }
    Ok(())
}

/// T31: what Java and Go do by default. Fails if `connect6` looks `::ffff:a.b.c.d` up as IPv6, or writes plain addresses into such a socket.
fn a_mapped_socket_is_captured_by_the_v4_rule_and_sees_mapped_names() -> Result<()> {
    let stage = Stage::builder().up()?;
    let to = mapped(VIP);
    for _ in 0..3 {
        let mut stream = stage.client.run(|| client::connect_from(None, to, IPPROTO_TCP))?;
        ensure!(stream.peer_addr()? == to, "getpeername says {}", stream.peer_addr()?);
        let own = stage.client.v4().to_ipv6_mapped();
        ensure!(stream.local_addr()?.ip() == own, "getsockname says {}", stream.local_addr()?);
        ensure!(stage.ask_on(&mut stream)? == Way::Captured, "{to} was not captured");
    }
    stage.captured()
}

/// T54 for capture's part. Fails if upstream sockets are made in the agent's own namespace.
fn the_server_sees_the_pods_address() -> Result<()> {
    let stage = Stage::builder().dual_stack().up()?;
    for to in [VIP, VIP6] {
        ensure!(stage.ask_at(&stage.client, to)? == Way::Captured);
    }
    let own = stage.client.ips();
    for (version, recorder) in [("v1", &stage.v1), ("v2", &stage.v2)] {
        for peer in recorder.peers() {
            // v1's pod is also where the control flow goes, but to another recorder.
            ensure!(own.contains(&peer.ip().to_canonical()), "{version} was connected to by {peer}");
        }
    }
    stage.captured()
}

/// A keep-alive connection that was captured keeps its names when its pod is no longer enrolled. Fails if the names are looked up by
/// enrolment rather than by socket.
fn the_names_stay_while_the_hooks_come_and_go() -> Result<()> {
    let stage = Stage::builder().up()?;
    let stream = stage.client.run(|| client::connect(VIP))?;
    let before = (stream.peer_addr()?, stream.local_addr()?);
    ensure!(before.0 == VIP && before.1.ip() == stage.client.v4());
    stage.enrol(false)?;
    stage.native()?;
    ensure!((stream.peer_addr()?, stream.local_addr()?) == before, "the names changed from {before:?}");
    stage.enrol(true)?;
    stage.captured()
}
