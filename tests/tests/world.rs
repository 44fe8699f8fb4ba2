//! The toy world itself, without any agent: what fail-open falls back to must work.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Result, bail, ensure};
use integration::{
    Behaviour, Node, Recorder, case, harness, http,
    needs::Need,
    seed::{VIP, World},
};

const SEED: &[Need] = &[Need::Root, Need::NetTools, Need::Curl, Need::Httpbin];

fn main() -> ExitCode {
    harness::main(&[
        case!(both_versions_answer_through_the_cluster_ip).needs(SEED),
        case!(an_address_of_no_service_is_unreachable).needs(Need::WORLD),
        case!(a_service_without_endpoints_refuses).needs(Need::WORLD),
        case!(a_dual_stack_service_works_in_both_families).needs(Need::WORLD),
        case!(a_pod_reaches_itself_and_the_node_reaches_a_service).needs(Need::WORLD),
    ])
}

/// Fails if the table of services is not installed, or lists only one endpoint.
fn both_versions_answer_through_the_cluster_ip() -> Result<()> {
    let report = World::lay()?.no_rule()?;
    ensure!(report.v1.len() + report.v2.len() >= 10);
    Ok(())
}

/// Fails if the node is given a default route: the packet would leave.
fn an_address_of_no_service_is_unreachable() -> Result<()> {
    let node = Node::new()?;
    let pod = node.pod("client").start()?;
    for address in ["10.96.0.99:80", "192.0.2.1:80"] {
        let address: SocketAddr = address.parse()?;
        match pod.run(|| Ok(std::net::TcpStream::connect(address)))? {
            Ok(_) => bail!("connected to {address}, which nobody has"),
            Err(error) => ensure!(error.kind() == std::io::ErrorKind::NetworkUnreachable, "{address}: {error}"),
        }
    }
    Ok(())
}

/// Fails if such a service is left out of the table: the connect would be unreachable instead of refused.
fn a_service_without_endpoints_refuses() -> Result<()> {
    let node = Node::new()?;
    let pod = node.pod("client").start()?;
    node.cluster_ip(VIP, &[])?;
    let Err(error) = pod.run(|| Ok(std::net::TcpStream::connect(VIP)))? else { bail!("connected to nobody") };
    ensure!(error.kind() == std::io::ErrorKind::ConnectionRefused, "{error}");
    Ok(())
}

/// Fails if the IPv6 half of a pod or of the table is missing.
fn a_dual_stack_service_works_in_both_families() -> Result<()> {
    let node = Node::new()?;
    let client = node.pod("client").dual_stack().start()?;
    let server = node.pod("server").dual_stack().start()?;
    let recorder = Recorder::start(server.netns(), "[::]:8080".parse()?, Behaviour::Ok(b"hello".to_vec()))?;
    let vip6: SocketAddr = "[fd00:10:96::10]:8000".parse()?;
    let endpoint = |ip| SocketAddr::new(ip, 8080);
    node.cluster_ip(VIP, &[endpoint(server.v4().into())])?;
    node.cluster_ip(vip6, &server.v6().map(|ip| endpoint(ip.into())).into_iter().collect::<Vec<_>>())?;
    for vip in [VIP, vip6] {
        ensure!(client.run(|| http::get(vip, "server", "/"))?.text() == "hello");
    }
    let peers: Vec<_> = recorder.peers().into_iter().map(|peer| peer.ip().to_canonical()).collect();
    ensure!(peers == client.ips(), "the server saw {peers:?}");
    Ok(())
}

/// Fails without the masquerade of a pod that is its own endpoint, or without the node's route to services.
fn a_pod_reaches_itself_and_the_node_reaches_a_service() -> Result<()> {
    let node = Node::new()?;
    let pod = node.pod("server").start()?;
    let recorder = Recorder::start(pod.netns(), "0.0.0.0:8080".parse()?, Behaviour::Ok(b"me".to_vec()))?;
    node.cluster_ip(VIP, &[SocketAddr::new(pod.v4().into(), 8080)])?;
    ensure!(pod.run(|| http::get(VIP, "me", "/"))?.text() == "me");
    ensure!(node.netns().run(|| http::get(VIP, "node", "/"))?.text() == "me");
    ensure!(recorder.count() == 2);
    Ok(())
}
