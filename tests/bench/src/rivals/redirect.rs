//! What an init container of a sidecar mesh does to its pod, in the lab's pod and nowhere else.

use anyhow::{Result, bail};
use integration::Pod;

use crate::variant::Protocol;

/// Whom the packet filter lets pass: uid of every sidecar, as Istio has it.
pub(crate) const SIDECARS: &str = "-m owner --uid-owner 1337";

/// Turns connections to the Services' ports to the sidecar, unless the sidecar itself makes them.
pub(crate) fn to_sidecar(pod: &Pod) -> Result<()> {
    let mut rules = vec![
        "-N SIDECAR".to_owned(),
        "-A OUTPUT -p tcp -j SIDECAR".to_owned(),
        format!("-A SIDECAR {SIDECARS} -j RETURN"),
    ];
    for protocol in Protocol::ALL {
        let (port, to) = (protocol.port(), protocol.sidecar());
        rules.push(format!("-A SIDECAR -p tcp --dport {port} -j REDIRECT --to-ports {to}"));
    }
    apply(pod, &rules)
}

/// Turns one port to another of the pod's loopback, but for whom these words of a match let pass.
pub(crate) fn port(pod: &Pod, port: u16, to: u16, but: &str) -> Result<()> {
    apply(
        pod,
        &[
            "-N SIDECAR".to_owned(),
            "-A OUTPUT -p tcp -j SIDECAR".to_owned(),
            format!("-A SIDECAR {but} -j RETURN"),
            format!("-A SIDECAR -p tcp --dport {port} -j REDIRECT --to-ports {to}"),
        ],
    )
}

fn apply(pod: &Pod, rules: &[String]) -> Result<()> {
    for rule in rules {
        let words: Vec<_> = ["iptables", "-w", "-t", "nat"].into_iter().chain(rule.split(' ')).collect();
        let output = pod.exec(&words)?;
        if !output.status.success() {
            bail!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    Ok(())
}
