//! What one node costs the API server of a large cluster, and how soon a rule is in force there.
//!
//! Comes in: how large the cluster is. Goes out: a table for each phase, and the figures as JSON. Everything is real but the other nodes: etcd and
//! kube-apiserver, the agent with the rights that `deploy/` gives it, a node whose pods are namespaces with cgroups; pods of other nodes are
//! objects alone. Load and time are bounded; everything is removed at the end, also after a failure and at Ctrl-C.

mod api;
mod apply;
mod control_plane;
mod meter;
mod objects;
mod phases;
mod population;
mod programs;
mod report;
mod stage;
mod traffic;
mod window;

use std::{fs, path::PathBuf, process::ExitCode, thread, time::Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use integration::{Node, leftovers, needs::Need, paths};
use serde_json::json;

use crate::{api::Api, control_plane::ControlPlane, population::Size, programs::Programs, report::Report};

/// What one node costs a large cluster's API server.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench scale")]
struct Options {
    #[command(flatten)]
    size: Size,
    #[command(flatten)]
    given: programs::Given,
    /// Pods that come and go, endpoints that change, rules that change: so many of each
    #[arg(long, default_value_t = 150)]
    events: usize,
    /// Rules that are applied and deleted, in each of two namespaces
    #[arg(long, default_value_t = 50)]
    applies: usize,
    /// Agents of other nodes that are started at last, to see what each costs the API server
    #[arg(long, default_value_t = 8)]
    agents: usize,
    /// Seconds in which nothing happens
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Where the figures go
    #[arg(long, default_value_os_t = paths::workspace().join("target/scale.json"))]
    json: PathBuf,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    leftovers::install()?;
    let size = &options.size;
    if size.services < size.rules.max(1)
        || size.pods < size.services
        || size.node_pods > 200
        || size.nodes <= options.agents
    {
        bail!(
            "there must be a service for each rule, a pod for each service, a node for each agent, and at most 200 pods on ours"
        );
    }
    if options.applies >= stage::MOST_SERVICES {
        bail!("--applies: there is room for {} services", stage::MOST_SERVICES - 1);
    }
    let needs = [Need::Root, Need::NetTools, Need::Curl, Need::Cgroup2, Need::Btf, Need::Agent];
    let unmet: Vec<_> = needs.into_iter().filter_map(Need::unmet).collect();
    if !unmet.is_empty() {
        bail!("the node under test needs more than there is:\n  {}", unmet.join("\n  "));
    }
    let programs = Programs::find(&options.given)?;
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    println!("{} on {cpus} CPUs, which etcd and kube-apiserver share with it", paths::binary().display());
    println!("{size}");

    let start = Instant::now();
    let node = Node::new()?;
    let plane = ControlPlane::start(&node, &programs)?;
    let mut report = Report::default();
    // The administrator's requests come from the control plane's own namespace: the link carries the agent's alone.
    plane.pod.run(|| {
        let api = Api::new(&plane.administrator())?;
        phases::all(options, &node, &plane, &api, &mut report)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let figures = json!({
        "binary": paths::binary(), "cpus": cpus, "size": size, "events": options.events, "applies": options.applies,
        "agents": options.agents, "seconds": seconds, "figures": report.json(),
    });
    fs::write(&options.json, serde_json::to_string_pretty(&figures)?)
        .with_context(|| format!("cannot write {}", options.json.display()))?;
    println!("\n{seconds:.0} s; figures: {}", options.json.display());
    Ok(())
}
