//! One named network namespace: made, entered by threads, removed.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

use crate::{
    leftovers::{self, Claim, Thing},
    needs,
};

/// A network namespace under `/run/netns`, removed when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    _claim: Claim,
}

impl Netns {
    /// Makes the namespace, with its loopback up.
    ///
    /// # Errors
    /// Without root, or without iproute2.
    pub fn create(name: &str) -> Result<Self> {
        let ((), claim) = leftovers::claim(|| {
            run(Command::new(needs::program("ip")).args(["netns", "add", name]))?;
            Ok(((), Thing::Netns(name.to_owned())))
        })?;
        let netns = Self { name: name.to_owned(), _claim: claim };
        netns.ip(&["link set lo up"])?;
        Ok(netns)
    }

    /// The name under `/run/netns`; a Pod's annotation takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that names it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs a closure on a thread inside the namespace. Sockets, threads and processes made there belong to it.
    ///
    /// # Errors
    /// When the namespace cannot be entered, and what the closure returns. A panic in the closure goes on in the caller.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        run_in(&self.path(), f)
    }

    /// Runs iproute2 commands (without the leading `ip`) in the namespace, all or the first that fails.
    ///
    /// # Errors
    /// With iproute2's own words.
    pub fn ip(&self, commands: &[&str]) -> Result<()> {
        for command in commands {
            run(Command::new(needs::program("ip")).args(["-netns", &self.name]).args(command.split_whitespace()))?;
        }
        Ok(())
    }

    /// Sets a value under `/proc/sys/net` of this namespace, such as `ipv4/ip_forward`.
    ///
    /// # Errors
    /// When there is no such value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.run(|| {
            let path = PathBuf::from("/proc/sys/net").join(key);
            std::fs::write(&path, value).with_context(|| format!("cannot set {} to {value}", path.display()))
        })
    }
}

/// Runs a closure on a thread inside the namespace that a file names.
///
/// # Errors
/// As [`Netns::run`].
pub fn run_in<T: Send>(namespace: &Path, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file =
                File::open(namespace).with_context(|| format!("no network namespace {}", namespace.display()))?;
            setns(file, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter network namespace {} (root is needed)", namespace.display()))?;
            f()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs a short command of the machine to its end; its output is the error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let words = format!("{command:?}").replace('"', "");
    let output = command.stdin(Stdio::null()).output().map_err(|error| anyhow!("cannot run {words}: {error}"))?;
    if !output.status.success() {
        bail!("{words}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
