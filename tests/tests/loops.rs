//! Nobody gets in by the back door, and the proxy never meets itself (T26, T27).

use std::{
    fs,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, MetricsView, Pod, Recorder, Script, Theatre, Wire, case, harness, manifests,
    theatre::{GET, MIRROR, NEEDS, PORT, ROUTE, Setting, VIP, from_v1, rules, whole},
    wait::PATIENCE,
};

fn main() -> ExitCode {
    harness::main(&[
        case!(a_mirror_to_the_same_service_ends_there).needs(NEEDS),
        case!(a_v2_that_asks_on_is_not_mirrored_again).needs(NEEDS),
        case!(the_original_destination_is_not_captured_again).needs(NEEDS),
        case!(a_client_may_be_its_own_v1).needs(NEEDS),
        case!(nobody_gets_through_by_the_listener_itself).needs(NEEDS),
    ])
}

fn kind(view: &MetricsView, kind: &str) -> usize {
    whole(view.sum("understudy_connections_total", &[("kind", kind)]))
}

/// T26. Fails if the connect hook does not pass the proxy's own mark, or if a shadow is routed by the rules again.
fn a_mirror_to_the_same_service_ends_there() -> Result<()> {
    let theatre = Setting::new(&format!("{ROUTE}    mirror: {{host: httpbin}}\n")).start()?;
    let mut wire = theatre.dial()?;
    for _ in 0..20 {
        from_v1(&wire.exchange(GET)?)?;
    }
    let view = theatre.outcomes(&[("answered", 20)])?;
    let all: usize = [&theatre.v1, &theatre.v2, &theatre.native].iter().map(|actor| actor.recorder.count()).sum();
    ensure!(all == 40, "20 requests and their shadows made {all}");
    ensure!(kind(&view, "http") == 1, "{} captured connections for one client's", kind(&view, "http"));
    Ok(())
}

/// M3: v2 is a captured client itself and passes on what it gets to the service whose shadow it was. Fails if the marker is not looked for, or gets
/// lost on the way to v2: then one request would go round and round.
fn a_v2_that_asks_on_is_not_mirrored_again() -> Result<()> {
    let mut theatre = Setting::new(MIRROR).v2_port_free().start()?;
    let world = fs::read_to_string(theatre.manifests.path().join("world.yaml"))?;
    let (disabled, enrolled) = [false, true].map(|on| manifests::pod(&theatre.v2.pod, "mirror", on)).into();
    ensure!(world.contains(&disabled), "the manifest is written otherwise");
    theatre.agent.changed(|| theatre.manifests.apply("world.yaml", &world.replace(&disabled, &enrolled)))?;
    theatre.agent.wait_ready()?;
    let netns = theatre.v2.pod.netns().path();
    let v2 = Script::start(theatre.v2.pod.netns(), theatre.v2.address(PORT), move |mut wire| {
        loop {
            let asked = wire.head()?.replace("httpbin-shadow", "httpbin");
            let on = integration::netns::run_in(&netns, || Ok(TcpStream::connect(VIP)?))?;
            let answer = Wire::over(on)?.exchange(asked.as_bytes())?;
            wire.send(answer.head.as_bytes())?;
            wire.send(&answer.body)?;
        }
    })?;
    let mut wire = theatre.dial()?;
    for _ in 0..5 {
        from_v1(&wire.exchange(GET)?)?;
    }
    let view = theatre.outcomes(&[("answered", 5), ("loop", 5)])?;
    ensure!(kind(&view, "http") == 1 + 5, "v2 was not captured: {:?}", view.lines("understudy_conn"));
    ensure!(theatre.v1.recorder.count() == 10 && v2.accepted() <= 5, "{} requests at v1", theatre.v1.recorder.count());
    let marked = |r: &&integration::Recorded| r.header("x-understudy-shadow").is_some();
    ensure!(theatre.v1.recorder.requests().iter().filter(marked).count() == 5);
    Ok(())
}

/// T26. Fails without the mark: a Host that nobody knows goes to the service's own address, and would come back for ever.
fn the_original_destination_is_not_captured_again() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let mut wire = theatre.dial()?;
    for i in 1..=5 {
        let answer = wire.exchange(b"GET / HTTP/1.1\r\nHost: elsewhere\r\n\r\n")?;
        ensure!(answer.text() == "native", "{answer:?}");
        ensure!(theatre.native.recorder.count() == i);
    }
    let view = theatre.outcomes(&[])?;
    ensure!(
        kind(&view, "http") == 1 && kind(&view, "refused") == 0,
        "captured again: {:?}",
        view.lines("understudy_conn")
    );
    Ok(())
}

/// T26. Fails if the proxy's connection to its own pod's address is taken for the application's.
fn a_client_may_be_its_own_v1() -> Result<()> {
    let mut theatre = Setting::new(ROUTE).start()?;
    // A second client, which serves the service itself: the only pod of a subset of its own.
    let own = theatre.node.pod("own").label("app", "httpbin").label("version", "own").start()?;
    let recorder = Recorder::start(own.netns(), (Ipv4Addr::UNSPECIFIED, PORT).into(), Behaviour::Ok(b"own".to_vec()))?;
    let subset = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: httpbin, namespace: mirror}\n\
        spec:\n  host: httpbin\n  subsets:\n  - {name: v2, labels: {version: v2}}\n  - {name: own, labels: {version: own}}\n";
    let world = fs::read_to_string(theatre.manifests.path().join("world.yaml"))?;
    let world = world.replace(&integration::theatre::subsets("httpbin"), subset);
    theatre.agent.changed(|| {
        theatre.manifests.apply("world.yaml", &format!("{world}---\n{}", manifests::pod(&own, "mirror", true)))?;
        theatre.manifests.apply("virtual-service.yaml", &rules("httpbin", &MIRROR.replace("subset: v1", "subset: own")))
    })?;
    theatre.agent.wait_ready()?;
    let mut wire = Wire::connect(&own, VIP)?;
    for _ in 0..5 {
        ensure!(wire.exchange(GET)?.text() == "own");
    }
    let view = theatre.outcomes(&[("answered", 5)])?;
    ensure!(recorder.count() == 5 && theatre.v2.recorder.count() == 5);
    ensure!(recorder.requests().iter().all(|r| r.peer.ip() == own.v4()), "from {:?}", recorder.peers());
    ensure!(kind(&view, "http") == 1, "{} captured connections for one client's", kind(&view, "http"));
    // To itself by its own address it goes as ever, with the bytes that it sends.
    let mut direct = Wire::connect(&own, (own.v4(), PORT).into())?;
    ensure!(direct.exchange(GET)?.text() == "own");
    ensure!(recorder.requests()[5].head == GET && kind(&theatre.agent.metrics()?, "http") == 1);
    Ok(())
}

/// The ports that something listens on in a pod's IPv4 loopback or everywhere.
fn listening(pod: &Pod) -> Result<Vec<SocketAddr>> {
    let table = pod.run(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?))?;
    let sockets = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (address, port) = local.split_once(':')?;
        let address = Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes());
        // TCP_LISTEN
        (state == "0A").then_some(SocketAddr::from((address, u16::from_str_radix(port, 16).ok()?)))
    });
    Ok(sockets.collect())
}

/// T27. Fails if a connection without an original destination is served, or left open.
fn nobody_gets_through_by_the_listener_itself() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let listeners = listening(&theatre.client)?;
    ensure!(!listeners.is_empty(), "the enrolled pod has no listener");
    let closed = |pod: &Pod, to: SocketAddr| -> Result<()> {
        let bytes = pod.run(|| {
            let Ok(mut stream) = TcpStream::connect_timeout(&to, PATIENCE) else { return Ok(Vec::new()) };
            stream.set_read_timeout(Some(PATIENCE))?;
            // It may be closed before anything is written.
            let _ = std::io::Write::write_all(&mut stream, GET);
            let mut bytes = Vec::new();
            match stream.read_to_end(&mut bytes) {
                Ok(_) => Ok(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(bytes),
                Err(error) => Err(error).context("the connection was neither closed nor answered"),
            }
        })?;
        ensure!(bytes.is_empty(), "{to} answered {:?}", String::from_utf8_lossy(&bytes));
        Ok(())
    };
    for listener in &listeners {
        // From within the pod: its loopback, and its own address.
        closed(&theatre.client, (Ipv4Addr::LOCALHOST, listener.port()).into())?;
        closed(&theatre.client, (theatre.client.v4(), listener.port()).into())?;
        // A neighbour.
        closed(&theatre.v1.pod, (theatre.client.v4(), listener.port()).into())?;
    }
    let view = theatre.agent.metrics_when("refused connections are counted", |view| kind(view, "refused") > 0)?;
    ensure!(
        kind(&view, "refused") >= listeners.len() && kind(&view, "http") == 0,
        "{:?}",
        view.lines("understudy_conn")
    );
    let all: usize = [&theatre.v1, &theatre.v2, &theatre.native].iter().map(|actor| actor.recorder.count()).sum();
    ensure!(all == 0, "{all} requests got through");
    theatre.ask_v1()?;
    theatre.outcomes(&[("answered", 1)])?;
    Ok(())
}
