//! The scenarios of `cargo xtask e2e`: the DaemonSet on two real nodes.
//!
//! Comes in: a cluster (kind's, or one behind a kubeconfig), and an archive of our image. Goes out: for each scenario what it showed, a
//! summary, and the exit code. Everything that a run makes is removed at its end, also after a failure and at Ctrl-C.

mod api_server;
mod bad_node;
mod churn;
mod crash;
mod enrolment;
mod installing;
mod istio;
mod late;
mod neighbours;
mod privileges;
mod probes;
mod readme;
mod reused_address;
mod scene;
mod task;
mod uninstall;
mod upgrade;
mod wrong_rule;

use std::{io::Write as _, process::ExitCode, time::Instant};

use anyhow::{Result, bail};
use clap::Parser;
use integration::{
    cluster::{Cluster, Kubectl, Options, agents, kind},
    leftovers, needs,
};

use scene::{NotHere, Scene};

/// Scenarios on a real cluster of two nodes.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask e2e")]
struct Program {
    #[command(flatten)]
    options: Options,
}

struct Scenario {
    name: &'static str,
    /// What it shows; the numbers are those of the list of promises that the datapath was built by.
    about: &'static str,
    play: fn(&Scene) -> Result<()>,
}

/// In an order that shares one installation; what takes it away comes last.
const SCENARIOS: &[Scenario] = &[
    Scenario { name: "install", about: "`kubectl apply -k deploy/`: an agent on every node", play: installing::play },
    Scenario {
        name: "privileges",
        about: "T52: the capabilities it asks for, and no other right",
        play: privileges::play,
    },
    Scenario { name: "readme", about: "README's section on Kubernetes, command by command", play: readme::play },
    Scenario { name: "task", about: "the mirroring task word for word, then in every placement", play: task::play },
    Scenario { name: "enrolment", about: "T01, T02, T03, T06: labels come and go under load", play: enrolment::play },
    Scenario {
        name: "reused-address",
        about: "T61: another service gets the address at once",
        play: reused_address::play,
    },
    Scenario { name: "wrong-rule", about: "a condition and an event; the good rule goes on", play: wrong_rule::play },
    Scenario { name: "bad-node", about: "a pod, a right and a node that are not good enough", play: bad_node::play },
    Scenario { name: "churn", about: "T11, T12: 200 pods come and go, nothing stays", play: churn::play },
    Scenario { name: "jobs", about: "T13: a completed pod is released", play: churn::jobs },
    Scenario { name: "crash", about: "T14, T20: SIGKILL under load, and again and again", play: crash::play },
    Scenario {
        name: "neighbours",
        about: "T56: two agents on one kernel, one of them deleted",
        play: neighbours::play,
    },
    Scenario { name: "late", about: "T04: the agent comes after the pods", play: late::play },
    Scenario { name: "upgrade", about: "T18: rolling upgrades under load", play: upgrade::play },
    Scenario { name: "api-server", about: "T22: no API server for two minutes, and a crash", play: api_server::play },
    Scenario { name: "probes", about: "T29: kubelet's probes during all of it", play: probes::play },
    Scenario { name: "grpc-probes", about: "T29: kubelet's gRPC probes of an enrolled pod", play: probes::by_grpc },
    Scenario { name: "uninstall", about: "T21: nothing stays, also after a SIGKILL", play: uninstall::play },
    Scenario { name: "istio", about: "beside Istio's own definitions, which stay", play: istio::play },
];

enum Verdict {
    Passed,
    /// Not at the first try.
    Flaky,
    Failed,
    NotHere(String),
}

fn main() -> ExitCode {
    match play(&Program::parse().options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(options: &Options) -> Result<bool> {
    if options.list {
        SCENARIOS.iter().for_each(|scenario| println!("{:15} {}", scenario.name, scenario.about));
        return Ok(true);
    }
    for name in &options.scenarios {
        if !SCENARIOS.iter().any(|scenario| scenario.name == name) {
            bail!("no scenario `{name}`; `--list` names them");
        }
    }
    leftovers::install()?;
    let scene = Scene::new(cluster(options)?, options.cycles);
    let start = Instant::now();
    let mut verdicts = Vec::new();
    for scenario in SCENARIOS {
        if options.scenarios.is_empty() || options.scenarios.iter().any(|name| name == scenario.name) {
            verdicts.push((scenario.name, tried(&scene, scenario, options.retries)));
        }
    }
    drop(scene);
    println!("\n== results");
    let (mut failed, mut not_here) = (Vec::new(), 0);
    for (name, (verdict, seconds)) in &verdicts {
        let word = match verdict {
            Verdict::Passed => "ok".to_owned(),
            Verdict::Flaky => "ok, but FLAKY: it failed before".to_owned(),
            Verdict::Failed => {
                failed.push(*name);
                "FAILED".to_owned()
            }
            Verdict::NotHere(why) => {
                not_here += 1;
                format!("ignored: {why}")
            }
        };
        println!("{name:15} {seconds:5.0} s  {word}");
    }
    let passed = verdicts.len() - failed.len() - not_here;
    // As everywhere in the tests: what could not run is no success where everything must.
    let success = failed.is_empty() && (not_here == 0 || !needs::required());
    println!(
        "test result: {}. {passed} passed; {} failed; {not_here} ignored; finished in {:.0}s",
        if success { "ok" } else { "FAILED" },
        failed.len(),
        start.elapsed().as_secs_f32()
    );
    Ok(success)
}

/// The cluster, with our image in it.
fn cluster(options: &Options) -> Result<Cluster> {
    let needs_kind = options.is_kind();
    let missing = kind::missing(needs_kind);
    if !missing.is_empty() {
        bail!("a cluster needs more than there is:\n  {}", missing.join("\n  "));
    }
    let name = kind::name(options.kind.clone());
    let kubeconfig = match &options.kubeconfig {
        Some(file) => file.clone(),
        None => kind::cluster(&name, options.node_image.as_deref())?,
    };
    let kubectl = Kubectl::new(needs::program("kubectl"), &kubeconfig);
    let start = Instant::now();
    // An API server that a killed run has put away would not answer anything.
    integration::cluster::Node::find(&format!("{name}-control-plane")).restore_api_server()?;
    let cluster = Cluster::open(kubectl, options.httpbin_image.clone(), options.client_image.clone())?;
    if needs_kind {
        let Some(image) = &options.image else { bail!("--image: which archive has our image?") };
        kind::load(&name, image)?;
        println!("the image is in the nodes of `{name}` ({:.0} s)", start.elapsed().as_secs_f32());
    } else {
        println!("no kind cluster: its nodes must have the image, or be able to pull it");
    }
    cluster.remove_stale()?;
    let [a, b] = &cluster.nodes;
    println!("nodes {} and {}; {} and {}", a.name, b.name, cluster.images.httpbin, cluster.images.client);
    Ok(cluster)
}

/// Plays it, and once more if it fails and may.
fn tried(scene: &Scene, scenario: &Scenario, retries: usize) -> (Verdict, f32) {
    let (mut verdict, mut seconds) = one(scene, scenario);
    for _ in 0..retries {
        if !matches!(verdict, Verdict::Failed) {
            break;
        }
        let (again, more) = one(scene, scenario);
        seconds += more;
        verdict = if matches!(again, Verdict::Passed) { Verdict::Flaky } else { again };
    }
    (verdict, seconds)
}

fn one(scene: &Scene, scenario: &Scenario) -> (Verdict, f32) {
    println!("\n== {}: {}", scenario.name, scenario.about);
    let _ = std::io::stdout().flush();
    let start = Instant::now();
    let done = (scenario.play)(scene);
    let seconds = start.elapsed().as_secs_f32();
    let verdict = match done {
        // One that shows nothing has proved nothing.
        Ok(()) if scene.take_shown() > 0 => Verdict::Passed,
        Ok(()) => {
            eprintln!("FAILED {}: it has shown nothing", scenario.name);
            Verdict::Failed
        }
        Err(error) if error.is::<NotHere>() => Verdict::NotHere(error.to_string()),
        Err(error) => {
            println!("{}", agents::dump(&scene.cluster.kubectl));
            println!("FAILED {}: {error:#}", scenario.name);
            scene.clear();
            Verdict::Failed
        }
    };
    let word = if matches!(verdict, Verdict::Passed) { "ok" } else { "not ok" };
    println!("    {word} after {seconds:.1} s");
    (verdict, seconds)
}
