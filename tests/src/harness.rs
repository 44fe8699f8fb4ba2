//! `main` of every test binary here: decides at listing time what can run, and says once why the rest cannot.
//!
//! A test whose needs are not met is listed as ignored; under `CI=true` it fails instead, so that a green run there means that
//! everything ran.

use std::{
    cell::Cell,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{PoisonError, RwLock},
};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    leftovers,
    needs::{self, Need},
};

/// A test.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    name: &'static str,
    run: fn() -> Result<()>,
    needs: &'static [Need],
    alone: bool,
    codec: bool,
}

thread_local! {
    static CODEC: Cell<bool> = const { Cell::new(false) };
}

/// Whether the test that runs on this thread wants its requests to go through hyper, also those that are plain.
#[must_use]
pub fn by_codec() -> bool {
    CODEC.get()
}

impl Case {
    /// A test with everything that a world with an agent needs. See the [`case!`](crate::case) macro.
    #[must_use]
    pub const fn new(name: &'static str, run: fn() -> Result<()>) -> Self {
        Self { name, run, needs: Need::ALL, alone: false, codec: false }
    }

    /// Needs only these.
    #[must_use]
    pub const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    /// Runs while no other test of this binary does: it looks at something that all share, such as the cgroup root.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    fn by_codec(mut self) -> Self {
        self.codec = true;
        self
    }

    fn name(&self) -> String {
        format!("{}{}", self.name, if self.codec { "::by_codec" } else { "" })
    }

    fn trial(self, unmet: &[(Need, String)]) -> Trial {
        let reasons: Vec<_> =
            unmet.iter().filter(|(need, _)| self.needs.contains(need)).map(|(_, why)| why.clone()).collect();
        if reasons.is_empty() {
            return Trial::test(self.name(), move || self.call());
        }
        if needs::required() {
            return Trial::test(self.name(), move || Err(Failed::from(format!("CI=true and {}", reasons.join("; ")))));
        }
        Trial::test(self.name(), || Ok(())).with_ignored_flag(true)
    }

    fn call(self) -> Result<(), Failed> {
        static SHARED: RwLock<()> = RwLock::new(());
        let (_together, _alone);
        if self.alone {
            _alone = SHARED.write().unwrap_or_else(PoisonError::into_inner);
        } else {
            _together = SHARED.read().unwrap_or_else(PoisonError::into_inner);
        }
        CODEC.set(self.codec);
        match catch_unwind(AssertUnwindSafe(self.run)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failed::from(described(&error))),
            Err(panic) => Err(Failed::from(message(&*panic))),
        }
    }
}

/// `case!(function)`: a [`Case`](crate::harness::Case) named like its function.
#[macro_export]
macro_rules! case {
    ($run:ident) => {
        $crate::harness::Case::new(stringify!($run), $run)
    };
}

/// As [`main`], and each test a second time with rules whose plain requests hyper serves as well: what a client sees is the same on both ways.
#[must_use]
pub fn main_both_ways(cases: &[Case]) -> ExitCode {
    let both: Vec<_> = cases.iter().flat_map(|case| [*case, case.by_codec()]).collect();
    main(&both)
}

/// Runs the tests with the usual arguments of a test binary. Two at a time unless told otherwise: each has a world of its own, but all
/// attach to one cgroup root.
#[must_use]
pub fn main(cases: &[Case]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(2));
    if let Err(error) = leftovers::install() {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    let wanted: BTreeSet<Need> = cases.iter().flat_map(|case| case.needs).copied().collect();
    let unmet: Vec<(Need, String)> = wanted.into_iter().filter_map(|n| Some((n, n.unmet()?))).collect();
    let quiet = arguments.list;
    // An ignored test that is asked for by `--ignored` has nothing to run with: say so rather than pass.
    arguments.ignored = false;
    arguments.include_ignored = false;
    for (need, why) in unmet.iter().filter(|_| !quiet) {
        let left_out = cases.iter().filter(|case| case.needs.contains(need)).count();
        println!("{left_out} tests cannot run: {why}");
    }
    let trials = cases.iter().map(|case| case.trial(&unmet)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The error's chain, and where in this crate it came from.
fn described(error: &anyhow::Error) -> String {
    let trace = error.backtrace().to_string();
    let ours =
        trace.lines().map(str::trim).filter(|line| line.starts_with("at ./src/") || line.starts_with("at ./tests/"));
    std::iter::once(format!("{error:#}")).chain(ours.map(str::to_owned)).collect::<Vec<_>>().join("\n    ")
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panicked").to_owned()
}
