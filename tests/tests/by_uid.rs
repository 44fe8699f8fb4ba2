//! Pods as a cluster knows them, by UID: found through the processes in their cgroups, with real cgroups, namespaces and hooks.
//!
//! The library is driven as a node's process would drive it. Its `/proc` is a folder with links to the processes of the test, so that the
//! node's PID 1 is one in the toy node's namespace.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, TcpListener},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use integration::{
    Node, Pod, case,
    cgroups::{self, Child, PodCgroup},
    client, harness,
    needs::{self, Need},
    netns::{self, Netns},
    process::Process,
    seed::VIP,
    wait,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::Pid,
};
use understudy::{
    capture::{Capture, CaptureOptions, CgroupRoot, cgroup::RootKind},
    control::plan::{CapturePlan, CapturedPort, PodPlan, Sandbox},
    enrol::{EnrolledPod, Enrolment, InNamespaces, NetnsTable, Serve, find},
    net::{Mark, SocketFactory},
    observe::metrics::Metrics,
};

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[
        case!(a_pod_is_found_in_every_kind_of_hierarchy_before_its_address_is_known).needs(NEEDS),
        case!(the_hosts_namespace_in_a_pods_cgroup_is_refused).needs(NEEDS),
        case!(a_process_in_another_pods_namespace_does_not_make_it_its_own).needs(NEEDS),
        case!(a_static_pod_is_found_by_its_hash_if_its_namespace_has_the_address).needs(NEEDS),
        case!(a_sandbox_that_is_made_anew_is_enrolled_anew).needs(NEEDS),
        case!(a_pod_outlives_its_first_process).needs(NEEDS),
        case!(a_pod_with_a_user_namespace_of_its_own_is_enrolled).needs(NEEDS),
        case!(a_pod_of_a_virtual_machine_is_refused_and_others_go_on).needs(NEEDS),
        case!(the_nodes_root_is_what_its_first_process_sees).needs(NEEDS),
    ])
}

/// Greets with the pod's name and how many listeners were served before this one.
#[derive(Default)]
struct Greeter {
    served: AtomicUsize,
}

impl Serve for Greeter {
    fn serve(&self, pod: Arc<EnrolledPod>, listener: TcpListener) {
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        thread::spawn(move || {
            while !pod.drain.is_cancelled() {
                match listener.accept() {
                    Ok((mut stream, _)) => drop(stream.write_all(format!("{} {number}", pod.name).as_bytes())),
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        });
    }
}

/// A node with hooks and an enrolment, and a Service that answers "native" to whoever is not captured.
struct Lab {
    node: Node,
    proc: PathBuf,
    runtime: tokio::runtime::Runtime,
    enrolment: Enrolment,
    metrics: Arc<Metrics>,
    stop: Arc<AtomicBool>,
    _init: Process,
    _server: Pod,
    _capture: Arc<Capture>,
}

impl Lab {
    fn new() -> Result<Self> {
        let node = Node::new()?;
        let server = node.pod("server").start()?;
        let listener = server.run(|| Ok(TcpListener::bind((server.v4(), 80))?))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => drop(stream.write_all(b"native")),
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        node.cluster_ip(VIP, &[(server.v4(), 80).into()])?;

        let capture = Arc::new(Capture::start(&CaptureOptions {
            // One beat is enough for a test.
            stale_after: Duration::from_secs(3600),
            ..CaptureOptions::default()
        })?);
        capture.heartbeat()?.beat()?;
        let port = CapturedPort { rule: 0, closed: false, owner: "mirror/httpbin".into() };
        let report = capture.sync_rules(&CapturePlan { ports: [(VIP, port)].into() }, 1);
        ensure!(report.failed.is_empty(), "{:?}", report.failed);

        let proc = node.dir().join("proc");
        fs::create_dir_all(&proc)?;
        let init = sleep(&node, node.netns(), "init")?;
        symlink(format!("/proc/{}", init.pid()), proc.join("1"))?;
        let metrics = Arc::new(Metrics::new());
        let reach = InNamespaces::new(SocketFactory::start(Mark::default(), u32::MAX)?, proc.clone(), false);
        let table = Arc::clone(&capture) as Arc<dyn NetnsTable>;
        let enrolment = Enrolment::new(reach, table, Arc::new(Greeter::default()), Arc::clone(&metrics));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (_init, _server, _capture) = (init, server, capture);
        Ok(Self { node, proc, runtime, enrolment, metrics, stop, _init, _server, _capture })
    }

    /// Lets the agent see a process.
    fn show(&self, pid: Pid) -> Result<()> {
        Ok(symlink(format!("/proc/{pid}"), self.proc.join(pid.to_string()))?)
    }

    /// A process in a namespace and a cgroup, for the agent to see.
    fn process(&self, netns: &Netns, cgroup: &PodCgroup, name: &str) -> Result<Process> {
        let process = sleep(&self.node, netns, name)?;
        cgroup.take(process.pid())?;
        self.show(process.pid())?;
        Ok(process)
    }

    fn apply(&mut self, plans: &[PodPlan]) -> bool {
        self.runtime.block_on(self.enrolment.apply(plans.to_vec()))
    }

    fn look(&mut self) -> bool {
        self.runtime.block_on(self.enrolment.look())
    }

    fn reason(&self, name: &str) -> String {
        let status = self.enrolment.status().load_full();
        let of = status.iter().find(|status| &*status.name == name);
        of.map_or_else(String::new, |status| status.state.clone().err().unwrap_or_else(|| "enrolled".to_owned()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.runtime.block_on(self.enrolment.withdraw_all());
    }
}

fn sleep(node: &Node, netns: &Netns, name: &str) -> Result<Process> {
    let mut command = Command::new(needs::program("sleep"));
    Process::start(netns, name, command.arg("infinity"), &node.dir().join(format!("{name}.log")))
}

/// The greeting that a connection to the ClusterIP from a namespace gets.
fn ask(netns: &Path) -> Result<String> {
    netns::run_in(netns, || {
        let mut greeting = String::new();
        client::connect(VIP)?.read_to_string(&mut greeting)?;
        Ok(greeting)
    })
}

const UID: &str = "b7cc9dfb-9ee6-4fae-bbfc-3ff7118b24e9";
const OTHER: &str = "c3f79c4b-2427-4bc6-80ce-cbe91704dda3";

fn plan(name: &str, uid: &str, ips: &[IpAddr]) -> PodPlan {
    PodPlan {
        namespace: "mirror".into(),
        name: name.into(),
        uid: uid.into(),
        sandbox: Sandbox::OfUid,
        runtime_class: None,
        ips: ips.to_vec(),
    }
}

/// The cgroup2 root, and that of a hierarchy of cgroup v1 if the machine has one.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let v1 = mounts.lines().find(|line| line.contains(" - cgroup ") && line.contains("pids"));
    let v1 = v1.and_then(|line| line.split(' ').nth(4)).map(PathBuf::from);
    Ok([cgroups::root()?].into_iter().chain(v1).collect())
}

/// Mutations that break it: reading one line of `/proc/PID/cgroup` only; asking for the address before the API has it; enrolling anew when it
/// comes.
fn a_pod_is_found_in_every_kind_of_hierarchy_before_its_address_is_known() -> Result<()> {
    for root in hierarchies()? {
        let mut lab = Lab::new()?;
        let pod = lab.node.pod("client").start()?;
        let other = lab.node.pod("other").start()?;
        ensure!(lab.apply(&[plan("client", UID, &[])]), "there is no process of it yet");
        ensure!(lab.reason("client").contains("no process"), "{}", lab.reason("client"));
        ensure!(ask(&pod.netns().path())? == "native", "captured before it was enrolled");

        let cgroup = PodCgroup::create(&root, lab.node.id(), UID)?;
        let _main = lab.process(pod.netns(), &cgroup, "main")?;
        ensure!(!lab.look(), "not enrolled: {}", lab.reason("client"));
        let greeting = ask(&pod.netns().path())?;
        ensure!(greeting.starts_with("client "), "{greeting}");
        ensure!(ask(&other.netns().path())? == "native", "a pod that nobody named was captured");
        // Its address, and then no news: the same listener.
        for _ in 0..2 {
            ensure!(!lab.apply(&[plan("client", UID, &pod.ips())]));
            ensure!(ask(&pod.netns().path())? == greeting, "enrolled anew");
        }
        println!("found in {}", root.display());
        lab.apply(&[]);
        ensure!(ask(&pod.netns().path())? == "native");
    }
    // Not a limit, a figure.
    let start = Instant::now();
    let found = find::scan(Path::new("/proc"), &[Arc::from("no-such-pod")].into());
    ensure!(found.failure.is_none() && found.pods.is_empty());
    let processes = fs::read_dir("/proc")?.flatten().filter(|entry| entry.path().join("cgroup").exists()).count();
    println!("a scan of {processes} processes took {:?}", start.elapsed());
    Ok(())
}

/// T08. Mutation that breaks it: leaving out the comparison with the namespace of the node's PID 1.
fn the_hosts_namespace_in_a_pods_cgroup_is_refused() -> Result<()> {
    let mut lab = Lab::new()?;
    let cgroup = PodCgroup::create(&cgroups::root()?, lab.node.id(), UID)?;
    let _main = lab.process(lab.node.netns(), &cgroup, "main")?;
    ensure!(lab.apply(&[plan("client", UID, &[])]));
    ensure!(lab.reason("client").contains("network namespace of the host"), "{}", lab.reason("client"));
    let text = lab.metrics.render();
    ensure!(text.contains("understudy_enrol_refused{reason=\"host_network\"} 1"), "{text}");
    ensure!(ask(&lab.node.netns().path())? == "native", "the node's own connection was captured");
    // A process of the pod in a namespace of its own is found all the same.
    let pod = lab.node.pod("client").start()?;
    let _second = lab.process(pod.netns(), &cgroup, "second")?;
    ensure!(!lab.look(), "{}", lab.reason("client"));
    ensure!(ask(&pod.netns().path())?.starts_with("client ") && ask(&lab.node.netns().path())? == "native");
    Ok(())
}

/// T09. Mutation that breaks it: giving a namespace to whoever has a process in it.
fn a_process_in_another_pods_namespace_does_not_make_it_its_own() -> Result<()> {
    let mut lab = Lab::new()?;
    let root = cgroups::root()?;
    let (victim, own) = (lab.node.pod("victim").start()?, lab.node.pod("intruder").start()?);
    let victims = PodCgroup::create(&root, lab.node.id(), UID)?;
    let intruders = PodCgroup::create(&root, lab.node.id(), OTHER)?;
    let _victim = lab.process(victim.netns(), &victims, "victim")?;
    // What start times are counted in.
    thread::sleep(Duration::from_millis(20));
    let _intruder = lab.process(victim.netns(), &intruders, "joined")?;
    // Whether the other pod is to be enrolled as well or not.
    ensure!(lab.apply(&[plan("intruder", OTHER, &[])]));
    ensure!(lab.reason("intruder").contains(UID), "{}", lab.reason("intruder"));
    ensure!(ask(&victim.netns().path())? == "native");
    lab.apply(&[plan("intruder", OTHER, &[]), plan("victim", UID, &[])]);
    ensure!(ask(&victim.netns().path())?.starts_with("victim "));
    // The intruder's own process is younger than the one that joined.
    let _own = lab.process(own.netns(), &intruders, "own")?;
    ensure!(!lab.look(), "{}", lab.reason("intruder"));
    ensure!(ask(&own.netns().path())?.starts_with("intruder ") && ask(&victim.netns().path())?.starts_with("victim "));
    Ok(())
}

/// The UID of the mirror pod leads nowhere, and the hash is whoever's word. Mutations that break it: looking for the mirror pod's UID; enrolling
/// a static pod with the addresses of whatever namespace was found, as other pods are before the API says theirs.
fn a_static_pod_is_found_by_its_hash_if_its_namespace_has_the_address() -> Result<()> {
    const HASH: &str = "0123456789abcdef0123456789abcdef";
    let mut lab = Lab::new()?;
    let root = cgroups::root()?;
    let of_hash = |hash: &str, plan: PodPlan| PodPlan { sandbox: Sandbox::OfStaticUid(hash.into()), ..plan };
    let (pod, victim, forger) =
        (lab.node.pod("etcd").start()?, lab.node.pod("victim").start()?, lab.node.pod("forger").start()?);
    let (own, victims) =
        (PodCgroup::create(&root, lab.node.id(), HASH)?, PodCgroup::create(&root, lab.node.id(), UID)?);
    let (_own, _victim) = (lab.process(pod.netns(), &own, "etcd")?, lab.process(victim.netns(), &victims, "victim")?);
    ensure!(lab.apply(&[of_hash(HASH, plan("etcd", OTHER, &[]))]), "enrolled before the API has said its address");
    ensure!(lab.reason("etcd").contains("none of the pod's addresses"), "{}", lab.reason("etcd"));
    ensure!(ask(&pod.netns().path())? == "native");
    ensure!(!lab.apply(&[of_hash(HASH, plan("etcd", OTHER, &pod.ips()))]), "{}", lab.reason("etcd"));
    ensure!(ask(&pod.netns().path())?.starts_with("etcd "));

    // Somebody's pod names the UID of another pod: with an address that is not that one's, and with none.
    for ips in [&forger.ips()[..], &[]] {
        lab.apply(&[of_hash(UID, plan("forger", OTHER, ips))]);
        ensure!(lab.reason("forger").contains("none of the pod's addresses"), "{}", lab.reason("forger"));
        ensure!(ask(&victim.netns().path())? == "native" && ask(&forger.netns().path())? == "native");
    }
    // And stands in nobody's way.
    lab.apply(&[of_hash(UID, plan("forger", OTHER, &forger.ips())), plan("victim", UID, &[])]);
    ensure!(ask(&victim.netns().path())?.starts_with("victim "), "{}", lab.reason("victim"));
    Ok(())
}

/// T10. Mutation that breaks it: taking an enrolled pod for there as long as its UID has processes.
fn a_sandbox_that_is_made_anew_is_enrolled_anew() -> Result<()> {
    let mut lab = Lab::new()?;
    let cgroup = PodCgroup::create(&cgroups::root()?, lab.node.id(), UID)?;
    let (before, after) = (lab.node.pod("before").start()?, lab.node.pod("after").start()?);
    let first = lab.process(before.netns(), &cgroup, "first")?;
    ensure!(!lab.apply(&[plan("client", UID, &before.ips())]), "{}", lab.reason("client"));
    ensure!(ask(&before.netns().path())?.starts_with("client "));
    drop(first);
    let _second = lab.process(after.netns(), &cgroup, "second")?;
    ensure!(lab.look() && lab.reason("client").contains("none of the pod's addresses"), "{}", lab.reason("client"));
    ensure!(!lab.apply(&[plan("client", UID, &after.ips())]), "{}", lab.reason("client"));
    ensure!(ask(&after.netns().path())?.starts_with("client "));
    wait::until("the old listener is closed", || Ok((ask(&before.netns().path())? == "native").then_some(())))
}

/// Mutation that breaks it: withdrawing a pod as soon as the process that it was found by has ended.
fn a_pod_outlives_its_first_process() -> Result<()> {
    let mut lab = Lab::new()?;
    let cgroup = PodCgroup::create(&cgroups::root()?, lab.node.id(), UID)?;
    let pod = lab.node.pod("client").start()?;
    let first = lab.process(pod.netns(), &cgroup, "first")?;
    let second = lab.process(pod.netns(), &cgroup, "second")?;
    ensure!(!lab.apply(&[plan("client", UID, &pod.ips())]), "{}", lab.reason("client"));
    let greeting = ask(&pod.netns().path())?;
    drop(first);
    ensure!(!lab.look(), "{}", lab.reason("client"));
    ensure!(ask(&pod.netns().path())? == greeting, "enrolled anew");
    // The last one: nothing of the pod is kept.
    drop(second);
    ensure!(lab.look());
    ensure!(lab.reason("client").contains("no process"), "{}", lab.reason("client"));
    ensure!(ask(&pod.netns().path())? == "native");
    Ok(())
}

/// T57. Fails if a namespace is entered together with its user namespace, in which we would have no rights over the cgroup's hooks.
fn a_pod_with_a_user_namespace_of_its_own_is_enrolled() -> Result<()> {
    let mut lab = Lab::new()?;
    let cgroup = PodCgroup::create(&cgroups::root()?, lab.node.id(), UID)?;
    let mut command = Command::new(needs::program("unshare"));
    command.args(["--user", "--map-root-user", "--net", "sleep", "infinity"]);
    let main = Process::start(lab.node.netns(), "main", &mut command, &lab.node.dir().join("main.log"))?;
    let netns = PathBuf::from(format!("/proc/{}/ns/net", main.pid()));
    wait::until("it has a network namespace of its own", || {
        Ok((fs::read_link(&netns)? != fs::read_link("/proc/self/ns/net")?
            && fs::read_to_string(format!("/proc/{}/comm", main.pid()))?.trim() == "sleep")
            .then_some(()))
    })?;
    cgroup.take(main.pid())?;
    lab.show(main.pid())?;
    ensure!(lab.apply(&[plan("client", UID, &[])]));
    ensure!(lab.reason("client").contains("not set up yet"), "{}", lab.reason("client"));
    let pid = main.pid().to_string();
    for words in ["link set lo up", "address add 10.244.1.200/32 dev lo"] {
        let mut command = Command::new(needs::program("nsenter"));
        command.args(["--target", &pid, "--net", "--", "ip"]).args(words.split(' '));
        ensure!(command.status()?.success(), "ip {words}");
    }
    ensure!(!lab.look(), "{}", lab.reason("client"));
    let greeting = ask(&netns)?;
    ensure!(greeting.starts_with("client "), "{greeting}");
    Ok(())
}

/// T59. Mutation that breaks it: leaving the runtime class out.
fn a_pod_of_a_virtual_machine_is_refused_and_others_go_on() -> Result<()> {
    let mut lab = Lab::new()?;
    let root = cgroups::root()?;
    let (guest, pod) = (lab.node.pod("guest").start()?, lab.node.pod("client").start()?);
    let guests = PodCgroup::create(&root, lab.node.id(), UID)?;
    let cgroup = PodCgroup::create(&root, lab.node.id(), OTHER)?;
    let (_guest, _main) = (lab.process(guest.netns(), &guests, "qemu")?, lab.process(pod.netns(), &cgroup, "main")?);
    let kata = PodPlan { runtime_class: Some("kata-qemu".into()), ..plan("guest", UID, &guest.ips()) };
    lab.apply(&[kata, plan("client", OTHER, &pod.ips())]);
    ensure!(lab.reason("guest").contains("kata-qemu"), "{}", lab.reason("guest"));
    ensure!(ask(&pod.netns().path())?.starts_with("client ") && ask(&guest.netns().path())? == "native");
    Ok(())
}

/// Fails if the root is asked of our own cgroup namespace, or of the first process of another `/proc`.
fn the_nodes_root_is_what_its_first_process_sees() -> Result<()> {
    let node = Node::new()?;
    let root = Child::create(&cgroups::root()?, &format!("{}-node", node.id()))?;
    let scope = Child::create(root.path(), "init.scope")?;
    let slice = Child::create(root.path(), "kubepods.slice")?;
    // What Docker does for kind: the first process makes its cgroup namespace in the node's cgroup, and then a scope of its own below.
    let mut command = Command::new("sh");
    let script = format!("echo $$ >{}/cgroup.procs && exec unshare --cgroup sleep infinity", root.path().display());
    command.args(["-c", &script]);
    let init = Process::start(node.netns(), "init", &mut command, &node.dir().join("init.log"))?;
    let seen = format!("/proc/{}", init.pid());
    wait::until("it has a cgroup namespace of its own", || {
        Ok((fs::read_to_string(format!("{seen}/comm"))?.trim() == "sleep").then_some(()))
    })?;
    scope.take(init.pid())?;
    let proc = node.dir().join("proc");
    fs::create_dir_all(&proc)?;
    symlink(&seen, proc.join("1"))?;

    let [whole, part] = ["whole", "part"].map(|name| node.dir().join(name));
    fs::create_dir_all(&whole)?;
    fs::create_dir_all(&part)?;
    // On a thread of its own: its mounts go with it.
    thread::scope(|scope| {
        let looking = scope.spawn(|| -> Result<()> {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)?;
            for (cgroup, at) in [(root.path(), &whole), (slice.path(), &part)] {
                mount(Some(cgroup), at, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                    .with_context(|| format!("cannot mount {}", cgroup.display()))?;
            }
            let found = CgroupRoot::find(Some(&whole), &proc)?;
            ensure!(found.kind() == RootKind::ContainerNode && found.path() == whole, "{found:?}");
            let Err(error) = CgroupRoot::find(Some(&part), &proc) else { bail!("a slice was taken for a node") };
            ensure!(error.to_string().contains("a child cgroup"), "{error}");
            // The machine's own first process is in no such node, if we may look at it at all.
            let Err(error) = CgroupRoot::find(Some(&whole), Path::new("/proc")) else {
                bail!("a node of another machine was taken for ours")
            };
            println!("{error}");
            // The machine's root is right whoever is asked.
            ensure!(CgroupRoot::find(None, Path::new("/no/such"))?.kind() == RootKind::Machine);
            Ok(())
        });
        looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
