//! Ten thousand connections that have something to do in the same moment: what the others notice.

use std::{
    io::Write as _,
    net::TcpStream,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use integration::{
    case, harness, manifests,
    theatre::{GET, MIRROR, NEEDS, Setting, VIP, from_v1, whole},
    wait,
    wire::Wire,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn main() -> ExitCode {
    harness::main(&[case!(new_connections_are_captured_while_ten_thousand_wake).needs(NEEDS).alone()])
}

const CLIENTS: usize = 10_000;
const WAVES: usize = 5;
const HALF: &[u8] = b"GET /slow HTTP/1.1\r\nHost: httpbin\r\nX-Slow: y";
/// Of the whole process: a fifth of the default.
const STALE: &str = "200ms";

/// Fails if the heartbeat waits behind what a worker has to do (its tick is a task like the connections' own): then it goes stale, and whoever
/// connects meanwhile goes past us.
fn new_connections_are_captured_while_ten_thousand_wake() -> Result<()> {
    // One descriptor each, and as many in the agent.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(65_536), most)?;
    let slow = "  - match: [{uri: {exact: /slow}}]\n    directResponse: {status: 200, body: {string: slow}}\n";
    let theatre = Setting::new(&format!("{slow}{MIRROR}")).args(&["--heartbeat-stale", STALE]).start()?;
    let other = theatre.node.pod("other").label("app", "other").start()?;
    theatre.agent.changed(|| theatre.manifests.apply("other.yaml", &manifests::pod(&other, "mirror", true)))?;
    theatre.agent.metrics_when("the other pod listens", |m| whole(m.sum("understudy_enrolled_actual", &[])) == 2)?;
    let mut clients = theatre.client.run(|| {
        let dial = |_| TcpStream::connect_timeout(&VIP, wait::PATIENCE).context("a slow client is refused");
        (0..CLIENTS).map(dial).collect::<Result<Vec<_>>>()
    })?;
    clients.iter_mut().try_for_each(|client| client.write_all(HALF))?;
    theatre
        .agent
        .metrics_when("half heads", |m| whole(m.sum("understudy_connections_total", &[("kind", "http")])) >= CLIENTS)?;
    let over = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| -> Result<usize> {
            let mut asked = 0;
            while !over.load(Ordering::Acquire) || asked < 10 {
                from_v1(&Wire::connect(&other, VIP)?.exchange(GET)?)?;
                asked += 1;
            }
            Ok(asked)
        });
        let woken = (0..WAVES).try_for_each(|_| {
            // The end of one head and the start of the next.
            let next = [b"es\r\n\r\n", HALF].concat();
            clients.iter_mut().try_for_each(|client| client.write_all(&next))?;
            clients.iter().try_for_each(|client| {
                let mut wire = Wire::over(client.try_clone()?)?;
                let answer = wire.answer()?;
                ensure!(answer.status == 200 && answer.body == b"slow", "{answer:?}");
                Ok(())
            })
        });
        over.store(true, Ordering::Release);
        let asked = asking.join().map_err(|_| anyhow!("the other pod's client has panicked"))?;
        woken.and(asked)
    })?;
    theatre.outcomes(&[("answered", asked)])?;
    let view = theatre.agent.metrics_when("the hook's counters", |m| {
        whole(m.sum("understudy_capture_connects_total", &[("verdict", "redirected")])) >= CLIENTS + asked
    })?;
    let stale = whole(view.sum("understudy_capture_connects_total", &[("verdict", "stale")]));
    let lag = view.sum("understudy_event_loop_lag_seconds", &[]);
    println!(
        "{asked} connections of another pod while {CLIENTS} woke {WAVES} times; {stale} stale; tasks were {lag} s late"
    );
    ensure!(stale == 0, "{stale} of {asked} connections went past us");
    ensure!(theatre.native.recorder.count() == 0, "somebody was not steered");
    Ok(())
}
