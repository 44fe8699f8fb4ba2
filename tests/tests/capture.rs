//! What is taken and what is not: families, protocols, loopback, ports of others.

use std::{
    fs,
    io::{Read as _, Write as _},
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::{linux::net::SocketAddrExt as _, unix::net},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, Pod, Recorder, Stage, case, client, harness,
    needs::Need,
    paths,
    seed::VIP,
    stage::{TARGET, VIP6, Way, canonical},
    wait::PATIENCE,
};
use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[
        case!(a_dual_stack_service_is_captured_in_both_families).needs(NEEDS),
        case!(loopback_is_untouched).needs(NEEDS),
        case!(udp_to_the_captured_address_and_port_is_untouched).needs(NEEDS),
        case!(what_is_not_tcp_is_untouched).needs(NEEDS),
        case!(an_mptcp_client_is_served).needs(NEEDS),
        case!(a_host_process_on_the_listeners_port_is_not_hit).needs(NEEDS),
        case!(a_socket_bound_to_a_device_goes_native).needs(NEEDS),
        case!(a_socket_that_is_connected_anew_goes_where_it_says),
    ])
}

/// T30. Fails without `connect6`, or if it only knows mapped IPv4.
fn a_dual_stack_service_is_captured_in_both_families() -> Result<()> {
    let stage = Stage::builder().dual_stack().up()?;
    stage.captured()?;
    for _ in 0..3 {
        ensure!(stage.ask_at(&stage.client, VIP6)? == Way::Captured, "{VIP6} was not captured");
    }
    // The server's address in the other family is chosen for nobody: the client's own family is kept.
    let peers: Vec<_> = stage.v1.peers().iter().map(|peer| peer.ip().to_canonical()).collect();
    ensure!(peers.iter().any(IpAddr::is_ipv6) && peers.iter().any(IpAddr::is_ipv4), "v1 saw only {peers:?}");
    stage.control()
}

/// T28: what `kubectl port-forward`, exec probes and sidecars do. Fails without the loopback test if a rule has such a key, and if the
/// pod's own address counts as a Service's.
fn loopback_is_untouched() -> Result<()> {
    let stage = Stage::builder().dual_stack().up()?;
    let here = Recorder::start(stage.client.netns(), "[::]:8000".parse()?, Behaviour::Bytes)?;
    let own = stage.client.ips().into_iter().map(|ip| SocketAddr::new(ip, here.address().port()));
    let loopback = ["127.0.0.1:8000", "127.0.0.2:8000", "[::1]:8000"].map(|address| address.parse());
    for to in loopback.into_iter().collect::<Result<Vec<SocketAddr>, _>>()?.into_iter().chain(own) {
        // Not HTTP, and it comes back: a proxy that reads HTTP would have answered 400.
        let mut stream = stage.client.run(|| client::connect(to))?;
        let names = (stream.local_addr()?, stream.peer_addr()?);
        stream.write_all(b"\x00\x01\r\n\r\nnot http")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut back = Vec::new();
        stream.read_to_end(&mut back)?;
        ensure!(back == b"\x00\x01\r\n\r\nnot http", "{to} sent back {back:?}");
        let seen = *here.peers().last().context("nobody came")?;
        ensure!((canonical(seen), to) == names, "{to}: the server saw {seen}, the client's own names are {names:?}");
    }
    stage.captured()
}

/// T33. Fails if the hooks do not ask for the socket's type: a connected UDP socket passes them too.
fn udp_to_the_captured_address_and_port_is_untouched() -> Result<()> {
    let mut stage = Stage::builder().lay()?;
    let server = stage.server1.run(|| Ok(UdpSocket::bind(("0.0.0.0", TARGET))?))?;
    server.set_read_timeout(Some(PATIENCE))?;
    let to = format!("{}:{TARGET}", stage.server1.v4());
    // The toy kube-proxy knows only TCP.
    stage.node.netns().run(|| {
        let rules = [
            "add table ip udp_service".to_owned(),
            "add chain ip udp_service prerouting { type nat hook prerouting priority dstnat; }".to_owned(),
            format!("add rule ip udp_service prerouting ip daddr {} udp dport {} dnat to {to}", VIP.ip(), VIP.port()),
        ];
        ensure!(Command::new("nft").arg(rules.join("; ")).status()?.success(), "nft refused");
        Ok(())
    })?;
    let before = udp(&stage.client, &server)?;
    stage.start_agent()?;
    stage.captured()?;
    for _ in 0..3 {
        let now = udp(&stage.client, &server)?;
        ensure!(now == before, "a datagram flow was {before:?} and is {now:?}");
    }
    stage.captured()
}

/// What both ends saw of one datagram and its answer.
#[derive(Debug, PartialEq, Eq)]
struct Datagram {
    got: Vec<u8>,
    answer: Vec<u8>,
    peer: SocketAddr,
    /// Did the server see the client's own address and port?
    own_address: bool,
}

/// Both kinds of UDP client: with connect and without.
fn udp(pod: &Pod, server: &UdpSocket) -> Result<Vec<Datagram>> {
    let mut seen = Vec::new();
    for connected in [true, false] {
        let client = pod.run(|| Ok(UdpSocket::bind((pod.v4(), 0))?))?;
        client.set_read_timeout(Some(PATIENCE))?;
        if connected {
            client.connect(VIP)?;
            client.send(b"GET /udp HTTP/1.1\r\n")?;
        } else {
            client.send_to(b"GET /udp HTTP/1.1\r\n", VIP)?;
        }
        let mut buffer = [0; 64];
        let (length, from) = server.recv_from(&mut buffer)?;
        let got = buffer[..length].to_vec();
        server.send_to(b"answer", from)?;
        let (length, peer) = client.recv_from(&mut buffer)?;
        let own_address = from == client.local_addr()?;
        seen.push(Datagram { got, answer: buffer[..length].to_vec(), peer, own_address });
    }
    Ok(seen)
}

/// T34. Fails if the hooks do not ask for the protocol, or rewrite by address alone.
fn what_is_not_tcp_is_untouched() -> Result<()> {
    let mut stage = Stage::builder().lay()?;
    let probe = |stage: &Stage| {
        stage.client.run(|| {
            Ok([
                ("a raw ICMP echo", icmp(Type::RAW, stage.server1.v4())?),
                ("an ICMP echo of a ping socket", icmp(Type::DGRAM, stage.server1.v4())?),
                ("a raw TCP socket's peer", raw_peer()?),
                ("an AF_UNIX connection", unix()?),
                ("SCTP", sctp()),
            ])
        })
    };
    stage.client.netns().sysctl("ipv4/ping_group_range", "0 0")?;
    let before = probe(&stage)?;
    println!("without an agent: {before:?}");
    stage.start_agent()?;
    stage.captured()?;
    let after = probe(&stage)?;
    for (before, after) in before.iter().zip(&after) {
        ensure!(before == after, "was {before:?}, is {after:?}");
    }
    stage.captured()
}

/// The payload that an echo to this address brings back.
fn icmp(kind: Type, to: Ipv4Addr) -> Result<String> {
    let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::ICMPV4)).context("no ICMP socket")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(&SocketAddr::from((to, 0)).into())?;
    let mut echo = [b"\x08\x00\x00\x00\x12\x34\x00\x01".as_slice(), b"understudy"].concat();
    let sum = echo.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    echo[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    socket.send(&echo)?;
    let mut buffer = [MaybeUninit::uninit(); 256];
    let (length, from) = socket.recv_from(&mut buffer)?;
    ensure!(from.as_socket_ipv4().map(|a| *a.ip()) == Some(to), "the echo came from {from:?}");
    Ok(format!("{length} bytes from {to}"))
}

/// What a raw socket that was connected to the captured address says of its peer. No datagram is sent.
fn raw_peer() -> Result<String> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
    socket.connect(&VIP.into())?;
    Ok(format!("{:?}", socket.peer_addr()?.as_socket()))
}

fn unix() -> Result<String> {
    let name = net::SocketAddr::from_abstract_name(format!("understudy-lab-{}", std::process::id()))?;
    let listener = net::UnixListener::bind_addr(&name)?;
    let mut stream = net::UnixStream::connect_addr(&name)?;
    stream.write_all(b"hello")?;
    let mut got = [0; 5];
    listener.accept()?.0.read_exact(&mut got)?;
    Ok(String::from_utf8_lossy(&got).into_owned())
}

/// Kernels without SCTP say so; that must not change either.
fn sctp() -> String {
    const SCTP: i32 = 132;
    let answer = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::from(SCTP))).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&VIP.into())
    });
    format!("{:?}", answer.map_err(|error| error.raw_os_error().map(Errno::from_raw)))
}

/// T37. Fails if the hook takes the connection and then waits for something that an MPTCP parent socket does not have.
fn an_mptcp_client_is_served() -> Result<()> {
    const UNSUPPORTED: [i32; 2] = [libc::EPROTONOSUPPORT, libc::ENOPROTOOPT];
    let stage = Stage::builder().up()?;
    let connected = stage.client.run(|| client::connect_from(None, VIP, client::MPTCP));
    if let Err(error) = &connected
        && client::is(error, &UNSUPPORTED)
    {
        println!("this kernel has no MPTCP, or has it switched off: only plain TCP was tried");
        return stage.captured();
    }
    let mut stream = connected?;
    let way = stage.ask_on(&mut stream)?;
    println!("MPTCP to {VIP}: {way:?}, getpeername {:?}, getsockname {:?}", stream.peer_addr(), stream.local_addr());
    stage.captured()
}

/// T49. Fails if the listener is looked up in another namespace than the socket's own, or by port alone.
fn a_host_process_on_the_listeners_port_is_not_hit() -> Result<()> {
    let stage = Stage::builder().up()?;
    let (_, entry) = stage.in_kernel()?.only_netns()?;
    let port = u16::from_be(entry.port4);
    let host = Recorder::start(stage.node.netns(), SocketAddr::from(([0; 4], port)), Behaviour::Bytes)?;
    // And the Service's own port number, in the pod and on the node.
    let pod = Recorder::start(stage.client.netns(), SocketAddr::from(([0; 4], VIP.port())), Behaviour::Bytes)?;
    for _ in 0..5 {
        stage.captured()?;
    }
    ensure!(host.peers().is_empty(), "a process of the node was connected to by {:?}", host.peers());
    ensure!(pod.peers().is_empty(), "a process of the pod was connected to by {:?}", pod.peers());
    // The host's process is reached by those who want it.
    let mut stream = stage.node.netns().run(|| client::connect(SocketAddr::from(([127, 0, 0, 1], port))))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    ensure!(host.peers().len() == 1);
    Ok(())
}

/// Fails if the hook redirects a socket that cannot use the loopback device: its connect would fail.
fn a_socket_bound_to_a_device_goes_native() -> Result<()> {
    let stage = Stage::builder().up()?;
    let socket = stage.client.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind_device(Some(b"eth0"))?;
        socket.connect(&VIP.into())?;
        Ok(socket)
    })?;
    let way = stage.ask_on(&mut socket.into())?;
    ensure!(matches!(way, Way::Native(_)), "it went {way:?}");
    stage.captured()
}

/// Connects one socket to each address in turn, with AF_UNSPEC in between, and prints its names and what a request brought. (std, socket2
/// and nix have no call for AF_UNSPEC without unsafe code.)
const AGAIN: &str = r#"
import ctypes, socket, sys
s = socket.socket()
for address in sys.argv[1:]:
    host, port = address.rsplit(':', 1)
    s.connect((host, int(port)))
    try:
        names = (*s.getpeername(), s.getsockname()[0])
        s.send(b'GET /again HTTP/1.1\r\nHost: httpbin:8000\r\n\r\n')
        print(*names, s.recv(4096)[:12].decode())
    except OSError:
        print('reset')
    assert ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16) == 0
"#;

/// Fails if a pass does not delete what the socket was redirected for before: it would be let in at the listener itself, as if it had been
/// sent there, and be called by its old names.
fn a_socket_that_is_connected_anew_goes_where_it_says() -> Result<()> {
    let stage = Stage::builder().up()?;
    let listener = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::from_be(stage.in_kernel()?.only_netns()?.1.port4)));
    let direct = SocketAddr::from((stage.server1.v4(), TARGET));
    let file = stage.node.dir().join("again.py");
    fs::write(&file, AGAIN)?;
    let (python, file) = (paths::venv().join("bin/python3").display().to_string(), file.display().to_string());
    let to = [VIP, direct, VIP, listener, direct, VIP].map(|address| address.to_string());
    let words: Vec<&str> = [python.as_str(), &file].into_iter().chain(to.iter().map(String::as_str)).collect();
    let output = stage.client.exec(&words)?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let own = stage.client.v4();
    let line = |address: &String| format!("{} {own} HTTP/1.1 200\n", address.replace(':', " "));
    let mut wanted: Vec<String> = to.iter().map(line).collect();
    "reset\n".clone_into(&mut wanted[3]);
    let wanted = wanted.concat();
    ensure!(text == wanted, "the socket's names and answers were\n{text}instead of\n{wanted}");
    stage.captured()
}
