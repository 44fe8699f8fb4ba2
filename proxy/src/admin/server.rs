//! Listeners and connections of the two addresses.
//!
//! Every limit here is for one thing: whoever asks, however slowly or often, takes nothing from traffic and little from the control
//! thread.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{
    View,
    pages::{self, Side},
};
use crate::settings::AdminSettings;

/// Connections of one address at once; one more is closed.
const MAX_CONNECTIONS: usize = 64;
/// Request line and headers.
const MAX_HEAD: usize = 16 << 10;
/// From waiting for a request to the end of its head; so also the life of an idle connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// From accepting a connection to asking it to end after the request under way.
const LIFE: Duration = Duration::from_secs(60);
/// From there to cutting it.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// After an accept that failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why an address cannot be served.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The port is taken.
    #[error("{address} is taken by another process: stop that, or choose another address ({flag})")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// Anything else.
    #[error("cannot listen on {address} ({flag}): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Both listeners, bound but not served yet.
#[derive(Debug)]
pub struct AdminServer {
    admin: Bound,
    metrics: Bound,
}

#[derive(Debug)]
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminServer {
    /// Binds both addresses. Connections wait until [`Self::serve`].
    ///
    /// # Errors
    ///
    /// An address cannot be bound.
    pub fn bind(settings: &AdminSettings) -> Result<Self, AdminError> {
        Ok(Self { admin: bind(settings.admin, "--admin-addr")?, metrics: bind(settings.metrics, "--metrics-addr")? })
    }

    /// Where the admin pages are.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// Where metrics and probes are.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics.address
    }

    /// Answers until dropped; needs a tokio runtime with time and IO.
    ///
    /// # Errors
    ///
    /// The runtime cannot take the listeners over.
    pub async fn serve(self, view: View) -> io::Result<()> {
        let view = Arc::new(view);
        let admin = tokio::net::TcpListener::from_std(self.admin.listener)?;
        let metrics = tokio::net::TcpListener::from_std(self.metrics.listener)?;
        tokio::join!(accept(admin, Side::Admin, Arc::clone(&view)), accept(metrics, Side::Metrics, view));
        Ok(())
    }
}

fn bind(address: SocketAddr, flag: &'static str) -> Result<Bound, AdminError> {
    let bound = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    };
    bound().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => AdminError::Taken { address, flag },
        _ => AdminError::Bind { address, flag, source },
    })
}

async fn accept(listener: tokio::net::TcpListener, side: Side, view: Arc<View>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                    warn!(%peer, "more than {MAX_CONNECTIONS} connections to the {side:?} address: this one is closed");
                    continue;
                };
                let view = Arc::clone(&view);
                tokio::spawn(async move {
                    serve(stream, peer, side, &view).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept on the {side:?} address");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, side: Side, view: &View) {
    let respond = service_fn(|request| async move { Ok::<_, Infallible>(pages::answer(side, view, request).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), respond);
    let mut connection = pin!(connection);
    let ended = match timeout(LIFE, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection to the {side:?} address ended early");
    }
}
