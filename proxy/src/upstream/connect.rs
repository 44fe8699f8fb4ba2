//! A connection to an endpoint, from inside the pod's network namespace: the endpoint sees the pod's address, and NetworkPolicy holds.

use std::time::Duration;

use tokio::{net::TcpStream, time::timeout};

use crate::{
    enrol::EnrolledPod,
    fault::{Fault, Kind},
    net::{Class, Family, addr::EndpointAddr, factory::SocketFactory},
};

/// Connects as a pod.
#[derive(Clone, Debug)]
pub struct Dialer {
    /// Makes sockets for primaries in pods' namespaces.
    pub primaries: SocketFactory,
    /// The same for shadows: a thread of its own, so that a flood of shadows never stands before a primary.
    pub shadows: SocketFactory,
    /// How long a connection may take to be made.
    pub timeout: Duration,
}

impl Dialer {
    /// Connects to `endpoint` as the pod.
    ///
    /// # Errors
    /// `own_listener` for a loopback address (only we listen there for others), `connect_failed` or `connect_timeout`.
    pub async fn open(&self, pod: &EnrolledPod, endpoint: EndpointAddr, class: Class) -> Result<TcpStream, Fault> {
        let address = endpoint.0;
        if address.ip().is_loopback() || address.ip().is_unspecified() {
            return Err(Fault::upstream(Kind::OwnListener));
        }
        let factory = match class {
            Class::Primary => &self.primaries,
            Class::Shadow(_) => &self.shadows,
        };
        let connect = async {
            let socket = factory.stream(&pod.netns, Family::of(&address), class).await?;
            let stream = socket.connect(address).await?;
            // Small writes of a proxy are whole messages; waiting for more of them only delays.
            stream.set_nodelay(true)?;
            anyhow::Ok(stream)
        };
        match timeout(self.timeout, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                tracing::debug!(%endpoint, pod = %pod.name, error = %format!("{error:#}"), "connect failed");
                Err(Fault::connect(&error))
            }
            Err(_) => Err(Fault::upstream(Kind::ConnectTimeout)),
        }
    }
}
