//! What happens to new connections when the agent is killed, hangs, or loses a piece behind its back.

use std::{
    net::SocketAddr,
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Agent, Stage, case, client, harness,
    in_kernel::InKernel,
    manifests,
    needs::Need,
    paths,
    seed::VIP,
    stage::{HOST, TARGET, Way},
    wait,
};
use nix::sys::signal::Signal;

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Cgroup2, Need::Btf, Need::Agent];
const RECONCILE: [&str; 2] = ["--reconcile-interval", "1s"];
/// How long a client waits for an answer before it tries again, where hanging is expected.
const GLANCE: Duration = Duration::from_millis(250);
/// A service with an open rule, beside the closed one.
const OPEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 30)), 8000);

fn main() -> ExitCode {
    harness::main(&[
        case!(a_deleted_entry_is_restored).needs(NEEDS),
        case!(a_killed_listener_is_restored).needs(NEEDS),
        case!(after_a_kill_not_one_new_connection_fails).needs(NEEDS),
        case!(after_a_kill_closed_rules_refuse_until_the_next_agent).needs(NEEDS),
        case!(who_survives_removes_what_a_killed_agent_left_closed).needs(NEEDS),
        case!(cleanup_opens_what_a_killed_agent_left_closed).needs(NEEDS),
        case!(a_stopped_process_lets_new_connections_go_native).needs(NEEDS),
        case!(a_stopped_process_with_a_closed_rule_refuses).needs(NEEDS),
        case!(the_heart_beats_while_the_process_serves).needs(NEEDS),
    ])
}

fn repairs(stage: &Stage) -> Result<f64> {
    Ok(stage.agent()?.metrics()?.sum("understudy_reconcile_repairs_total", &[]))
}

/// After the damage: every request goes well one way or the other, in the end captured again, and the repair is counted.
fn is_repaired(stage: &Stage, before: f64, gap: &str, passed: f64) -> Result<()> {
    let start = Instant::now();
    let mut native = 0;
    wait::until("a request is captured again", || {
        let way = stage.ask()?;
        native += u32::from(way != Way::Captured);
        Ok((way == Way::Captured && repairs(stage)? > before).then_some(()))
    })?;
    println!("captured again after {:?}, {native} requests went native meanwhile", start.elapsed());
    ensure!(native > 0, "no request noticed the gap");
    let verdict = [("verdict", gap)];
    stage.agent()?.metrics_when("the gap shows in the metrics", |m| {
        m.sum("understudy_capture_connects_total", &verdict) > passed
    })?;
    stage.captured()
}

fn verdicts(stage: &Stage, verdict: &str) -> Result<f64> {
    Ok(stage.agent()?.metrics()?.sum("understudy_capture_connects_total", &[("verdict", verdict)]))
}

/// T05. Fails without reconciliation, or if it compares with its own memory instead of the map.
fn a_deleted_entry_is_restored() -> Result<()> {
    let stage = Stage::builder().args(&RECONCILE).up()?;
    stage.captured()?;
    let (before, passed) = (repairs(&stage)?, verdicts(&stage, "pass_not_enrolled")?);
    let kernel = stage.in_kernel()?;
    let (cookie, entry) = kernel.only_netns()?;
    kernel.netns()?.remove(&cookie)?;
    is_repaired(&stage, before, "pass_not_enrolled", passed)?;
    let (again, now) = kernel.only_netns()?;
    ensure!(again == cookie && now.ip4 == entry.ip4, "the entry is another: {now:?}");
    Ok(())
}

/// T05. Fails without the lookup of the listener in the hook (the connects in the gap would be refused), or if reconciliation does not
/// look at the listeners.
fn a_killed_listener_is_restored() -> Result<()> {
    let stage = Stage::builder().args(&RECONCILE).up()?;
    stage.captured()?;
    let (before, passed) = (repairs(&stage)?, verdicts(&stage, "no_listener")?);
    let port = u16::from_be(stage.in_kernel()?.only_netns()?.1.port4);
    let output = stage.client.run(|| {
        let port = format!("sport = :{port}");
        Ok(Command::new("ss").args(["-K", "-H", "-t", "-n", "state", "listening", &port]).output()?)
    })?;
    let killed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && killed.contains(&port.to_string()), "ss -K killed nothing: {killed}");
    is_repaired(&stage, before, "no_listener", passed)
}

/// One try of a client that makes new connections in a loop.
struct Try {
    at: Instant,
    end: Instant,
    result: Result<String>,
}

/// New connections from several threads of a pod until told to stop.
fn hammer(stage: &Stage, to: SocketAddr, stop: &AtomicBool) -> Result<Vec<Try>> {
    const CLIENTS: usize = 8;
    stage.client.run(|| {
        let client = || {
            let mut tries = Vec::new();
            let request = client::odd_request(HOST, "/hammer");
            while !stop.load(Ordering::Relaxed) {
                let at = Instant::now();
                let result = client::connect(to).and_then(|mut s| Ok(client::ask(&mut s, &request)?.text()));
                tries.push(Try { at, end: Instant::now(), result });
            }
            tries
        };
        // Threads of a thread in the pod are in the pod.
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            Ok(clients.into_iter().flat_map(|c| c.join().unwrap_or_default()).collect())
        })
    })
}

/// T14. Fails if the hooks outlive the process (links pinned although every rule is open) and do not look the listener up.
fn after_a_kill_not_one_new_connection_fails() -> Result<()> {
    let mut stage = Stage::builder().up()?;
    stage.captured()?;
    let mut control = stage.client.run(|| client::connect(integration::stage::CONTROL))?;
    let mut agent = stage.agent.take().context("no agent")?;
    let kernel = InKernel::of(agent.pid())?;
    let stop = AtomicBool::new(false);
    let seen = || stage.v1.count() + stage.v2.count();
    let (tries, killed, gone) = thread::scope(|scope| {
        let hammering = scope.spawn(|| hammer(&stage, VIP, &stop));
        let run: Result<_> = (|| {
            let before = seen();
            wait::until("the clients are at work", || Ok((seen() > before + 1_000).then_some(())))?;
            let killed = Instant::now();
            agent.kill()?;
            let (gone, after) = (Instant::now(), seen());
            wait::until("the clients go on", || Ok((seen() > after + 1_000).then_some(())))?;
            Ok((killed, gone))
        })();
        stop.store(true, Ordering::Relaxed);
        let tries = hammering.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (killed, gone) = run?;
        anyhow::Ok((tries, killed, gone))
    })?;
    let before: Vec<_> = tries.iter().filter(|t| t.at < killed).collect();
    let between = tries.iter().filter(|t| t.at >= killed && t.at < gone);
    let after: Vec<_> = tries.iter().filter(|t| t.at >= gone).collect();
    let failed = |tries: &[&Try]| tries.iter().filter(|t| t.result.is_err()).count();
    let refused = between.clone().filter(|t| t.result.as_ref().is_err_and(|e| client::is(e, &[libc::ECONNREFUSED])));
    println!("{} connects were refused in between", refused.count());
    println!(
        "{} connections before the kill ({} of them cut), {:?} until the process was gone with {} new ones ({} failed), {} after",
        before.len(),
        failed(&before),
        gone - killed,
        between.clone().count(),
        failed(&between.collect::<Vec<_>>()),
        after.len(),
    );
    if let Some(Try { result: Err(error), .. }) = after.iter().find(|t| t.result.is_err()) {
        anyhow::bail!("{} of {} new connections failed after the kill: {error:#}", failed(&after), after.len());
    }
    ensure!(after.iter().any(|t| t.result.as_ref().is_ok_and(|body| body == "v2")), "v2 answered nobody natively");
    if let Some(Try { result: Err(error), .. }) = before.iter().find(|t| t.result.is_err() && t.end < killed) {
        anyhow::bail!("a connection failed before the kill: {error:#}");
    }
    stage.native()?;
    let answer = client::ask(&mut control, &client::odd_request("other:8000", "/control"))?;
    ensure!(answer.text() == "other", "a connection outside the rule did not survive");
    kernel.gone()
}

/// EPERM, as a closed rule says it.
fn refused(stage: &Stage, to: SocketAddr) -> Result<bool> {
    match stage.client.run(|| client::connect(to)) {
        Ok(_) => Ok(false),
        Err(error) if client::is(&error, &[libc::EPERM]) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A second service over the same pods, with a rule that fails open.
fn with_an_open_rule(stage: &Stage) -> Result<()> {
    let ends = [stage.server1.v4(), stage.server2.v4()].map(|ip| SocketAddr::from((ip, TARGET)));
    stage.node.cluster_ip(OPEN, &ends)?;
    let service = manifests::service("open", "mirror", &[OPEN.ip()], OPEN.port(), TARGET)
        .replace("selector: {app: open}", "selector: {app: httpbin}");
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: open, namespace: mirror}\n\
        spec: {hosts: [open], http: [{route: [{destination: {host: open}}]}]}\n";
    stage.manifests.apply("open.yaml", &manifests::documents(&[service, rule.to_owned()]))
}

fn answers(stage: &Stage, to: SocketAddr) -> Result<()> {
    let request = client::odd_request("open:8000", "/open");
    let answer = stage.client.run(|| client::ask(&mut client::connect(to)?, &request))?;
    ensure!(answer.status == 200, "{to} answered {}", answer.status);
    Ok(())
}

/// T15. Fails if the links of a closed rule are not pinned, if a stale heartbeat refuses open rules too, or if the next agent does not
/// retire its predecessor's hooks.
fn after_a_kill_closed_rules_refuse_until_the_next_agent() -> Result<()> {
    let mut stage = Stage::builder().closed().lay()?;
    with_an_open_rule(&stage)?;
    stage.start_agent()?;
    stage.captured()?;
    answers(&stage, OPEN)?;
    let mut agent = stage.agent.take().context("no agent")?;
    let kernel = InKernel::of(agent.pid())?;
    agent.kill()?;
    for _ in 0..20 {
        ensure!(refused(&stage, VIP)?, "a closed rule was open after the kill");
        answers(&stage, OPEN)?;
        stage.control()?;
    }
    ensure!(kernel.alive()?.links == kernel.links, "a pinned link is gone");
    let next = Agent::builder(&stage.node).config(stage.manifests.path()).bpffs(agent.bpffs()).beside("next", 1);
    stage.agent = Some(next.start()?);
    stage.captured()?;
    answers(&stage, OPEN)?;
    kernel.gone().context("the first agent's")?;
    // An agent that ends as it should leaves nothing closed.
    let kernel = stage.in_kernel()?;
    ensure!(stage.agent.take().context("no agent")?.stop()?.success(), "the agent did not end well");
    stage.native()?;
    kernel.gone()
}

/// Two agents, as in an upgrade, each in its turn killed. Fails if pins of a dead agent are only looked for at a start, or if those of a living one
/// are taken for a dead one's.
fn who_survives_removes_what_a_killed_agent_left_closed() -> Result<()> {
    let mut stage = Stage::builder().closed().args(&RECONCILE).args(&["--instance", "first"]).up()?;
    let beside = |stage: &Stage, name: &str, offset| {
        let bpffs = stage.agent()?.bpffs();
        let agent = Agent::builder(&stage.node).config(stage.manifests.path()).bpffs(bpffs).beside(name, offset);
        agent.args(&RECONCILE).args(&["--instance", name]).start()
    };
    // The first has the bpffs, which goes with it.
    let mut killed = Vec::new();
    for (dead_first, name, offset) in [(true, "second", 100), (false, "third", 200)] {
        let mut other = beside(&stage, name, offset)?;
        let kernels = [stage.in_kernel()?, InKernel::of(other.pid())?];
        reconciled(&other)?;
        reconciled(stage.agent()?)?;
        for kernel in &kernels {
            ensure!(kernel.alive()?.links == kernel.links, "a living agent's hooks are gone");
        }
        stage.captured()?;
        // Who came first sees connections first: dead, it refuses them. Who came later is only heard when the first has gone.
        if dead_first {
            other = std::mem::replace(stage.agent.as_mut().context("no agent")?, other);
        }
        other.kill()?;
        let (dead, living) = if dead_first { (&kernels[0], &kernels[1]) } else { (&kernels[1], &kernels[0]) };
        let mut refusals = 0;
        wait::until("connections are taken again", || {
            let refused = refused(&stage, VIP)?;
            refusals += u32::from(refused);
            Ok((!refused && dead.alive()?.links.is_empty()).then_some(()))
        })?;
        println!("{refusals} connections were refused meanwhile");
        ensure!(dead_first || refusals == 0, "the living agent's connections were refused");
        stage.captured()?;
        dead.gone()?;
        ensure!(living.alive()?.links == living.links, "the living agent's hooks are gone");
        stage.control()?;
        killed.push(other);
    }
    let agent = stage.agent.take().context("no agent")?;
    let bpffs = agent.bpffs().to_owned();
    ensure!(agent.stop()?.success(), "the agent did not end well");
    stage.native()?;
    let left = std::fs::read_dir(bpffs)?.flatten().filter(|entry| entry.file_name() == "understudy").count();
    ensure!(left == 0, "pins are left");
    Ok(())
}

/// Waits until the agent has looked after everything once more: it mends an entry that is gone.
fn reconciled(agent: &Agent) -> Result<()> {
    let repairs = || Ok::<_, anyhow::Error>(agent.metrics()?.sum("understudy_reconcile_repairs_total", &[]));
    let (before, kernel) = (repairs()?, InKernel::of(agent.pid())?);
    let (cookie, _) = kernel.only_netns()?;
    kernel.netns()?.remove(&cookie)?;
    wait::until("the agent has reconciled", || Ok((repairs()? > before).then_some(())))
}

/// T21 with a dead agent. Fails if `cleanup` does not know where the pins are.
fn cleanup_opens_what_a_killed_agent_left_closed() -> Result<()> {
    let mut stage = Stage::builder().closed().up()?;
    stage.captured()?;
    let mut agent = stage.agent.take().context("no agent")?;
    let kernel = InKernel::of(agent.pid())?;
    agent.kill()?;
    ensure!(refused(&stage, VIP)?, "a closed rule was open after the kill");
    // A second time there is nothing to do, and that is no error.
    for _ in 0..2 {
        let mut command = Command::new(paths::binary());
        command.arg("cleanup").arg("--bpffs").arg(agent.bpffs());
        let mut cleanup = stage.node.start("cleanup", &mut command)?;
        let status = cleanup.wait()?;
        ensure!(status.success(), "cleanup ended with {status}: {}", cleanup.log());
        kernel.gone()?;
    }
    stage.native()?;
    ensure!(agent.pins()?.is_empty(), "left in bpffs: {:?}", agent.pins()?);
    stage.control()
}

/// T16. Fails without the heartbeat's test in the hook: the stopped process's listeners go on to take connections that nobody serves.
fn a_stopped_process_lets_new_connections_go_native() -> Result<()> {
    let stage = Stage::builder().up()?;
    stage.captured()?;
    let agent = stage.agent()?.pid();
    let stopped = Instant::now();
    nix::sys::signal::kill(agent, Signal::SIGSTOP)?;
    let request = client::odd_request(HOST, "/stopped");
    let mut hung = 0;
    let outcome = wait::until("a new connection is answered", || {
        let answer = stage.client.run(|| client::ask_within(VIP, &request, GLANCE))?;
        hung += u32::from(answer.is_none());
        Ok(answer)
    });
    let after = stopped.elapsed();
    let outcome = outcome.and_then(|_| {
        println!("native {after:?} after SIGSTOP; {hung} connections hung before that");
        // From then on every one.
        (0..20).try_for_each(|_| stage.native())?;
        stage.control()
    });
    nix::sys::signal::kill(agent, Signal::SIGCONT)?;
    outcome?;
    stage.captured_soon()
}

/// T16, closed. Fails if a stale heartbeat passes whatever the rule says.
fn a_stopped_process_with_a_closed_rule_refuses() -> Result<()> {
    let stage = Stage::builder().closed().up()?;
    stage.captured()?;
    let agent = stage.agent()?.pid();
    let stopped = Instant::now();
    nix::sys::signal::kill(agent, Signal::SIGSTOP)?;
    let outcome = wait::until("a new connection is refused", || Ok(refused(&stage, VIP)?.then_some(())));
    let after = stopped.elapsed();
    let outcome = outcome.and_then(|()| {
        println!("refused {after:?} after SIGSTOP");
        ensure!(refused(&stage, VIP)?, "refused once, then let through");
        stage.control()
    });
    nix::sys::signal::kill(agent, Signal::SIGCONT)?;
    outcome?;
    wait::until("connections are taken again", || Ok((!refused(&stage, VIP)?).then_some(())))?;
    // The rule opens without a restart, and the pins go with it.
    stage.captured()?;
    ensure!(!stage.agent()?.pins()?.is_empty(), "a closed rule has no pins");
    stage.agent()?.changed(|| stage.manifests.apply("virtual-service.yaml", manifests::MIRROR))?;
    wait::until("the pins are gone", || Ok(stage.agent()?.pins()?.is_empty().then_some(())))?;
    stage.captured()
}

/// Fails if the heartbeat is written once, or by something that stops with the traffic.
fn the_heart_beats_while_the_process_serves() -> Result<()> {
    let stage = Stage::builder().up()?;
    let kernel = stage.in_kernel()?;
    for _ in 0..5 {
        let before = kernel.heartbeat()?;
        ensure!(before > 0, "there never was a beat");
        wait::until("the next beat", || Ok((kernel.heartbeat()? > before).then_some(())))?;
        stage.captured()?;
    }
    let agent = stage.agent()?.pid();
    nix::sys::signal::kill(agent, Signal::SIGSTOP)?;
    let beats = [
        kernel.heartbeat(),
        stage.client.run(|| {
            let request = client::odd_request(HOST, "/stopped");
            client::ask_within(VIP, &request, GLANCE)?;
            kernel.heartbeat()
        }),
    ];
    nix::sys::signal::kill(agent, Signal::SIGCONT)?;
    let [first, second] = beats;
    ensure!(first? == second?, "a stopped process's heart beats");
    stage.captured_soon()
}
