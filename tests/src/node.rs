//! A node: the namespace that all pods of a world hang on, with kube-proxy played by nftables and no way out.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use anyhow::{Context as _, Result};

use crate::{cluster_ip, leftovers, netns::Netns, owner, paths, pod::PodBuilder, process::Process};

/// The node's own address, on its loopback.
pub const NODE_V4: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
/// What a pod's default route points to: the node's end of every veth.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);
/// The same for IPv6.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 1);
/// The node's own IPv6 address.
pub const NODE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, 2);

/// A node of the toy world.
#[derive(Debug)]
pub struct Node {
    id: String,
    dir: PathBuf,
    next_pod: AtomicU8,
    services: Mutex<BTreeMap<SocketAddr, Vec<SocketAddr>>>,
    names: Mutex<BTreeMap<String, IpAddr>>,
    netns: Netns,
}

impl Node {
    /// Makes the node's namespace.
    ///
    /// # Errors
    /// Without root, or without iproute2 and nftables.
    pub fn new() -> Result<Self> {
        leftovers::install()?;
        let id = owner::new_id()?;
        let dir = paths::lab().join(&id);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let netns = Netns::create(&format!("{id}-node"))?;
        netns.sysctl("ipv4/ip_forward", "1")?;
        netns.sysctl("ipv6/conf/all/forwarding", "1")?;
        // An unreachable address is to be an error at once, also for the second connection within a second.
        netns.sysctl("ipv4/icmp_ratelimit", "0")?;
        netns.ip(&[
            &format!("address add {NODE_V4}/32 dev lo"),
            &format!("-6 address add {NODE_V6}/128 dev lo nodad"),
            // Connections of the node's own processes to a ClusterIP need a route before the DNAT of the output hook sees them.
            // Only theirs: a pod's packet that no rule translates stays unreachable.
            "rule add iif lo lookup 100",
            &format!("route add {} dev lo src {NODE_V4} table 100", cluster_ip::RANGE_V4),
            "-6 rule add iif lo lookup 100",
            &format!("-6 route add {} dev lo src {NODE_V6} table 100", cluster_ip::RANGE_V6),
        ])?;
        let node =
            Self { id, dir, next_pod: AtomicU8::new(10), services: Mutex::default(), names: Mutex::default(), netns };
        node.write_hosts()?;
        Ok(node)
    }

    /// Unique among all worlds of this machine; every namespace of this world begins with it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Folder for this world's logs and manifests, under `target/lab`. It stays after the world has gone.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The node's own namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Begins a pod.
    #[must_use]
    pub fn pod<'a>(&'a self, name: &str) -> PodBuilder<'a> {
        PodBuilder::new(self, name)
    }

    pub(crate) fn next_octet(&self) -> u8 {
        self.next_pod.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets a ClusterIP (or any address nobody has) lead to one of `endpoints` at random, as kube-proxy does. No endpoints: refused.
    ///
    /// # Errors
    /// With nft's own words.
    pub fn cluster_ip(&self, vip: SocketAddr, endpoints: &[SocketAddr]) -> Result<()> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.insert(vip, endpoints.to_vec());
        cluster_ip::install(&self.netns, &services)
    }

    /// Takes a ClusterIP away.
    ///
    /// # Errors
    /// With nft's own words.
    pub fn remove_cluster_ip(&self, vip: SocketAddr) -> Result<()> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.remove(&vip);
        cluster_ip::install(&self.netns, &services)
    }

    /// Lets the pods' programs resolve a name, also in pods that run already (`/etc/hosts` of the pods).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn resolve(&self, name: &str, address: IpAddr) -> Result<()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), address);
        self.write_hosts()
    }

    /// The file that the pods see as `/etc/hosts`.
    #[must_use]
    pub fn hosts(&self) -> PathBuf {
        self.dir.join("hosts")
    }

    // Written in place: the pods have this very file bind-mounted.
    fn write_hosts(&self) -> Result<()> {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for (name, address) in &*self.names.lock().unwrap_or_else(PoisonError::into_inner) {
            text.push_str(&format!("{address} {name}\n"));
        }
        fs::write(self.hosts(), text).with_context(|| format!("cannot write {}", self.hosts().display()))
    }

    /// Starts a program in the node's own namespace (as a hostNetwork pod or a daemon would).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, name: &str, command: &mut std::process::Command) -> Result<Process> {
        Process::start(&self.netns, name, command, &self.dir.join(format!("{name}.log")))
    }
}
