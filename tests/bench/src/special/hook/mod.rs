//! What the connect hook costs: CPU of a thread that connects and closes in a loop, without an agent and with one, enrolled and not, with a
//! rule and without; and the same behind iptables REDIRECT. The kernel's own count of the hook's time says the same from the other side.
//!
//! The handshake of a connection inside the machine runs in the connecting thread, so its CPU time has all but the accept. Who accepts is not
//! the same behind both: our agent behind the hook, a thread that closes at once behind REDIRECT. Neither is in the figure. [`behind`] has the
//! same proxy behind both, and counts everything.

mod behind;
mod trivial;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use integration::{Pod, in_kernel::InKernel};
use nix::{
    libc::linger,
    sys::socket::{setsockopt, sockopt},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::{
    ours::AS_IT_COMES,
    rivals::redirect,
    special::Figure,
    variant::{Flavour, Product, Protocol},
    world::World,
};

/// Connects in a batch; many batches, and of them the lower quartile, because what disturbs a thread only ever makes it slower.
const BATCH: u32 = 250;
const BATCHES: usize = 12;
const SIDECAR: u16 = 15_001;

/// A listener that closes what it accepts.
struct Accepter {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
    netns: std::path::PathBuf,
}

impl Accepter {
    fn start(pod: &Pod) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, SIDECAR));
        let listener = pod.run(|| TcpListener::bind(address).context("cannot listen"))?;
        let stop = Arc::<AtomicBool>::default();
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                drop(stream);
                if seen.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Ok(Self { stop, thread: Some(thread), address, netns: pod.netns().path() })
    }
}

impl Drop for Accepter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = integration::netns::run_in(&self.netns, || Ok(TcpStream::connect(self.address)?));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// CPU time of a thread for each connect and close, microseconds.
fn connects(pod: &Pod, to: SocketAddr) -> Result<f64> {
    pod.run(|| {
        let mut figures = Vec::new();
        for _ in 0..BATCHES {
            let before = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
            for _ in 0..BATCH {
                let stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
                // A reset leaves no socket that waits for its time to pass.
                setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
            }
            let used = std::time::Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)? - before);
            figures.push(used.as_secs_f64() * 1e6 / f64::from(BATCH));
        }
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 4).copied().context("no batch")
    })
}

/// Nanoseconds and runs of the agent's `connect4`, and nanoseconds of all its programs.
fn hook_time(agent: Pid) -> Result<[f64; 3]> {
    let ours = InKernel::of(agent)?.programs;
    let all = loaded_programs().flatten().filter(|program| ours.contains(&program.id()));
    Ok(all.fold([0.0; 3], |[time, runs, total], program| {
        let (spent, count) = (program.run_time().as_nanos() as f64, program.run_count() as f64);
        match program.name_as_str() {
            Some("connect4") => [time + spent, runs + count, total + spent],
            _ => [time, runs, total + spent],
        }
    }))
}

/// The rounds' figures by name.
#[derive(Default)]
struct Notes(BTreeMap<&'static str, Vec<f64>>);

impl Notes {
    fn note(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    fn last(&self, name: &str) -> f64 {
        self.0.get(name).and_then(|values| values.last()).copied().unwrap_or(f64::NAN)
    }

    fn figure(&self, name: &'static str, words: &str, unit: &'static str) -> Option<Figure> {
        Figure::of(name, words, unit, self.0.get(name).cloned().unwrap_or_default())
    }
}

/// Measures.
pub(crate) fn measure(world: &mut World, quick: bool, _: f64) -> Result<Vec<Figure>> {
    let redirected = world.node.pod("client-redirect").label("app", "client").start()?;
    let accepter = Accepter::start(&redirected)?;
    redirect::port(&redirected, Protocol::Http1.port(), SIDECAR, redirect::SIDECARS)?;
    let mut notes = Notes::default();
    without(world, &redirected, &mut notes)?;
    for _ in 0..if quick { 3 } else { 7 } {
        let before = ["bare", "bare-enrolled"].map(|name| notes.last(name));
        with(world, &mut notes)?;
        let cost = ["not-enrolled", "no-rule"].map(|name| notes.last(name));
        without(world, &redirected, &mut notes)?;
        // Without an agent before and after: what drifts meanwhile is no part of the difference.
        let after = ["bare", "bare-enrolled"].map(|name| notes.last(name));
        notes.note("not-enrolled-cost", cost[0] - (before[0] + after[0]) / 2.0);
        notes.note("no-rule-cost", cost[1] - (before[1] + after[1]) / 2.0);
        notes.note("captured-to-redirect", notes.last("captured") / notes.last("redirect"));
    }
    drop(accepter);
    behind::measure(world, if quick { 3 } else { 5 }, &mut notes)?;
    let figures = [
        notes.figure("bare", "connect and close, no agent, to a pod", "µs"),
        notes.figure("bare-service", "the same to a Service (the node translates)", "µs"),
        notes.figure("not-enrolled", "an agent is there, the pod is not enrolled, to a pod", "µs"),
        notes.figure("not-enrolled-cost", "what that is more than without an agent just before and after", "µs"),
        notes.figure("no-rule", "enrolled, no rule for the destination, to a pod", "µs"),
        notes.figure("no-rule-cost", "what that is more than without an agent just before and after", "µs"),
        notes.figure("captured", "enrolled, a rule: to our listener instead of the Service", "µs"),
        notes.figure("redirect", "iptables REDIRECT: to a listener in the pod instead of the Service", "µs"),
        notes.figure("captured-to-redirect", "captured by us : redirected by iptables, in the same round", "×"),
        notes.figure("bpf-not-enrolled", "connect4 by the kernel's own clock, pod not enrolled", "ns"),
        notes.figure("bpf-no-rule", "connect4, enrolled without a rule", "ns"),
        notes.figure("bpf-captured", "connect4, enrolled with one", "ns"),
        notes.figure("bpf-all-not-enrolled", "all our programs in a connection's life, pod not enrolled", "ns"),
        notes.figure("bpf-all-captured", "all our programs in a connection's life, captured", "ns"),
    ];
    Ok(figures.into_iter().chain(behind::figures(&notes)).flatten().collect())
}

fn without(world: &mut World, redirected: &Pod, notes: &mut Notes) -> Result<()> {
    world.ours.stop()?;
    let (server, service) = (world.v1.address(Protocol::Http1), Flavour::Plain.address(Protocol::Http1));
    notes.note("bare", connects(world.client(Product::Direct)?, server)?);
    notes.note("bare-service", connects(world.client(Product::Direct)?, service)?);
    notes.note("bare-enrolled", connects(world.client(Product::Understudy)?, server)?);
    notes.note("redirect", connects(redirected, service)?);
    Ok(())
}

fn with(world: &mut World, notes: &mut Notes) -> Result<()> {
    world.ours.restart(&world.node, AS_IT_COMES)?;
    let (server, service) = (world.v1.address(Protocol::Http1), Flavour::Plain.address(Protocol::Http1));
    let (stranger, enrolled) = (world.client(Product::Direct)?, world.client(Product::Understudy)?);
    notes.note("not-enrolled", connects(stranger, server)?);
    notes.note("no-rule", connects(enrolled, server)?);
    notes.note("captured", connects(enrolled, service)?);
    let agent = world.ours.pid().context("no agent")?;
    // Only while this descriptor is open; it makes each run a little slower, so never beside the figures above.
    let _stats = enable_stats(Stats::RunTime).context("the kernel does not count the time of programs")?;
    let cases = [
        ("bpf-not-enrolled", "bpf-all-not-enrolled", stranger, server),
        ("bpf-no-rule", "bpf-all-no-rule", enrolled, server),
        ("bpf-captured", "bpf-all-captured", enrolled, service),
    ];
    for (name, all, pod, to) in cases {
        let before = hook_time(agent)?;
        connects(pod, to)?;
        let after = hook_time(agent)?;
        notes.note(name, (after[0] - before[0]) / (after[1] - before[1]));
        notes.note(all, (after[2] - before[2]) / (f64::from(BATCH) * BATCHES as f64));
    }
    Ok(())
}
