//! A node of kind: a container, whose processes and files its engine shows.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

use super::kubectl::output;
use crate::{
    leftovers::{self, Claim, Thing},
    needs,
};

const API_SERVER: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const PUT_AWAY: &str = "/etc/kubernetes/kube-apiserver.yaml.put-away";

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name in the cluster, which is its container's.
    pub name: String,
    /// Whether there is a container of that name.
    reachable: bool,
}

impl Node {
    /// The node of that name, with its container if there is one.
    #[must_use]
    pub fn find(name: &str) -> Self {
        let inspect = ["inspect", "--type", "container", "-f", "{{.State.Running}}", name];
        let reachable = needs::find("docker").is_some_and(|docker| {
            output(Command::new(docker).args(inspect), None).is_ok_and(|running| running.trim() == "true")
        });
        Self { name: name.to_owned(), reachable }
    }

    /// Whether [`Self::sh`] can work.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(needs::program("docker"));
        command.args(["exec", &self.name, "sh", "-c", script]);
        command
    }

    /// A shell script in the node.
    ///
    /// # Errors
    /// When it fails.
    pub fn sh(&self, script: &str) -> Result<String> {
        output(&mut self.command(script), None)
    }

    /// The agent's process in a pod of this node, by the node's numbers: what is called `understudy` in a cgroup of the pod.
    ///
    /// # Errors
    /// When the node cannot be asked.
    pub fn agent_pid(&self, uid: &str) -> Result<Option<u32>> {
        let script = format!(
            "for p in /proc/[0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" = understudy ] && \
             cat $p/cgroup 2>/dev/null | tr _ - | grep -q {uid} && echo ${{p#/proc/}}; done; true"
        );
        Ok(self.sh(&script)?.split_whitespace().next().and_then(|pid| pid.parse().ok()))
    }

    /// Kills that process, as the kernel does when memory is short.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_agent(&self, uid: &str) -> Result<u32> {
        let pid = self.agent_pid(uid)?.with_context(|| format!("no agent runs on {}", self.name))?;
        self.sh(&format!("kill -KILL {pid}"))?;
        Ok(pid)
    }

    /// Network namespaces of pods.
    ///
    /// # Errors
    /// When the node cannot be asked.
    pub fn namespaces(&self) -> Result<usize> {
        Ok(self.sh("ls /run/netns | wc -l")?.trim().parse()?)
    }

    /// What an uninstalled agent must not leave: pins, and files in the places that it writes to.
    ///
    /// # Errors
    /// When the node cannot be asked.
    pub fn leftovers(&self) -> Result<String> {
        self.sh("find /sys/fs/bpf /var/lib/understudy /run/understudy /etc/cni -iname '*understudy*' 2>/dev/null; true")
    }

    /// Whether its runtime has an image of that full name; false where it cannot be asked.
    #[must_use]
    pub fn has_image(&self, name: &str) -> bool {
        let images = self.reachable.then(|| self.sh("ctr -n k8s.io images ls -q"));
        images.is_some_and(|images| images.is_ok_and(|images| images.lines().any(|line| line == name)))
    }

    /// Gives images of this node other names, until the guard is dropped; does nothing where it has not got them.
    ///
    /// # Errors
    /// When the node cannot be asked.
    pub fn image_names(&self, names: &[(&str, &str)]) -> Result<Option<Claim>> {
        if !self.reachable {
            return Ok(None);
        }
        let ctr = "ctr -n k8s.io images";
        let there = self.sh(&format!("{ctr} ls -q"))?;
        let has = |name: &str| there.lines().any(|line| line == name);
        let new: Vec<_> = names.iter().filter(|(name, of)| !has(name) && has(of)).collect();
        if new.is_empty() {
            return Ok(None);
        }
        let gone: Vec<_> = new.iter().map(|(name, _)| *name).collect();
        let ((), claim) = leftovers::claim(|| {
            for (name, of) in &new {
                self.sh(&format!("{ctr} tag {of} {name}"))?;
            }
            Ok(((), Thing::Command(self.command(&format!("{ctr} rm {} >/dev/null", gone.join(" "))))))
        })?;
        Ok(Some(claim))
    }

    /// Stops the API server of this node until the guard is dropped.
    ///
    /// # Errors
    /// When it is not a control plane of kubeadm's kind.
    pub fn stop_api_server(&self) -> Result<Claim> {
        let back = self.command(&format!("mv {PUT_AWAY} {API_SERVER}"));
        let ((), claim) = leftovers::claim(|| {
            self.sh(&format!("mv {API_SERVER} {PUT_AWAY}"))?;
            Ok(((), Thing::Command(back)))
        })?;
        Ok(claim)
    }

    /// Brings an API server back that a killed run has stopped, if this is its node.
    ///
    /// # Errors
    /// When the node cannot be asked.
    pub fn restore_api_server(&self) -> Result<()> {
        if !self.reachable {
            return Ok(());
        }
        self.sh(&format!("[ ! -e {PUT_AWAY} ] || mv {PUT_AWAY} {API_SERVER}")).map(drop)
    }
}

/// The agent's process in a pod, by this machine's numbers; `None` where the engine's containers are on another machine.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn agent_on_this_machine(uid: &str) -> Result<Option<Pid>> {
    let mangled = uid.replace('-', "_");
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let cgroup = read("cgroup");
        if read("comm").trim() == "understudy" && (cgroup.contains(uid) || cgroup.contains(&mangled)) {
            return Ok(Some(Pid::from_raw(pid)));
        }
    }
    Ok(None)
}
