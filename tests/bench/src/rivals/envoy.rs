//! Envoy as a sidecar. Tuned: as many workers as cores, no access log, no tracing, no request ids, no statistics by response code, connections
//! to the servers kept, circuit breakers out of the way. `request_mirror_policies` is what Istio makes of `mirror`.

use std::fmt::Write as _;

use anyhow::Result;
use integration::{Pod, parity::Server};

use super::{WORKERS, port, sidecar};
use crate::{
    variant,
    world::{DEAD, HTTP1, HTTP2, Service, World},
};

/// Starts it.
///
/// # Errors
/// When there is no Envoy, or with what it says.
pub(crate) fn start(world: &World, client: &Pod) -> Result<Server> {
    let program = variant::program("envoy/envoy/_bin/envoy", "envoy")?;
    let (v1, v2) = (world.v1.pod.v4(), world.v2.pod.v4());
    let mut text = String::from("static_resources:\n  listeners:\n");
    for service in Service::ALL {
        text += &listener(service);
    }
    text += "  clusters:\n";
    for (name, address, port, http2) in [
        ("v1", v1, HTTP1, false),
        ("v2", v2, HTTP1, false),
        ("dead", v2, DEAD, false),
        ("v1-http2", v1, HTTP2, true),
        ("v2-http2", v2, HTTP2, true),
    ] {
        let _ = write!(
            text,
            "  - name: {name}
    connect_timeout: 10s
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000, max_retries: 100000}}]}}
    load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {address}, port_value: {port}}}}}}}}}]}}]}}
"
        );
        if http2 {
            text += "    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
";
        }
    }
    let workers = WORKERS.to_string();
    sidecar(world, client, "envoy", &Service::ALL, &text, |file| {
        let mut words = vec![program.display().to_string(), "-c".to_owned(), file.display().to_string()];
        words.extend(["--concurrency", &workers, "--disable-hot-restart", "--log-level", "error"].map(str::to_owned));
        words
    })
}

fn listener(service: Service) -> String {
    let (cluster, mirror) = match service {
        Service::Plain => ("v1", String::new()),
        Service::Mirrored => ("v1", policy("v2", 100)),
        Service::Tenth => ("v1", policy("v2", 10)),
        Service::Dead => ("v1", policy("dead", 100)),
        Service::Plain2 => ("v1-http2", String::new()),
        Service::Mirrored2 => ("v1-http2", policy("v2-http2", 100)),
    };
    let (name, port) = (service.name(), port(service));
    format!(
        "  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          generate_request_id: false
          route_config:
            virtual_hosts: [{{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: {cluster}, timeout: 0s{mirror}}}}}]}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, dynamic_stats: false}}
"
    )
}

fn policy(cluster: &str, percent: u32) -> String {
    format!(
        ", request_mirror_policies: [{{cluster: {cluster}, runtime_fraction: {{default_value: {{numerator: {percent}, denominator: HUNDRED}}}}}}]"
    )
}
