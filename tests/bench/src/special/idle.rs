//! Many enrolled pods that do nothing: what each costs in memory and files.

use std::{fs, net::Ipv4Addr, thread, time::Duration};

use anyhow::{Context as _, Result};
use integration::{Agent, Manifests, Node, Pod, fault_matrix::Usage, manifests};

use crate::{special::Figure, world::World};

/// Measures, on a node of its own.
pub(crate) fn measure(world: &mut World, quick: bool, _: f64) -> Result<Vec<Figure>> {
    // Two agents at one cgroup root do not meet, but an idle machine is to be idle.
    world.ours.stop()?;
    let count: u16 = if quick { 50 } else { 250 };
    let node = Node::new()?;
    let manifests = Manifests::new(&node)?;
    manifests.apply("namespace.yaml", &manifests::namespace("bench"))?;
    let (none, none_own) = settled(&node, &manifests)?;
    let mut pods: Vec<Pod> = Vec::new();
    let mut objects = Vec::new();
    for number in 0..count {
        let [high, low] = (number + 256 * 2 + 10).to_be_bytes();
        let pod = node.pod(&format!("idle-{number}")).ip(Ipv4Addr::new(10, 244, high, low)).start()?;
        objects.push(manifests::pod(&pod, "bench", true));
        pods.push(pod);
    }
    manifests.apply("pods.yaml", &manifests::documents(&objects))?;
    let (all, all_own) = settled(&node, &manifests)?;
    let each = |all: f64, none: f64| (all - none) / f64::from(count);
    Ok([
        Figure::of("idle-none-rss", "RSS of an idle agent without pods", "MiB", [none.rss as f64 / 1024.0]),
        Figure::of(
            "idle-none-anonymous",
            "of that, memory of its own (the rest are pages of the binary)",
            "MiB",
            [none_own],
        ),
        Figure::of(
            "idle-rss",
            format!("RSS of an idle agent with {count} enrolled pods"),
            "MiB",
            [all.rss as f64 / 1024.0],
        ),
        Figure::of("idle-anonymous", "of that, memory of its own (the rest are pages of the binary)", "MiB", [all_own]),
        Figure::of("idle-rss-each", "RSS for each of them", "KiB", [each(all.rss as f64, none.rss as f64)]),
        Figure::of("idle-fds-each", "file descriptors for each of them", "", [each(all.fds as f64, none.fds as f64)]),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// What an agent holds, and how much of it is memory of its own (MiB), once it is ready and has had time to give back what starting took.
fn settled(node: &Node, manifests: &Manifests) -> Result<(Usage, f64)> {
    let agent = Agent::builder(node).config(manifests.path()).without_access_log().start()?;
    thread::sleep(Duration::from_secs(5));
    let usage = Usage::of(agent.pid())?;
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    let own =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().split(' ').next()?.parse::<f64>().ok());
    agent.stop()?;
    Ok((usage, own.context("no RssAnon")? / 1024.0))
}
