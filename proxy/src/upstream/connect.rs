//! A connection to an endpoint, from inside the pod's network namespace: the endpoint sees the pod's address, and NetworkPolicy holds.

use std::sync::Arc;

use http_body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{
    pool::Ready,
    watched::{Watched, WriteWatch},
};
use crate::{
    enrol::EnrolledPod,
    fault::{Fault, Kind},
    net::{Class, Family, addr::EndpointAddr},
    worker::Worker,
};

/// Most header bytes and fields of an answer; one with more is no answer.
const MAX_HEADERS: usize = 256;
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Connects to `endpoint` as the pod.
///
/// # Errors
/// `own_listener` for a loopback address (only we listen there for others), `connect_failed` or `connect_timeout`.
pub async fn open(
    worker: &Worker,
    pod: &Arc<EnrolledPod>,
    endpoint: EndpointAddr,
    class: Class,
) -> Result<TcpStream, Fault> {
    let address = endpoint.0;
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        return Err(Fault::upstream(Kind::OwnListener));
    }
    let factory = match class {
        Class::Primary => &worker.shared.factory,
        Class::Shadow(_) => &worker.shared.shadow_factory,
    };
    let connect = async {
        let socket = factory.stream(&pod.netns, Family::of(&address), class).await?;
        let stream = socket.connect(address).await?;
        // Small writes of a proxy are whole messages; waiting for more of them only delays.
        stream.set_nodelay(true)?;
        anyhow::Ok(stream)
    };
    match timeout(worker.shared.settings.connect_timeout, connect).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            tracing::debug!(%endpoint, pod = %pod.name, error = %format!("{error:#}"), "connect failed");
            Err(Fault::connect(&error))
        }
        Err(_) => Err(Fault::upstream(Kind::ConnectTimeout)),
    }
}

/// What hyper may hold of a shadow: of its answer until that is read, of its request above the chunk that it is writing.
const SHADOW_BUFFER: usize = MAX_HEADER_BYTES;

/// Starts HTTP/1 on a connection; its driver runs on this worker. `tunnel` = the connection may switch protocols.
///
/// # Errors
/// `connect_failed` if hyper refuses the connection.
pub async fn handshake<B>(stream: TcpStream, class: Class, tunnel: bool) -> Result<Ready<B>, Fault>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (io, watch) = Watched::new(stream);
    let mut builder = http1::Builder::new();
    if let Class::Shadow(_) = class {
        builder.max_buf_size(SHADOW_BUFFER);
    }
    let (sender, connection) = builder
        .preserve_header_case(true)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        // What every client takes, a client behind us gets too.
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|_| Fault::upstream(Kind::ConnectFailed))?;
    if let Class::Shadow(_) = class {
        let watch = watch.clone();
        tokio::task::spawn_local(async move {
            tokio::select! {
                _ = connection => {}
                () = watch.given_up() => {}
            }
        });
    } else if tunnel {
        tokio::task::spawn_local(async move {
            // What it ends with reaches the exchange as the answer's error.
            let _ = connection.with_upgrades().await;
        });
    } else {
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
    }
    Ok(ready(sender, watch))
}

fn ready<B>(sender: http1::SendRequest<B>, watch: WriteWatch) -> Ready<B> {
    Ready { sender, watch, reused: false }
}
