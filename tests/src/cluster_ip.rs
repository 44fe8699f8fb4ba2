//! kube-proxy, played by one nftables table in the node's namespace: it translates a service's address to a random endpoint.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{needs, netns::Netns};

/// The addresses that services of the toy world have.
pub const RANGE_V4: &str = "10.96.0.0/16";
/// The same for IPv6.
pub const RANGE_V6: &str = "fd00:10:96::/112";

pub(crate) fn install(netns: &Netns, services: &BTreeMap<SocketAddr, Vec<SocketAddr>>) -> Result<()> {
    let script = script(services);
    netns.run(|| {
        let mut nft = Command::new(needs::program("nft"))
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run nft (package nftables)")?;
        if let Some(mut stdin) = nft.stdin.take() {
            stdin.write_all(script.as_bytes())?;
        }
        let output = nft.wait_with_output()?;
        if !output.status.success() {
            bail!("nft: {}\n{script}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    })
}

/// The whole table; nft replaces the old one by it in one transaction.
fn script(services: &BTreeMap<SocketAddr, Vec<SocketAddr>>) -> String {
    let (mut chains, mut vips, mut refused, mut hairpins) =
        (String::new(), String::new(), String::new(), String::new());
    for (s, (vip, endpoints)) in services.iter().enumerate() {
        let to = format!("{} daddr {} tcp dport {}", family(vip.ip()), vip.ip(), vip.port());
        if endpoints.is_empty() {
            let _ = writeln!(refused, "    {to} reject");
            continue;
        }
        let mut choices = Vec::new();
        for (e, endpoint) in endpoints.iter().enumerate() {
            let (f, ip) = (family(endpoint.ip()), endpoint.ip());
            let _ = writeln!(chains, "  chain s{s}e{e} {{ meta l4proto tcp dnat {f} to {endpoint}; }}");
            // A pod that is its own endpoint would drop an answer from its own address; kube-proxy masquerades it too.
            let _ = writeln!(hairpins, "    {f} saddr {ip} {f} daddr {ip} masquerade");
            choices.push(format!("{e} : goto s{s}e{e}"));
        }
        let _ = writeln!(vips, "    {to} numgen random mod {} vmap {{ {} }}", endpoints.len(), choices.join(", "));
    }
    format!(
        "table inet understudy_lab\ndelete table inet understudy_lab\ntable inet understudy_lab {{\n{chains}\
         \x20 chain services {{\n{vips}  }}\n\
         \x20 chain refused {{\n{refused}  }}\n\
         \x20 chain prerouting {{ type nat hook prerouting priority dstnat; jump services; }}\n\
         \x20 chain output {{ type nat hook output priority -100; jump services; }}\n\
         \x20 chain postrouting {{\n    type nat hook postrouting priority srcnat;\n{hairpins}  }}\n\
         \x20 chain refuse_forwarded {{ type filter hook prerouting priority filter; jump refused; }}\n\
         \x20 chain refuse_local {{ type filter hook output priority filter; jump refused; }}\n}}\n"
    )
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "ip" } else { "ip6" }
}
