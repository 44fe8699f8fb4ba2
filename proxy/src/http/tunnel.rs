//! CONNECT and `Upgrade`: the endpoint decides; if it switches, bytes pass both ways until both ends are done. A tunnel has a connection of
//! its own and no shadow.

use std::rc::Rc;

use http::{
    Response, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;

use super::answer::{AnswerBody, Lease};
use crate::{codec::Incoming, worker::Connection};

const BUFFER: usize = 16 * 1024;

/// Whether this answer switches protocols: 101, or 2xx to a CONNECT.
#[must_use]
pub fn switches(status: StatusCode, is_connect: bool) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (is_connect && status.is_success())
}

/// Passes the switching answer on and starts the tunnel behind it.
#[must_use]
pub fn start(
    connection: &Rc<Connection>,
    lease: Lease,
    client: OnUpgrade,
    mut response: Response<Incoming>,
) -> Response<AnswerBody> {
    let upstream = hyper::upgrade::on(&mut response);
    connection.worker.counters.tunnel.inc();
    connection.patience.pass_through();
    let connection = Rc::clone(connection);
    tokio::task::spawn_local(async move {
        // The endpoint is busy for as long as the tunnel lives.
        let _lease = lease;
        let bytes = async {
            let (client, upstream) = tokio::try_join!(client, upstream)?;
            let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
            copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await?;
            anyhow::Ok(())
        };
        let result = tokio::select! {
            result = bytes => result,
            _ = connection.patience.expired() => Ok(()),
            () = connection.cut() => Ok(()),
        };
        if let Err(error) = result {
            connection.stream.reset();
            tracing::debug!(%error, "tunnel ended");
        }
    });
    let (mut head, _) = response.into_parts();
    // A tunnel has no length (RFC 9110, 9.3.6); hyper would refuse to write one.
    for framing in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        head.headers.remove(framing);
    }
    Response::from_parts(head, AnswerBody::empty())
}
