//! A program that runs in a namespace with its output in a file: started, signalled by its own id, killed with its group when
//! dropped.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use crate::{
    leftovers::{self, Claim, Thing},
    netns::Netns,
    wait,
};

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    claim: Claim,
}

impl Process {
    /// Starts a program in a namespace, in a process group of its own; both its outputs go to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(netns: &Netns, name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let (child, claim) = netns.run(|| spawn(command))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), claim })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The file it writes to.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Sends a signal to the program alone, not to its children.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.claim.release();
        }
        Ok(status)
    }

    /// Fails with the end of its log if it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn must_run(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, self.tail(15)),
        }
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until(&what, || self.ended())
    }

    /// The last lines of its log.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<_> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.claim.release();
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Runs a program in a namespace to its end and returns what it wrote. A signal to the lab ends it too.
pub(crate) fn output(netns: &Netns, command: &mut Command) -> Result<std::process::Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let (child, claim) = netns.run(|| spawn(command))?;
    let output = child.wait_with_output();
    claim.release();
    Ok(output?)
}

pub(crate) fn spawn(command: &mut Command) -> Result<(Child, Claim)> {
    leftovers::claim(|| {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|error| anyhow!("cannot start {program}: {error}"))?;
        let group = Thing::Group(pid_of(&child));
        Ok((child, group))
    })
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}
