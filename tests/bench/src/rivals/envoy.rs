//! Envoy: a listener for each protocol, a virtual host for each Service, and a cluster for each version, as a sidecar's control plane would
//! have it, without the filters that a mesh adds to it.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use integration::Node;
use serde_json::{Value, json};

use crate::{
    rivals::{Endpoints, endpoint, program},
    variant::{Flavour, Protocol},
};

pub(crate) fn command(found: Result<&PathBuf, &String>, node: &Node, at: &Endpoints) -> Result<Vec<String>> {
    let program = program(found)?;
    let file = node.dir().join("envoy.json");
    fs::write(&file, serde_json::to_string_pretty(&config(at))?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    let config = file.display().to_string();
    let words = ["-c", &config, "--concurrency", "2", "--disable-hot-restart", "--log-level", "warning"];
    Ok([program].into_iter().chain(words.map(str::to_owned)).collect())
}

fn config(at: &Endpoints) -> Value {
    let both =
        |make: &dyn Fn(Protocol) -> Vec<Value>| -> Vec<Value> { Protocol::ALL.into_iter().flat_map(make).collect() };
    json!({
        "static_resources": {
            "listeners": both(&|protocol| vec![listener(protocol)]),
            "clusters": both(&|protocol| at.named().map(|(name, ip)| cluster(name, ip, protocol)).to_vec()),
        }
    })
}

fn cluster_name(version: &str, protocol: Protocol) -> String {
    format!("{version}-{protocol:?}")
}

fn listener(protocol: Protocol) -> Value {
    json!({
        "name": format!("{protocol:?}"),
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": protocol.sidecar()}},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "outbound",
                "codec_type": match protocol { Protocol::Http1 => "HTTP1", Protocol::Http2 => "HTTP2" },
                "generate_request_id": false,
                "route_config": {"name": "outbound", "virtual_hosts": Flavour::ALL.map(|flavour| virtual_host(flavour, protocol))},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "suppress_envoy_headers": true},
                }],
            },
        }]}],
    })
}

fn virtual_host(flavour: Flavour, protocol: Protocol) -> Value {
    let mut route = json!({"cluster": cluster_name("v1", protocol)});
    if let Some(subset) = flavour.subset() {
        let mut policy = json!({"cluster": cluster_name(subset, protocol)});
        if flavour.percentage() < 100 {
            policy["runtime_fraction"] =
                json!({"default_value": {"numerator": flavour.percentage(), "denominator": "HUNDRED"}});
        }
        route["request_mirror_policies"] = json!([policy]);
    }
    let host = flavour.host();
    json!({
        "name": host, "domains": [host, format!("{host}:{}", protocol.port())],
        "routes": [{"match": {"prefix": "/"}, "route": route}],
    })
}

/// The broken versions keep Envoy's own limits, which are its answer to them; where all is well no limit is to be met.
fn cluster(name: &str, ip: std::net::Ipv4Addr, protocol: Protocol) -> Value {
    let address = endpoint(ip, protocol);
    let mut cluster = json!({
        "name": cluster_name(name, protocol), "type": "STATIC", "connect_timeout": "10s",
        "load_assignment": {"cluster_name": cluster_name(name, protocol), "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}}
        }}]}]},
    });
    if protocol == Protocol::Http2 {
        cluster["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }});
    }
    if matches!(name, "v1" | "v2") {
        let most = 1_000_000;
        cluster["circuit_breakers"] = json!({"thresholds": [{
            "max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most,
        }]});
    }
    cluster
}
