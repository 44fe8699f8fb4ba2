//! gRPC as `grpcio` speaks it: v1 and v2, and a client that plays every kind of call.

use std::net::SocketAddr;

use anyhow::Result;

use crate::{
    node::Node,
    parity::Server,
    pod::Pod,
    python,
    theatre::{HOST, PORT},
};

/// Starts the server in a pod, on the service's target port. It writes down each call once that has ended.
///
/// # Errors
/// When it does not come up.
pub fn serve(node: &Node, pod: &Pod) -> Result<Server> {
    let words = python::script("grpc_server.py", &["0.0.0.0", &PORT.to_string()]);
    Server::start(node, pod, "grpc", PORT, &words)
}

/// The command line of the client, for one of its plays.
#[must_use]
pub fn client(to: SocketAddr, play: &str) -> Vec<String> {
    python::script("grpc_client.py", &[&to.ip().to_string(), &to.port().to_string(), HOST, play])
}
