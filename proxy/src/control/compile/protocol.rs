//! What a Service declares of a port (Istio's `ConvertProtocol`, `pilot/pkg/serviceregistry/kube/conversion.go`: `appProtocol` if given,
//! else the port's name up to the first `-`, in any case).

use crate::{
    control::model::{ServicePort, Transport},
    route::PortProtocol,
};

/// Ports that are plain TCP unless declared otherwise: SMTP, DNS, MySQL, MongoDB (there `wellKnownPorts`).
const NOT_HTTP: [u16; 4] = [25, 53, 3306, 27017];

/// The declared protocol of a port; `None` if it does not carry HTTP that we could read.
pub(super) fn declared(port: &ServicePort) -> Option<PortProtocol> {
    if port.transport != Transport::Tcp {
        return None;
    }
    let name = match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c") => return Some(PortProtocol::Http2),
        Some("kubernetes.io/ws") => return Some(PortProtocol::Http),
        Some("kubernetes.io/wss") => return None,
        Some(name) => name,
        None => &port.name,
    }
    .to_ascii_lowercase();
    if name.starts_with("grpc-web") {
        return Some(PortProtocol::Http2);
    }
    match name.split('-').next().unwrap_or_default() {
        "http" => Some(PortProtocol::Http),
        "http2" | "grpc" => Some(PortProtocol::Http2),
        "tcp" | "tls" | "https" | "mongo" | "mysql" | "redis" | "udp" | "hbone" => None,
        _ if NOT_HTTP.contains(&port.port) => None,
        _ => Some(PortProtocol::Undeclared),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::model::TargetPort;

    fn protocol(name: &str, app_protocol: Option<&str>, port: u16) -> Option<PortProtocol> {
        let target = TargetPort::Number(port);
        declared(&ServicePort {
            name: name.into(),
            port,
            target,
            transport: Transport::Tcp,
            app_protocol: app_protocol.map(Into::into),
        })
    }

    #[test]
    fn the_name_counts_up_to_the_first_dash_and_in_any_case() {
        assert_eq!(protocol("http", None, 80), Some(PortProtocol::Http));
        assert_eq!(protocol("HTTP-web", None, 80), Some(PortProtocol::Http));
        assert_eq!(protocol("http2-x", None, 80), Some(PortProtocol::Http2));
        assert_eq!(protocol("grpc-web-x", None, 80), Some(PortProtocol::Http2));
        assert_eq!(protocol("httpx", None, 80), Some(PortProtocol::Undeclared));
        assert_eq!(protocol("", None, 80), Some(PortProtocol::Undeclared));
        for name in ["tcp", "tls-x", "https", "mongo", "mysql", "redis", "udp-x"] {
            assert_eq!(protocol(name, None, 80), None, "{name}");
        }
    }

    #[test]
    fn the_app_protocol_beats_the_name() {
        assert_eq!(protocol("tcp", Some("http"), 80), Some(PortProtocol::Http));
        assert_eq!(protocol("http", Some("kubernetes.io/h2c"), 80), Some(PortProtocol::Http2));
        assert_eq!(protocol("tcp", Some("kubernetes.io/ws"), 80), Some(PortProtocol::Http));
        assert_eq!(protocol("http", Some("kubernetes.io/wss"), 443), None);
        assert_eq!(protocol("http", Some("example.com/x"), 80), Some(PortProtocol::Undeclared));
    }

    #[test]
    fn well_known_ports_are_not_http_unless_declared() {
        assert_eq!(protocol("db", None, 3306), None);
        assert_eq!(protocol("http", None, 3306), Some(PortProtocol::Http));
    }
}
