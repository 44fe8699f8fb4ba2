//! What a request costs the proxy in instructions, and whether that is more than it was: what is done stays done.
//!
//! Comes in: `baseline.json`. Goes out: a table, and failure if a case costs more than the tolerance allows. Instructions do not depend on what
//! else the machine does, so a figure is the same within a few in a thousand on a busy machine. They say nothing of the kernel's part, of caches,
//! or of waiting: that is for the comparison (`versus`).

mod baseline;
mod case;
mod count;
mod partners;
mod proxy;

use std::{collections::BTreeMap, fs, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use integration::{Netns, leftovers, needs::Need, owner, paths};

use crate::{
    baseline::{Baseline, Verdict},
    case::Case,
};

/// As the binary has it: allocation is a large part of a request.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Instructions of a request, beside those that were accepted last.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench --gate")]
struct Options {
    #[command(subcommand)]
    part: Option<Part>,
    /// Take the figures of now as what later ones are compared with
    #[arg(long)]
    accept: bool,
    /// Only these cases
    #[arg(long, value_name = "CASE", value_delimiter = ',')]
    only: Vec<Case>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The counted proxy (this program runs it under callgrind).
    #[command(hide = true)]
    Serve { case: Case },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.part {
        Some(Part::Serve { case }) => proxy::serve(case).map(|never| match never {}),
        None => gate(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False if a case has become too dear.
fn gate(options: &Options) -> Result<bool> {
    leftovers::install()?;
    let unmet: Vec<_> = [Need::Root, Need::NetTools].into_iter().filter_map(Need::unmet).collect();
    if !unmet.is_empty() {
        bail!("counting needs more than there is:\n  {}", unmet.join("\n  "));
    }
    let dir = paths::workspace().join("target/bench/gate");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let baseline = Baseline::read()?;
    let netns = Netns::create(&format!("{}-gate", owner::new_id()?))?;
    count::lay(&netns)?;

    println!("{:<16} {:>10} {:>10} {:>7}", "", "now", "baseline", "ratio");
    let mut counted = BTreeMap::new();
    for case in Case::ALL.into_iter().filter(|case| options.only.is_empty() || options.only.contains(case)) {
        let now = count::per_request(&netns, &dir, case).with_context(|| format!("cannot count `{}`", case.name()))?;
        let now = now.round() as u64;
        let before = baseline.instructions.get(case.name());
        println!(
            "{:<16} {now:>10} {:>10} {:>7}  {}",
            case.name(),
            before.map_or("-".to_owned(), u64::to_string),
            before.map_or("-".to_owned(), |before| format!("{:.3}", now as f64 / *before as f64)),
            case.words(),
        );
        counted.insert(case.name().to_owned(), now);
    }
    println!("instructions in user mode for a request; profiles for callgrind_annotate: {}", dir.display());
    if options.accept {
        println!("accepted: {}", baseline.accept(&counted)?.display());
        return Ok(true);
    }
    judge(&baseline, &counted)
}

fn judge(baseline: &Baseline, counted: &BTreeMap<String, u64>) -> Result<bool> {
    let of = |verdict| -> Vec<&str> {
        let these = counted.iter().filter(|(case, now)| baseline.judge(case, **now) == verdict);
        these.map(|(case, _)| &**case).collect()
    };
    let [worse, better, new] = [Verdict::Worse, Verdict::Better, Verdict::New].map(of);
    let (compiler, percent) = (baseline::compiler()?, baseline.tolerance * 100.0);
    let same_compiler = compiler == baseline.compiler;
    if !same_compiler {
        println!(
            "The baseline is of {}, and this is {compiler}: figures of two compilers are no verdict.",
            baseline.compiler
        );
    }
    if !new.is_empty() {
        println!("Not in the baseline: {}. `cargo xtask bench --gate --accept` takes them in.", new.join(", "));
    }
    if !better.is_empty() {
        println!(
            "Better by more than {percent} %: {}. `cargo xtask bench --gate --accept` keeps it so; commit the file.",
            better.join(", ")
        );
    }
    if worse.is_empty() {
        println!("No case costs more than {percent} % above its baseline.");
        return Ok(true);
    }
    println!(
        "TOO DEAR by more than {percent} %: {}. Find out why (callgrind_annotate), or, if it is the price of something wanted, take the new\n\
         figures by `cargo xtask bench --gate --accept` and say in the commit what they pay for.",
        worse.join(", ")
    );
    if !same_compiler {
        println!("That is no failure, because the compilers differ.");
    }
    Ok(!same_compiler)
}
