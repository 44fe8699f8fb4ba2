//! The body of a request that nobody wants: the answer is ours, or there is no endpoint.
//!
//! Left unread over HTTP/1 it costs the client its connection, and with a long upload the answer too: the kernel resets a connection that is closed
//! with bytes unread. So it is read on, at the client's pace, beside the answer; nothing of it is kept. Never: one that comes only when it is asked for
//! (RFC 9110, 10.1.1), and none over HTTP/2, where a reset with NO_ERROR follows a whole answer (RFC 9113, 8.1; h2 does it by itself).

use std::rc::Rc;

use http::{Version, header, request::Parts};
use http_body_util::BodyExt as _;
use tokio::{task::spawn_local, time::timeout};

use super::{headers, request_body::RequestBody};
use crate::worker::Connection;

/// Whether the body behind this head is read on.
#[must_use]
pub fn is_wanted(head: &Parts) -> bool {
    head.version != Version::HTTP_2 && !headers::is_tunnel(head) && !head.headers.contains_key(header::EXPECT)
}

/// Reads to the end, as long as something comes: after a silence the connection ends.
pub fn read_on(connection: &Rc<Connection>, body: RequestBody) {
    let silence = connection.worker.shared.settings.patience.idle;
    let mut body = body.without_shadows();
    spawn_local(async move { while let Ok(Some(Ok(_))) = timeout(silence, body.frame()).await {} });
}
