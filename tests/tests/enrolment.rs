//! Who is captured, from when, and until when: pods come, go, were there before, must never be.

use std::{
    io::Write as _,
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Behaviour, Pod, Stage, case, client, harness, manifests,
    needs::Need,
    netns,
    node::NODE_V4,
    seed::VIP,
    stage::{CONTROL_TARGET, TARGET, VIP6, Way, canonical},
    wait,
};

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[
        case!(connections_older_than_the_agent_go_on_untouched).needs(NEEDS),
        case!(connections_older_than_the_enrolment_go_on_untouched).needs(NEEDS),
        case!(the_next_connect_after_the_enrolment_is_captured).needs(NEEDS),
        case!(a_pod_enrolled_a_hundred_times_has_one_listener).needs(NEEDS),
        case!(a_host_network_client_is_never_captured).needs(NEEDS),
        case!(a_pod_that_names_the_hosts_namespace_is_refused).needs(NEEDS),
        case!(a_pod_without_ipv6_is_captured_for_ipv4).needs(NEEDS),
        case!(a_pod_without_a_v6_loopback_address_is_captured_for_both).needs(NEEDS),
        case!(a_pod_with_ipv6_off_on_its_loopback_goes_native_for_ipv6).needs(NEEDS),
        case!(what_is_excluded_stays_native).needs(NEEDS),
        case!(a_deleted_pods_namespace_is_let_go).needs(NEEDS),
    ])
}

/// T01. Fails if packets of existing connections are touched (any packet-level hook), or if capture waits for a connection to end.
fn connections_older_than_the_agent_go_on_untouched() -> Result<()> {
    let mut stage = Stage::builder().lay()?;
    let mut old = stage.client.run(|| client::connect(VIP))?;
    let first = stage.ask_on(&mut old)?;
    stage.start_agent()?;
    for _ in 0..5 {
        stage.captured()?;
        let now = stage.ask_on(&mut old)?;
        ensure!(now == first, "the old connection went {first:?} and goes {now:?}");
    }
    Ok(())
}

/// T01, the pod's half. Fails if an enrolment resets what the pod has open (as `ss -K` over its sockets would).
fn connections_older_than_the_enrolment_go_on_untouched() -> Result<()> {
    let stage = Stage::builder().not_enrolled().up()?;
    let mut old = stage.client.run(|| client::connect(VIP))?;
    let first = stage.ask_on(&mut old)?;
    ensure!(matches!(first, Way::Native(_)), "captured before it was enrolled");
    stage.enrol(true)?;
    stage.captured()?;
    ensure!(stage.ask_on(&mut old)? == first, "the old connection changed its way");
    stage.enrol(false)?;
    stage.native()?;
    ensure!(stage.ask_on(&mut old)? == first, "the old connection changed its way");
    stage.control()
}

/// T03. Fails with a cache of "this namespace has no proxy" at the first connect.
fn the_next_connect_after_the_enrolment_is_captured() -> Result<()> {
    let stage = Stage::builder().not_enrolled().up()?;
    let passed = || -> Result<f64> {
        let verdict = [("verdict", "pass_not_enrolled")];
        Ok(stage.agent()?.metrics()?.sum("understudy_capture_connects_total", &verdict))
    };
    let before = passed()?;
    for _ in 0..3 {
        stage.native()?;
    }
    wait::until("the bypass is counted", || Ok((passed()? >= before + 3.0).then_some(())))?;
    stage.enrol(true)?;
    stage.captured()
}

/// T06. Fails if a withdrawn listener is not closed, or if a late withdrawal hits the next enrolment.
fn a_pod_enrolled_a_hundred_times_has_one_listener() -> Result<()> {
    let stage = Stage::builder().up()?;
    let here = [true, false].map(|enrolled| manifests::pod(&stage.client, "mirror", enrolled));
    let stop = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        // Whichever way a request goes just now, it must go well.
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                stage.ask()?;
                asked += 1;
            }
            anyhow::Ok(asked)
        });
        let turned = (0..200).try_for_each(|turn| {
            // Slow enough that most of them are seen, at different moments of a request.
            thread::sleep(Duration::from_millis(turn % 13));
            stage.manifests.apply("client.yaml", &here[(turn as usize + 1) % 2])
        });
        stop.store(true, Ordering::Relaxed);
        let asked = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        turned.and(asked)
    })?;
    println!("{asked} requests went well while the pod came and went");
    // The two hundredth was an enrolment; one more that can be waited for.
    stage.enrol(false)?;
    stage.enrol(true)?;
    stage.captured()?;
    wait::until("one listener for each family at most", || {
        let listeners = listeners(&stage.client)?;
        Ok((listeners.0 == 1 && listeners.1 <= 1).then_some(()))
    })
    .with_context(|| format!("listening in the pod (IPv4, IPv6): {:?}", listeners(&stage.client)))?;
    stage.in_kernel()?.only_netns().map(drop)
}

/// How many TCP sockets listen in a pod: IPv4, IPv6.
fn listeners(pod: &Pod) -> Result<(usize, usize)> {
    pod.run(|| {
        let count = |table: &str| -> Result<usize> {
            let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}"))?;
            // The fourth column is the state; 0A is TCP_LISTEN.
            Ok(text.lines().filter(|line| line.split_whitespace().nth(3) == Some("0A")).count())
        };
        Ok((count("tcp")?, count("tcp6")?))
    })
}

/// A Pod as the API shows it when it uses the host's network, with an annotation that asks for capture all the same.
fn host_network_pod(name: &str, netns: &str, host_network: bool) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: mirror\n  labels: {{app: {name}}}\n\
         \x20 annotations: {{understudy.dev/netns: {netns}}}\nspec: {{hostNetwork: {host_network}}}\n\
         status: {{podIP: {NODE_V4}, podIPs: [{{ip: {NODE_V4}}}]}}\n"
    )
}

/// T07. Fails if the hooks do not ask for the namespace's cookie, or ask with a null context on a machine whose first namespace is enrolled.
fn a_host_network_client_is_never_captured() -> Result<()> {
    let stage = Stage::builder().up()?;
    let node = stage.node.netns().name();
    stage.agent()?.changed(|| stage.manifests.apply("host.yaml", &host_network_pod("on-host", node, true)))?;
    stage.captured()?;
    let mut stream = stage.node.netns().run(|| client::connect(VIP))?;
    let way = stage.ask_on(&mut stream)?;
    ensure!(matches!(way, Way::Native(_)), "the node's own connection was captured");
    stage.in_kernel()?.only_netns().map(drop)
}

/// T08. Fails if the namespace's identity is not compared with the agent's own and that of PID 1.
fn a_pod_that_names_the_hosts_namespace_is_refused() -> Result<()> {
    let stage = Stage::builder().up()?;
    let own = stage.node.netns().path().display().to_string();
    for (name, netns) in [("in-node", own.as_str()), ("in-machine", "/proc/1/ns/net")] {
        stage
            .agent()?
            .changed(|| stage.manifests.apply(&format!("{name}.yaml"), &host_network_pod(name, netns, false)))?;
        wait::until("the refusal is in the log", || {
            let log = stage.agent()?.log();
            Ok(log.lines().any(|line| line.contains(name) && line.contains("not enrolled")).then_some(()))
        })
        .with_context(|| {
            format!("the agent's log is:\n{}", stage.agent().map(integration::Agent::log).unwrap_or_default())
        })?;
        let mut stream = stage.node.netns().run(|| client::connect(VIP))?;
        ensure!(matches!(stage.ask_on(&mut stream)?, Way::Native(_)), "the node's own connection was captured");
        stage.captured()?;
    }
    stage.in_kernel()?.only_netns().map(drop)
}

/// T32. Fails if an enrolment insists on a listener at `::1`.
fn a_pod_without_ipv6_is_captured_for_ipv4() -> Result<()> {
    let no_ipv6 = |pod: &Pod| {
        ["all", "default", "lo", "eth0"]
            .iter()
            .try_for_each(|device| pod.netns().sysctl(&format!("ipv6/conf/{device}/disable_ipv6"), "1"))
    };
    let stage = Stage::builder().prepare(no_ipv6).up()?;
    stage.captured()
}

/// T32, the other half. Fails if the IPv6 listener is only ever tried at `::1`.
fn a_pod_without_a_v6_loopback_address_is_captured_for_both() -> Result<()> {
    let no_loopback = |pod: &Pod| pod.netns().ip(&["-6 address del ::1/128 dev lo"]);
    let stage = Stage::builder().dual_stack().prepare(no_loopback).up()?;
    stage.captured()?;
    ensure!(stage.ask_at(&stage.client, VIP6)? == Way::Captured, "{VIP6} was not captured");
    let (_, entry) = stage.in_kernel()?.only_netns()?;
    ensure!(Some(entry.listen6.into()) == stage.client.v6(), "the listener is at {:?}", entry.listen6);
    Ok(())
}

/// Such a pod cannot connect to any IPv6 address of its own. Fails if a listener that binds is taken for one that can be reached: the
/// client's connections to IPv6 services would hang.
fn a_pod_with_ipv6_off_on_its_loopback_goes_native_for_ipv6() -> Result<()> {
    let no_loopback = |pod: &Pod| pod.netns().sysctl("ipv6/conf/lo/disable_ipv6", "1");
    let stage = Stage::builder().dual_stack().prepare(no_loopback).up()?;
    stage.captured()?;
    ensure!(stage.ask_at(&stage.client, VIP6)? != Way::Captured, "{VIP6} was captured");
    Ok(())
}

/// T43. Fails if a rule's key has no port, if `disabled` on the Pod does not win, or if a port declared as `tcp` is captured.
fn what_is_excluded_stays_native() -> Result<()> {
    let stage = Stage::builder().lay()?;
    let excluded = stage.node.pod("excluded").start()?;
    let manifest = manifests::pod(&excluded, "mirror", true);
    let manifest = manifest.replace("labels: {", "labels: {understudy.dev/capture: disabled, ");
    stage.manifests.apply("excluded.yaml", &manifest)?;
    let mut stage = with_a_tcp_port(stage)?;
    stage.start_agent()?;
    stage.captured()?;
    ensure!(stage.ask_at(&excluded, VIP)? != Way::Captured, "an excluded pod was captured");
    for port in [8001, 8002] {
        let mut to = VIP;
        to.set_port(port);
        let mut stream = stage.client.run(|| client::connect(to))?;
        client::ask(&mut stream, &client::odd_request("x", "/port"))?;
        let peer = *stage.other.peers().last().context("nobody came")?;
        ensure!(canonical(peer) == stream.local_addr()?, "port {port}: the server saw {peer}");
    }
    stage.in_kernel()?.only_netns().map(drop)
}

/// Two more ports of the ClusterIP: 8001 is declared as `tcp`, 8002 is not of the Service at all.
fn with_a_tcp_port(stage: Stage) -> Result<Stage> {
    for port in [8001, 8002] {
        let mut vip = VIP;
        vip.set_port(port);
        stage.node.cluster_ip(vip, &[(stage.server1.v4(), CONTROL_TARGET).into()])?;
    }
    let path = stage.manifests.path().join("world.yaml");
    let world = std::fs::read_to_string(path)?;
    let http = format!("ports: [{{name: http, port: 8000, targetPort: {TARGET}");
    let tcp = format!("ports: [{{name: tcp-raw, port: 8001, targetPort: {CONTROL_TARGET}, protocol: TCP}}, ");
    ensure!(world.contains(&http), "the manifest is written otherwise");
    stage.manifests.apply("world.yaml", &world.replace(&http, &http.replace("ports: [", &tcp)))?;
    Ok(stage)
}

/// Fact 14 of the design's sources. Fails if the agent keeps a listener, a pooled upstream, a request that hangs
/// or the namespace's descriptor of a pod that is gone.
fn a_deleted_pods_namespace_is_let_go() -> Result<()> {
    let stage = Stage::builder().args(&["--drain-timeout", "1s"]).up()?;
    let doomed = stage.node.pod("doomed").label("app", "doomed").start()?;
    stage.manifests.apply("doomed.yaml", &manifests::pod(&doomed, "mirror", true))?;
    stage.enrolled(2)?;
    ensure!(stage.ask_at(&doomed, VIP)? == Way::Captured, "the second pod was not captured");
    // A connection that is in the middle of a request when the pod goes.
    stage.v1.behave(Behaviour::Hang);
    let mut half = doomed.run(|| client::connect(VIP))?;
    half.write_all(&client::odd_request("httpbin:8000", "/half"))?;
    wait::until("the half request is at v1", || {
        Ok(stage.v1.requests().iter().any(|seen| seen.request_line().contains("/half")).then_some(()))
    })?;
    let link = doomed.host_interface().to_owned();
    drop(half);
    drop(doomed);
    stage.manifests.delete("doomed.yaml")?;
    stage.enrolled(1)?;
    // The veth goes with its namespace, and a namespace goes with its last socket or descriptor.
    let node = stage.node.netns().path();
    wait::until("the pod's namespace is gone", || Ok((!has_link(&node, &link)?).then_some(())))?;
    stage.v1.behave(Behaviour::Ok(b"v1".to_vec()));
    stage.captured()
}

fn has_link(node: &Path, link: &str) -> Result<bool> {
    netns::run_in(node, || {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
        Ok(text.lines().any(|line| line.trim_start().starts_with(&format!("{link}:"))))
    })
}
