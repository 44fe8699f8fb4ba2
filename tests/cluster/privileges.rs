//! What the agents may do: what the manifest asks for, and what the kernel says that they have.

use anyhow::{Context as _, Result, ensure};
use integration::cluster::agents::NAMESPACE;
use serde_json::json;

use crate::scene::Scene;

/// Capabilities by their numbers in the kernel.
const CAPABILITIES: [(&str, u32); 4] = [("NET_ADMIN", 12), ("SYS_PTRACE", 19), ("SYS_ADMIN", 21), ("BPF", 39)];

/// Fails if the DaemonSet asks for one right more. All other scenarios run with these rights, so that they are enough is shown there.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let agents = scene.agents()?;
    for agent in &agents {
        let pod = scene.cluster.kubectl.json(&["get", "pod", "-n", NAMESPACE, &agent.pod])?;
        let spec = &pod["spec"];
        let own = &spec["containers"][0]["securityContext"];
        for host in ["hostNetwork", "hostPID", "hostIPC"] {
            ensure!(spec.get(host).is_none_or(|value| value == false), "{} has {host}", agent.pod);
        }
        ensure!(own.get("privileged").is_none_or(|value| value == false), "{} is privileged", agent.pod);
        ensure!(own["readOnlyRootFilesystem"] == true, "{} can write to its root file system", agent.pod);
        ensure!(own["capabilities"]["drop"] == json!(["ALL"]), "{} drops {}", agent.pod, own["capabilities"]["drop"]);
        let seccomp = own.get("seccompProfile").or_else(|| spec["securityContext"].get("seccompProfile"));
        ensure!(
            seccomp.is_some_and(|profile| profile["type"] == "RuntimeDefault"),
            "{} has the seccomp profile {seccomp:?}",
            agent.pod
        );
        let added = own["capabilities"]["add"].as_array().context("no capability is added")?;
        let known = |name: &serde_json::Value| CAPABILITIES.iter().any(|(known, _)| name == known);
        ensure!(added.iter().all(known), "{} asks for {added:?}", agent.pod);
    }
    scene.show("not privileged, RuntimeDefault seccomp, read-only root, no namespace of the host");
    let most: u64 = CAPABILITIES.iter().map(|(_, number)| 1 << number).sum();
    for (agent, node) in agents.iter().zip(scene.reachable_nodes()?) {
        let pid = node.agent_pid(&agent.uid)?.with_context(|| format!("{} does not run", agent.pod))?;
        let status = node.sh(&format!("cat /proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            line.with_context(|| format!("no {name} in /proc/{pid}/status"))
        };
        let (effective, bounding) = (field("CapEff:")?, field("CapBnd:")?);
        for set in [effective, bounding] {
            let bits = u64::from_str_radix(set, 16)?;
            ensure!(bits != 0 && bits & !most == 0, "{} has the capabilities {set}, more than {most:016x}", agent.pod);
        }
        let seccomp = field("Seccomp:")?;
        ensure!(seccomp == "2", "{} runs without a seccomp filter ({seccomp})", agent.pod);
        scene.show(format!("{}: the kernel says CapEff {effective}, CapBnd {bounding}, seccomp filter", node.name));
    }
    Ok(())
}
