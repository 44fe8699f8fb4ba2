//! The same trivial proxy behind the hook and behind REDIRECT, under a load that makes a connection for each request: what is left between
//! the two is what it costs to turn a connection, and to find out afterwards where it wanted to go.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use integration::Pod;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use tokio::runtime::{Builder, Runtime};
use understudy::{
    capture::{Capture, CaptureOptions},
    control::plan::{CapturePlan, CapturedPort, PodPlan, Sandbox},
    enrol::{EnrolledPod, Enrolment, InNamespaces, NetnsTable, Serve},
    net::{Mark, SocketFactory},
    observe::metrics::Metrics,
};

use super::{
    Notes,
    trivial::{Asked, Trivial},
};
use crate::{
    load::{self, Kind, Load},
    meter::Meter,
    rivals::redirect,
    special::Figure,
    variant::{Flavour, Product, Protocol},
    world::{self, World},
};

const LOAD: Load = Load::Saturating { kind: Kind::Close, connections: 64 };
const SECONDS: f64 = 2.0;
const SIDECAR: u16 = 15_001;
/// One heartbeat is enough for a measurement.
const STALE: Duration = Duration::from_secs(3600);

/// Rounds of both, and of none. No agent may run.
pub(super) fn measure(world: &World, rounds: usize, notes: &mut Notes) -> Result<()> {
    let redirected = world.node.pod("client-behind").label("app", "client").start()?;
    world::tune(redirected.netns())?;
    redirect::port(&redirected, Protocol::Http1.port(), SIDECAR, &format!("-m mark --mark {}", Mark::default()))?;
    for round in 0..rounds {
        let (mut machine, mut parties, mut rate) = ([0.0; 3], [0.0; 3], [0.0; 3]);
        for turn in 0..3 {
            let which = (round + turn) % 3;
            [machine[which], parties[which], rate[which]] = match which {
                0 => one(world, world.client(Product::Direct)?, None)?,
                1 => behind_redirect(world, &redirected)?,
                _ => behind_hook(world, world.client(Product::Understudy)?)?,
            };
        }
        notes.note("trivial-none", machine[0]);
        notes.note("trivial-redirect", machine[1]);
        notes.note("trivial-hook", machine[2]);
        notes.note("trivial-hook-to-redirect", machine[2] / machine[1]);
        notes.note("trivial-added-to-redirect", (machine[2] - machine[0]) / (machine[1] - machine[0]));
        notes.note("trivial-parties-redirect", parties[1]);
        notes.note("trivial-parties-hook", parties[2]);
        notes.note("trivial-parties", parties[2] / parties[1]);
        notes.note("trivial-redirect-rate", rate[1]);
        notes.note("trivial-hook-rate", rate[2]);
        notes.note("trivial-rates", rate[2] / rate[1]);
    }
    Ok(())
}

/// What was noted, in words.
pub(super) fn figures(notes: &Notes) -> Vec<Option<Figure>> {
    vec![
        notes.figure("trivial-none", "a connection for each request, no proxy: CPU of the machine", "µs/req"),
        notes.figure("trivial-redirect", "the same through a trivial proxy behind REDIRECT", "µs/req"),
        notes.figure("trivial-hook", "the same through that proxy behind the hook", "µs/req"),
        notes.figure("trivial-hook-to-redirect", "behind the hook : behind REDIRECT, in the same round", "×"),
        notes.figure("trivial-added-to-redirect", "the same of what is added to the round without a proxy", "×"),
        notes.figure("trivial-parties-redirect", "CPU of client, proxy and v1 alone, behind REDIRECT", "µs/req"),
        notes.figure("trivial-parties-hook", "CPU of client, proxy and v1 alone, behind the hook", "µs/req"),
        notes.figure("trivial-parties", "behind the hook : behind REDIRECT, in the same round", "×"),
        notes.figure("trivial-redirect-rate", "what goes through behind REDIRECT", "req/s"),
        notes.figure("trivial-hook-rate", "what goes through behind the hook", "req/s"),
        notes.figure("trivial-rates", "behind the hook : behind REDIRECT, in the same round", "×"),
    ]
}

/// For each request CPU of the machine, and of those who take part (which other work on the machine does not disturb), microseconds; requests/s.
fn one(world: &World, client: &Pod, through: Option<&Trivial>) -> Result<[f64; 3]> {
    let before = through.map_or(0, Trivial::carried);
    let (before_own, meter) = (own()?, Meter::start(Some(world.v1.pid()))?);
    let outcome = load::play(LOAD, &world.programs, client, Flavour::Plain, SECONDS, 0.0)?;
    let used = meter.end()?;
    let parties = used.group + own()? - before_own;
    ensure!(outcome.requests > 0, "no request was answered well ({} errors)", outcome.errors);
    ensure!(outcome.errors * 100 <= outcome.requests, "{} errors beside {}", outcome.errors, outcome.requests);
    if let Some(proxy) = through {
        let carried = proxy.carried() - before;
        ensure!(carried * 100 >= outcome.requests * 99, "{carried} of {} went through the proxy", outcome.requests);
    }
    let requests = outcome.requests as f64;
    Ok([used.machine * 1e6 / requests, parties * 1e6 / requests, requests / outcome.seconds])
}

/// CPU seconds of this process, whose threads the proxy is, and of its children that have ended: the client is one.
fn own() -> Result<f64> {
    let spent = |who| -> Result<f64> {
        let usage = getrusage(who)?;
        let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
    };
    Ok(spent(UsageWho::RUSAGE_SELF)? + spent(UsageWho::RUSAGE_CHILDREN)?)
}

fn behind_redirect(world: &World, pod: &Pod) -> Result<[f64; 3]> {
    let listener = pod.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, SIDECAR)).context("cannot listen"))?;
    let proxy = Trivial::new();
    proxy.serve(&pod.netns().path(), &listener, || Ok(Asked::Tracking))?;
    one(world, pod, Some(&proxy))
}

fn behind_hook(world: &World, pod: &Pod) -> Result<[f64; 3]> {
    let hooked = Hooked::start(pod)?;
    let result = one(world, pod, Some(&hooked.served.proxy));
    drop(hooked);
    result
}

/// The hook with one rule and one enrolled pod, as an agent would have them, and the trivial proxy in the place of our workers.
struct Hooked {
    runtime: Runtime,
    enrolment: Enrolment,
    served: Arc<Served>,
}

struct Served {
    capture: Arc<Capture>,
    netns: PathBuf,
    proxy: Trivial,
}

impl Serve for Served {
    fn serve(&self, pod: Arc<EnrolledPod>, listener: TcpListener) {
        let asked = || Ok(Asked::Hook(self.capture.origins()?, pod.cookie));
        if let Err(error) = self.proxy.serve(&self.netns, &listener, asked) {
            eprintln!("the trivial proxy does not serve: {error:#}");
            pod.drain.cancel();
        }
    }
}

impl Hooked {
    fn start(pod: &Pod) -> Result<Self> {
        let options =
            CaptureOptions { stale_after: STALE, instance: "trivial".to_owned(), ..CaptureOptions::default() };
        let capture = Arc::new(Capture::start(&options)?);
        capture.heartbeat()?.beat()?;
        let to = Flavour::Plain.address(Protocol::Http1);
        let port = CapturedPort { rule: 0, closed: false, owner: "bench/plain".into() };
        let report = capture.sync_rules(&CapturePlan { ports: [(to, port)].into() }, 1);
        ensure!(report.failed.is_empty(), "{:?}", report.failed);
        let served =
            Arc::new(Served { capture: Arc::clone(&capture), netns: pod.netns().path(), proxy: Trivial::new() });
        let reach = InNamespaces::new(SocketFactory::start(Mark::default(), u32::MAX)?, "/proc".into(), false);
        let serve = Arc::clone(&served) as Arc<dyn Serve>;
        let mut enrolment = Enrolment::new(reach, capture as Arc<dyn NetnsTable>, serve, Arc::new(Metrics::new()));
        let plan = PodPlan {
            namespace: "bench".into(),
            name: pod.name().into(),
            uid: "".into(),
            sandbox: Sandbox::At(pod.netns().path()),
            runtime_class: None,
            ips: pod.ips(),
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let is_missing = runtime.block_on(enrolment.apply(vec![plan]));
        let state = enrolment.status().load().first().map(|status| status.state.clone());
        match state {
            Some(Ok(_)) if !is_missing => Ok(Self { runtime, enrolment, served }),
            state => Err(anyhow!("the pod is not enrolled: {state:?}")),
        }
    }
}

impl Drop for Hooked {
    fn drop(&mut self) {
        self.runtime.block_on(self.enrolment.withdraw_all());
        self.served.capture.detach();
    }
}
