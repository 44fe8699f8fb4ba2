//! The lab of the comparison: one node, the same v1 and v2s for all, and a client pod for each product.
//!
//! Each client pod has what its product needs and nothing else: a sidecar behind iptables, an entry in our agent's configuration, or nothing.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context as _, Result};
use integration::{
    Node, Pod,
    load::{Manner, Server},
};
use nix::unistd::Pid;

use crate::{
    origin::Origin,
    ours::Ours,
    programs::Programs,
    rivals::{Endpoints, Rival},
    variant::{Flavour, Product, Protocol, Variant},
};

/// Fields are in the order in which they are taken down.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) ours: Ours,
    rivals: BTreeMap<Product, Rival>,
    /// Products that are not here, and why.
    pub(crate) absent: BTreeMap<Product, String>,
    clients: BTreeMap<Product, Pod>,
    pub(crate) v1: Origin,
    pub(crate) v2: Origin,
    _broken_servers: Vec<Server>,
    _broken: Vec<Pod>,
    pub(crate) programs: Programs,
    pub(crate) node: Node,
}

impl World {
    /// Lays it, with all that can be had.
    pub(crate) fn lay(programs: Programs) -> Result<Self> {
        let node = Node::new()?;
        tune(node.netns())?;
        let (v1, v2) = (Origin::start(&node, "v1")?, Origin::start(&node, "v2")?);
        let version = |name: &str| node.pod(name).label("app", "web").label("version", name).start();
        let (dead, hung, slow) = (version("dead")?, version("hung")?, version("slow")?);
        let listen = |pod: &Pod, manner| -> Result<Server> {
            Server::start(pod.netns(), SocketAddr::from(([0, 0, 0, 0], Protocol::Http1.target())), "v2", manner)
        };
        let broken_servers = vec![listen(&hung, Manner::Hangs)?, listen(&slow, Manner::ReadsAByteASecond)?];
        for flavour in Flavour::ALL {
            node.resolve(flavour.host(), flavour.vip())?;
            for protocol in Protocol::ALL {
                node.cluster_ip(flavour.address(protocol), &[v1.address(protocol)])?;
            }
        }
        let mut clients = BTreeMap::new();
        for product in Product::ALL {
            let pod = node.pod(&format!("client-{}", product.name())).label("app", "client").start()?;
            tune(pod.netns())?;
            clients.insert(product, pod);
        }
        let at = Endpoints { v1: v1.pod.v4(), v2: v2.pod.v4(), dead: dead.v4(), hung: hung.v4(), slow: slow.v4() };
        let (mut rivals, mut absent) = (BTreeMap::new(), BTreeMap::new());
        for product in [Product::Envoy, Product::Haproxy, Product::Nginx] {
            match Rival::start(product, &programs, &node, &clients[&product], &at) {
                Ok(rival) => {
                    rivals.insert(product, rival);
                }
                Err(error) => {
                    println!("  no {}: {error:#}", product.name());
                    absent.insert(product, format!("{error:#}"));
                }
            }
        }
        let ours = Ours::prepare(&node, &clients[&Product::Understudy], &[&v1.pod, &v2.pod, &dead, &hung, &slow])?;
        let broken = vec![dead, hung, slow];
        Ok(Self {
            ours,
            rivals,
            absent,
            clients,
            v1,
            v2,
            _broken_servers: broken_servers,
            _broken: broken,
            programs,
            node,
        })
    }

    /// The pod of a product's client.
    pub(crate) fn client(&self, product: Product) -> Result<&Pod> {
        self.clients.get(&product).with_context(|| format!("no client of {}", product.name()))
    }

    /// The process group that carries a product's requests; `None` for direct, or if there is none.
    pub(crate) fn carrier(&self, product: Product) -> Option<Pid> {
        match product {
            Product::Direct => None,
            Product::Understudy => self.ours.pid(),
            _ => self.rivals.get(&product).map(Rival::pid),
        }
    }

    /// Why a variant cannot be measured, if it cannot.
    pub(crate) fn why_not(&self, variant: Variant) -> Option<&str> {
        self.absent.get(&variant.product).map(String::as_str)
    }
}

/// Room for the connections of a minute: closed ones are forgotten soon, and there are ports for the next ones.
pub(crate) fn tune(netns: &integration::Netns) -> Result<()> {
    netns.sysctl("ipv4/ip_local_port_range", "10000 65000")?;
    netns.sysctl("core/somaxconn", "4096")?;
    // Without it a pod that opens a connection for each shadow soon searches its ports for a free one at every connect, for a minute: the
    // next run would pay for the last.
    netns.sysctl("ipv4/tcp_tw_reuse", "1")?;
    // Only where connections are tracked; the file appears with the first rule of the packet filter.
    let _ = netns.sysctl("netfilter/nf_conntrack_tcp_timeout_time_wait", "5");
    let _ = netns.sysctl("netfilter/nf_conntrack_tcp_timeout_close", "2");
    Ok(())
}
