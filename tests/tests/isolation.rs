//! Whom the agent leaves alone: the node and its pods once it has gone, other agents, other programs, other cgroups.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Agent, Node, Stage, case,
    cgroups::{self, Child, NetCls},
    client, footprint, harness,
    in_kernel::InKernel,
    needs::Need,
    paths,
    seed::VIP,
    stage::{TARGET, Way},
    translator::Translator,
    wait,
};
use nix::sys::signal::Signal;

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[
        case!(nothing_is_left_when_the_agent_ends).needs(NEEDS),
        case!(a_child_cgroup_is_refused_as_the_root).needs(NEEDS),
        case!(a_virtual_root_is_refused).needs(NEEDS),
        case!(capture_works_beside_cgroup_v1_with_net_cls_in_use).needs(NEEDS).alone(),
        case!(two_agents_for_one_pod_capture_once).needs(NEEDS),
        case!(another_program_that_translates_services_is_no_harm).needs(NEEDS),
        case!(two_nodes_on_one_kernel_do_not_meet).needs(NEEDS),
    ])
}

/// T21. Fails if anything is pinned for an open rule, or if the agent sets a sysctl, a route or a packet filter.
fn nothing_is_left_when_the_agent_ends() -> Result<()> {
    let mut stage = Stage::builder().dual_stack().lay()?;
    let places = |stage: &Stage| {
        let pods = [stage.node.netns(), stage.client.netns(), stage.server1.netns(), stage.server2.netns()];
        pods.iter().map(|netns| footprint::of(netns)).collect::<Result<Vec<_>>>()
    };
    let before = places(&stage)?;
    let unchanged = |stage: &Stage, when: &str| {
        let all = before.iter().zip(places(stage)?).flat_map(|(old, new)| footprint::changes(old, &new));
        let changes: Vec<_> = all.collect();
        ensure!(changes.is_empty(), "{when}: {}", changes.join("\n"));
        Ok(())
    };
    stage.start_agent()?;
    stage.captured()?;
    unchanged(&stage, "while it runs")?;
    let kernel = stage.in_kernel()?;
    ensure!(kernel.links.len() == 7 && kernel.alive()? == kernel, "the agent has {kernel:?}");
    ensure!(stage.agent()?.pins()?.is_empty(), "something is pinned although every rule is open");
    let mut agent = stage.agent.take().context("no agent")?;
    end(&mut agent)?;
    kernel.gone()?;
    ensure!(agent.pins()?.is_empty(), "something is pinned by an agent that has ended");
    unchanged(&stage, "afterwards")?;
    stage.native()?;
    stage.control()
}

/// As [`Agent::stop`], but its bpffs stays mounted.
fn end(agent: &mut Agent) -> Result<()> {
    agent.process().signal(Signal::SIGTERM)?;
    let status = agent.process().wait()?;
    ensure!(status.success(), "the agent ended with {status}");
    Ok(())
}

/// Runs the agent where it must refuse; returns what it said.
fn refusal(node: &Node, command: &mut Command) -> Result<String> {
    let mut process = node.start("refused", command)?;
    let pid = process.pid();
    let status = process.wait().with_context(|| format!("{pid} goes on:\n{}", process.tail(10)))?;
    ensure!(status.code() == Some(1), "it ended with {status}: {}", process.log());
    let log = process.log();
    ensure!(!log.contains("panicked"), "{log}");
    Ok(log)
}

fn run_at(stage: &Stage, root: &Path) -> Command {
    let mut command = Command::new(paths::binary());
    command.arg("run").arg("--config").arg(stage.manifests.path()).arg("--cgroup-root").arg(root);
    command
}

/// T23. Fails if any directory of cgroup2 is taken: hooks there see nothing of this test's client.
fn a_child_cgroup_is_refused_as_the_root() -> Result<()> {
    let stage = Stage::builder().lay()?;
    let child = Child::create(&cgroups::root()?, &format!("{}-child", stage.node.id()))?;
    let log = refusal(&stage.node, &mut run_at(&stage, child.path()))?;
    let named = child.path().display().to_string();
    ensure!(log.lines().any(|line| line.contains(&named) && line.contains("cgroup")), "it said: {log}");
    stage.native()?;
    stage.control()
}

/// T23, as a pod with a private cgroup namespace sees it. Fails if the mount's root field is believed without asking whose namespace it is.
fn a_virtual_root_is_refused() -> Result<()> {
    let stage = Stage::builder().lay()?;
    let child = Child::create(&cgroups::root()?, &format!("{}-pod", stage.node.id()))?;
    let mount = stage.node.dir().join("cgroup");
    fs::create_dir_all(&mount)?;
    // In the child, in a cgroup namespace and a mount namespace of its own, with its part of cgroup2 mounted.
    let script = "echo $$ > \"$0/cgroup.procs\" && exec unshare --cgroup --mount sh -c \
        'mount -t cgroup2 none \"$0\" && test -e \"$0/cgroup.type\" && exec \"$@\"' \"$@\"";
    let run = run_at(&stage, &mount);
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(child.path()).arg(&mount).arg(run.get_program()).args(run.get_args());
    let log = refusal(&stage.node, &mut command)?;
    let named = mount.display().to_string();
    ensure!(log.lines().any(|line| line.contains(&named) && line.contains("cgroup")), "it said: {log}");
    stage.native()?;
    stage.control()
}

/// T24. Fails if the hooks are attached to a path instead of the mounted cgroup2, and before kernel 5.15 because a socket then forgets its
/// cgroup2 as soon as `net_cls` is used (8520e224f547).
fn capture_works_beside_cgroup_v1_with_net_cls_in_use() -> Result<()> {
    let stage = Stage::builder().up()?;
    stage.captured()?;
    let hybrid = fs::read_to_string("/proc/self/mountinfo")?.lines().any(|line| line.contains(" - cgroup "));
    println!("cgroup2 is at {}; cgroup v1 is mounted too: {hybrid}", cgroups::root()?.display());
    let Some(net_cls) = NetCls::mount(&stage.node.dir().join("net_cls"))? else {
        println!("net_cls is not there or in use by others: only the machine's own layout was tried");
        return Ok(());
    };
    let class = Child::create(net_cls.path(), "client")?;
    fs::write(class.path().join("net_cls.classid"), "0x10001")?;
    let mut stream = stage.client.run(|| {
        class.join()?;
        client::connect(VIP)
    })?;
    ensure!(stage.ask_on(&mut stream)? == Way::Captured, "a client in a net_cls class was not captured");
    stage.captured()?;
    drop(stream);
    drop((class, net_cls));
    wait::until("the machine is as it was", || Ok((cgroups::hierarchy() == Some(0)).then_some(())))?;
    stage.captured()
}

/// T25 with our own programs as the others: whoever comes first takes the connection, the second sees a loopback destination. Fails if the
/// loopback test is missing, or if original destinations are kept without the listener's port.
fn two_agents_for_one_pod_capture_once() -> Result<()> {
    let mut stage = Stage::builder().up()?;
    stage.captured()?;
    let second = Agent::builder(&stage.node).config(stage.manifests.path()).beside("second", 100);
    let second = second.args(&["--instance", "second"]).start()?;
    for _ in 0..10 {
        let (before, after) = (stage.v1.count(), stage.v2.count());
        stage.captured()?;
        ensure!(stage.v1.count() == before + 1, "one request came {} times to v1", stage.v1.count() - before);
        ensure!(stage.v2.count() == after + 1, "one request has {} shadows", stage.v2.count() - after);
    }
    // The keep-alive connection of the first ends with it, the next connect is the second's.
    ensure!(stage.agent.take().context("no agent")?.stop()?.success(), "the first did not end well");
    for _ in 0..5 {
        stage.captured()?;
    }
    stage.agent = Some(second);
    let counted = stage.agent()?.settled()?.candidates();
    ensure!(counted >= 5.0, "the second counts {counted} candidates");
    Ok(())
}

/// Gives `httpbin` an external address that no other world of this machine has, because the translator sees them all.
fn with_an_external_address(stage: &Stage) -> Result<SocketAddrV4> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let service = SocketAddrV4::new(Ipv4Addr::new(10, 96, high | 0x80, low), VIP.port());
    stage.node.cluster_ip(service.into(), &[SocketAddrV4::new(stage.server1.v4(), TARGET).into()])?;
    let world = fs::read_to_string(stage.manifests.path().join("world.yaml"))?;
    let cluster_ip = format!("clusterIP: \"{}\"\n", VIP.ip());
    ensure!(world.contains(&cluster_ip), "the manifest is written otherwise");
    let both = format!("{cluster_ip}  externalIPs: [{}]\n", service.ip());
    stage.manifests.apply("world.yaml", &world.replace(&cluster_ip, &both))?;
    Ok(service)
}

/// T25. Somebody's `connect4` program leads the service's address to v2's pod, first before our hooks and then after them. Before: we see
/// an endpoint that no rule names, and pass. After: it sees our listener's address, and passes. Fails if the hook takes a connection to an
/// endpoint of an ordinary Service for the Service's own, or if the order decides whether a connection works.
fn another_program_that_translates_services_is_no_harm() -> Result<()> {
    let mut stage = Stage::builder().lay()?;
    let service = with_an_external_address(&stage)?;
    let endpoint = SocketAddrV4::new(stage.server2.v4(), TARGET);
    let before = Translator::attach(service, endpoint)?;
    let lead = |stage: &Stage| {
        // The other program has no hook for getpeername, and ours leaves alone what it has not taken: it answers the endpoint.
        let mut stream = stage.client.run(|| client::connect(service.into()))?;
        let peer = stream.peer_addr()?;
        Ok::<_, anyhow::Error>((peer, stage.ask_on(&mut stream)?))
    };
    let native = lead(&stage)?;
    ensure!(native == (endpoint.into(), Way::Native("v2".to_owned())), "the translator does not work: {native:?}");
    stage.start_agent()?;
    for _ in 0..5 {
        let now = lead(&stage)?;
        ensure!(now == native, "behind another's program it was {native:?} and is {now:?}");
        stage.captured()?;
    }
    let passed = [("verdict", "pass_no_rule")];
    let counted = |m: &integration::MetricsView| m.sum("understudy_capture_connects_total", &passed) >= 5.0;
    stage.agent()?.metrics_when("the bypass is counted", counted)?;
    drop(before);
    let captured = || {
        ensure!(stage.ask_at(&stage.client, service.into())? == Way::Captured, "{service} was not captured");
        stage.captured()
    };
    // Its link may be held for a moment by a process that another test is just starting.
    wait::until("the other program is gone", || Ok((lead(&stage)?.0 == service.into()).then_some(())))?;
    captured()?;
    let after = Translator::attach(service, endpoint)?;
    (0..5).try_for_each(|_| captured())?;
    drop(after);
    captured()
}

/// T56. Both nodes have the same addresses and the same manifests. Fails if a namespace is known by its addresses, or if the end of one
/// agent detaches or unpins what is another's.
fn two_nodes_on_one_kernel_do_not_meet() -> Result<()> {
    let mut one = Stage::builder().closed().args(&["--instance", "one"]).up()?;
    let mut two = Stage::builder().closed().lay()?;
    let shared = one.agent()?.bpffs();
    let agent = Agent::builder(&two.node).config(two.manifests.path()).bpffs(shared).args(&["--instance", "two"]);
    two.agent = Some(agent.start()?);
    let candidates = |stage: &Stage| Ok::<_, anyhow::Error>(stage.agent()?.settled()?.candidates());
    for stage in [&one, &two] {
        let (before, others) = (candidates(&one)? + candidates(&two)?, stage.v1.count());
        (0..5).try_for_each(|_| stage.captured())?;
        ensure!(stage.v1.count() == others + 5, "requests of one node came to the other");
        ensure!(candidates(&one)? + candidates(&two)? == before + 5.0, "both agents count one request");
    }
    let kernel = two.in_kernel()?;
    let stop = AtomicBool::new(false);
    let mut agent = one.agent.take().context("no agent")?;
    let first = InKernel::of(agent.pid())?;
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                two.captured()?;
                asked += 1;
            }
            anyhow::Ok(asked)
        });
        let ended = (|| {
            end(&mut agent)?;
            first.gone()
        })();
        stop.store(true, Ordering::Relaxed);
        let asked = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ended.and(asked)
    })?;
    println!("the second node's client asked {asked} times while the first node's agent went away");
    one.native()?;
    (0..5).try_for_each(|_| two.captured())?;
    ensure!(kernel.alive()? == kernel, "the second agent lost something in the kernel");
    ensure!(agent.pins()?.len() == 1, "the second agent's pins are gone");
    two.agent.as_mut().context("no agent").and_then(end)?;
    ensure!(agent.pins()?.is_empty(), "pins are left: {:?}", agent.pins()?);
    Ok(())
}
