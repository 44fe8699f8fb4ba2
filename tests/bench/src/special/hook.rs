//! What the connect hook costs: CPU of a thread that connects and closes in a loop, without an agent and with one, enrolled and not, with a
//! rule and without; and the same behind iptables REDIRECT. The kernel's own count of the hook's time says the same from the other side.
//!
//! The handshake of a connection inside the machine runs in the connecting thread, so its CPU time has all but the accept. Who accepts is not
//! the same behind both: our agent behind the hook, a thread that closes at once behind REDIRECT. Neither is in the figure.

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

/// Connects in a batch; many batches, so that the median forgets the ones that were disturbed.
const BATCH: u32 = 250;
const BATCHES: usize = 8;
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

/// CPU time of this thread for each connect and close, microseconds: a figure for each batch.
fn connects(pod: &Pod, to: SocketAddr) -> Result<Vec<f64>> {
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
        Ok(figures)
    })
}

fn median(figures: &[f64]) -> f64 {
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Nanoseconds and runs of the agent's `connect4`.
fn hook_time(agent: Pid) -> Result<(f64, f64)> {
    let ours = InKernel::of(agent)?.programs;
    let all = loaded_programs().flatten().filter(|program| ours.contains(&program.id()));
    let connects = all.filter(|program| program.name_as_str() == Some("connect4"));
    Ok(connects.fold((0.0, 0.0), |(time, runs), program| {
        (time + program.run_time().as_nanos() as f64, runs + program.run_count() as f64)
    }))
}

/// Measures.
pub(crate) fn measure(world: &mut World, quick: bool, _: f64) -> Result<Vec<Figure>> {
    let redirected = world.node.pod("client-redirect").label("app", "client").start()?;
    let accepter = Accepter::start(&redirected)?;
    redirect::port(&redirected, Protocol::Http1.port(), SIDECAR)?;
    let server = world.v1.address(Protocol::Http1);
    let service = Flavour::Plain.address(Protocol::Http1);
    let mut seen: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..if quick { 3 } else { 7 } {
        let mut note = |name: &'static str, value: f64| seen.entry(name).or_default().push(value);
        world.ours.stop()?;
        let stranger = world.client(Product::Direct)?;
        let enrolled = world.client(Product::Understudy)?;
        let (bare, bare_service) = (median(&connects(stranger, server)?), median(&connects(stranger, service)?));
        let (bare_of_enrolled, through_redirect) =
            (median(&connects(enrolled, server)?), median(&connects(&redirected, service)?));
        note("bare", bare);
        note("bare-service", bare_service);
        note("redirect", through_redirect);
        world.ours.restart(&world.node, AS_IT_COMES)?;
        let stranger = world.client(Product::Direct)?;
        let enrolled = world.client(Product::Understudy)?;
        let not_enrolled = median(&connects(stranger, server)?);
        let no_rule = median(&connects(enrolled, server)?);
        let captured = median(&connects(enrolled, service)?);
        note("not-enrolled", not_enrolled);
        note("not-enrolled-cost", not_enrolled - bare);
        note("no-rule", no_rule);
        note("no-rule-cost", no_rule - bare_of_enrolled);
        note("captured", captured);
        note("captured-to-redirect", captured / through_redirect);
        let agent = world.ours.pid().context("no agent")?;
        // Only while this descriptor is open; it makes each run a little slower, so never beside the figures above.
        let _stats = enable_stats(Stats::RunTime).context("the kernel does not count the time of programs")?;
        let cases = [
            ("bpf-not-enrolled", stranger, server),
            ("bpf-no-rule", enrolled, server),
            ("bpf-captured", enrolled, service),
        ];
        for (name, pod, to) in cases {
            let before = hook_time(agent)?;
            connects(pod, to)?;
            let after = hook_time(agent)?;
            note(name, (after.0 - before.0) / (after.1 - before.1));
        }
    }
    drop(accepter);
    let figure =
        |name: &'static str, words: &str, unit| Figure::of(name, words, unit, seen.remove(name).unwrap_or_default());
    let mut figure = figure;
    Ok([
        figure("bare", "connect and close, no agent, to a pod", "µs"),
        figure("bare-service", "the same to a Service (the node translates)", "µs"),
        figure("not-enrolled", "an agent is there, the pod is not enrolled, to a pod", "µs"),
        figure("not-enrolled-cost", "what that is more, in the same round", "µs"),
        figure("no-rule", "enrolled, no rule for the destination, to a pod", "µs"),
        figure("no-rule-cost", "what that is more, in the same round", "µs"),
        figure("captured", "enrolled, a rule: to our listener instead of the Service", "µs"),
        figure("redirect", "iptables REDIRECT: to a listener in the pod instead of the Service", "µs"),
        figure("captured-to-redirect", "captured by us : redirected by iptables, in the same round", "×"),
        figure("bpf-not-enrolled", "connect4 by the kernel's own clock, pod not enrolled", "ns"),
        figure("bpf-no-rule", "connect4, enrolled without a rule", "ns"),
        figure("bpf-captured", "connect4, enrolled with one", "ns"),
    ]
    .into_iter()
    .flatten()
    .collect())
}
