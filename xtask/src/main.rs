//! Understudy's chores, one file per verb: `run`, `test`, `build-ebpf`, `soak`, `fuzz`, `bench`, `image`, `e2e`, `ci`.
//!
//! Comes in: a verb. Goes out: a machine that has what the verb needs, and the verb done. It writes only under `target` and where
//! the package managers do.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod build_ebpf;
mod cargo;
mod ci;
mod demo;
mod e2e;
mod elf;
mod fuzz;
mod image;
mod run;
mod setup;
mod soak;
mod task;
mod test;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Understudy's chores. Each sets up what it needs and is missing.")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the mirroring task on this machine; with arguments, run the binary with them.
    Run(run::Options),
    /// Every test that needs no cluster; arguments go to the test binaries (a filter, say).
    Test(test::Options),
    /// Build the BPF object into target/ebpf.
    BuildEbpf,
    /// The fault matrix with times, and a soak of minutes: whatever v2 does, v1's users cannot tell.
    Soak(soak::Options),
    /// Ours beside Envoy, HAProxy and nginx, on this machine, in turns; `scale`: what one node costs a large cluster's API server.
    Bench(bench::Options),
    /// Inputs that coverage finds, for what reads bytes of peers (needs a nightly compiler).
    Fuzz(fuzz::Options),
    /// A container image of the static binary alone, as an archive; it needs no container engine.
    Image(image::Options),
    /// The scenarios of the DaemonSet on a real cluster: kind's, or one behind a kubeconfig.
    E2e(integration::cluster::Options),
    /// What continuous integration runs: format, lints, tests.
    Ci,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Run(options) => run::run(&options),
        Verb::Test(options) => test::test(&options),
        Verb::BuildEbpf => build_ebpf::build_ebpf(),
        Verb::Soak(options) => soak::soak(&options),
        Verb::Bench(options) => bench::bench(&options),
        Verb::Fuzz(options) => fuzz::fuzz(&options),
        Verb::Image(options) => image::image(&options),
        Verb::E2e(options) => e2e::e2e(&options),
        Verb::Ci => ci::ci(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
