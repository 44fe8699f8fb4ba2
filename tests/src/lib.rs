//! The toy world: network namespaces that play a Kubernetes node and its pods, with real servers and a real agent in them.
//!
//! Comes in: what a test or the demo asks for. Goes out: a [`Node`] with [`Pod`]s behind it, services played by nftables,
//! [`Httpbin`] servers under gunicorn, [`Recorder`]s that keep requests byte for byte, a running [`Agent`] and its metrics.
//! It never touches the root network namespace: every link, route and rule lives inside namespaces whose names begin with
//! [`PREFIX`], and the node has no default route, so that a packet nobody answers dies there.
//!
//! [`cluster`] is the same for a real cluster.
//!
//! What a process makes is removed when its guard is dropped, on a panic, at SIGINT and SIGTERM ([`leftovers::install`]), and,
//! if it was killed, by the next process that makes a world.

pub mod access_log;
pub mod agent;
#[cfg(test)]
mod cases;
pub mod cgroups;
pub mod client;
pub mod cluster;
pub mod cluster_ip;
pub mod curl;
pub mod descriptors;
pub mod fault_matrix;
pub mod footprint;
pub mod golang;
pub mod grpc;
pub mod harness;
pub mod http;
pub mod http2;
pub mod httpbin;
pub mod in_kernel;
pub mod leftovers;
pub mod load;
pub mod manifests;
pub mod metrics;
pub mod needs;
pub mod netns;
pub mod nginx;
pub mod node;
pub mod owner;
pub mod parity;
pub mod paths;
pub mod pod;
pub mod process;
pub mod python;
pub mod redis;
pub mod rendered;
pub mod script;
pub mod seed;
pub mod sockets;
pub mod stage;
pub mod theatre;
pub mod translator;
pub mod upstream;
pub mod wait;
pub mod wire;

pub use agent::Agent;
pub use httpbin::Httpbin;
pub use manifests::Manifests;
pub use metrics::MetricsView;
pub use netns::Netns;
pub use node::Node;
pub use owner::PREFIX;
pub use pod::Pod;
pub use process::Process;
pub use script::{Cue, Script};
pub use stage::Stage;
pub use theatre::Theatre;
pub use upstream::{Behaviour, Recorded, Recorder};
pub use wire::Wire;
