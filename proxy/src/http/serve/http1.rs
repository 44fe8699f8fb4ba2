//! The HTTP/1 codec on one captured connection, until it ends or drains.

use std::{pin::pin, rc::Rc};

use http::Request;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

use super::super::{exchange, interim::ClientIo};
use crate::{
    codec::{
        Incoming,
        limits::{MAX_HEADER_BYTES, MAX_HEADERS},
    },
    net::{client_stream::ClientStream, prefixed::Prefixed},
    seldom::Seldom,
    worker::Connection,
};

/// Serves requests until the client closes, the connection breaks, or the pod drains (then the request under way is finished).
///
/// # Errors
/// What ended the connection, if it was not its regular end.
pub async fn serve(connection: Rc<Connection>, io: Prefixed<ClientStream>) -> hyper::Result<()> {
    let drain = connection.drain.clone();
    let client = connection.stream.clone();
    let io = ClientIo::new(io, Rc::clone(&connection.interim));
    let service = service_fn(move |request: Request<_>| {
        // hyper keeps room for a request's whole state on each connection; most connections are between two requests.
        Box::pin(exchange::exchange(Rc::clone(&connection), request.map(Incoming::Http1)))
    });
    let serving = http1::Builder::new()
        // A transparent proxy adds no Date, changes no letter case and knows no deadline that the application did not set.
        .auto_date_header(false)
        .preserve_header_case(true)
        .header_read_timeout(None)
        .half_close(true)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    tokio::pin!(serving);
    // These wait for as long as the connection lives: no request pays for a look at them.
    let (draining, broken) = (pin!(drain.cancelled()), pin!(client.broken()));
    let (mut draining, broken) = (Seldom::new(draining), Seldom::new(broken));
    let finish = async {
        tokio::select! {
            // The codec first: before it has seen the bytes that `detect` read, it would take the connection for an idle one and close it.
            biased;
            result = &mut serving => return result,
            () = &mut draining => {}
        }
        serving.as_mut().graceful_shutdown();
        serving.await
    };
    tokio::select! {
        biased;
        result = finish => result,
        // While it waits for an endpoint the codec does not look at the client; without this an exchange would outlive its client.
        () = broken => Ok(()),
    }
}
