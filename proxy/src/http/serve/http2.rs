//! The HTTP/2 codec on one captured connection, until it ends or drains: a task for each stream.
//!
//! Nothing outlives the connection: when it ends, h2 tells every stream, and a stream that is told ends what it has begun upstream.

use std::{future::poll_fn, rc::Rc};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    server::{Builder, SendResponse},
};
use http::{
    Request,
    header::{CONNECTION, HeaderMap},
};

use super::super::{answer::AnswerBody, exchange, respond};
use crate::{
    codec::{
        Incoming,
        caller::Caller,
        limits::{CLIENT_STREAMS, CLIENT_WINDOW, MAX_HEADER_BYTES, MAX_HEADERS, STREAM_WINDOW},
        upload::{Piece, Stopped, Upload},
    },
    fault::{Fault, Kind},
    net::{client_stream::ClientStream, prefixed::Prefixed},
    worker::Connection,
};

/// Serves streams until the client closes or the connection breaks. When the pod drains, a GOAWAY asks for no more of them and those that are
/// there are finished.
///
/// # Errors
/// What ended the connection, if it was not its regular end.
pub async fn serve(connection: Rc<Connection>, io: Prefixed<ClientStream>) -> Result<(), h2::Error> {
    // What h2 does by itself against floods stays: it ends a connection (ENHANCE_YOUR_CALM) with many streams that are reset before they are
    // served, with many empty frames, or with a head that never ends, and answers 431 to a head that is too large.
    let mut codec = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CLIENT_WINDOW)
        .max_concurrent_streams(CLIENT_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .handshake::<_, Piece<Bytes>>(io)
        .await?;
    let mut drains = false;
    loop {
        tokio::select! {
            biased;
            accepted = codec.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted?;
                tokio::task::spawn_local(stream(Rc::clone(&connection), request, respond));
            }
            () = connection.drain.cancelled(), if !drains => {
                drains = true;
                codec.graceful_shutdown();
            }
        }
    }
}

/// One request and its answer.
pub(crate) async fn stream(
    connection: Rc<Connection>,
    request: Request<RecvStream>,
    respond: SendResponse<Piece<Bytes>>,
) {
    let caller = Caller::new(respond);
    let request = request.map(|body| Incoming::request(body, Rc::clone(&caller)));
    let response = if too_many_fields(request.headers()) {
        let fault = Fault::client(Kind::TooManyFields);
        connection.worker.fault(fault);
        Ok(respond::with_fault(fault))
    } else {
        tokio::select! {
            biased;
            // Whatever the exchange has begun ends with it, under the client's code.
            () = caller.gives_up() => return,
            response = exchange::exchange(connection, request) => response,
        }
    };
    let (mut head, body) = match response {
        Ok(response) => response.into_parts(),
        Err(exchange::StreamReset(code)) => return caller.reset(code),
    };
    // Our own answers are made for HTTP/1 (RFC 9113, 8.2.2).
    head.headers.remove(CONNECTION);
    let last = http_body::Body::is_end_stream(&body);
    match caller.answer(head, last) {
        Ok(out) => send(&caller, body, out).await,
        Err(error) => {
            tracing::debug!(%error, "an answer could not begin");
            caller.reset(Reason::INTERNAL_ERROR);
        }
    }
}

async fn send(caller: &Caller, body: AnswerBody, mut out: SendStream<Piece<Bytes>>) {
    let mut upload = Upload::new(body, Reason::INTERNAL_ERROR);
    if let Err(Stopped::ByPeer(code)) = poll_fn(|cx| upload.poll(&mut out, cx)).await {
        caller.gave_up(code);
    }
}

fn too_many_fields(headers: &HeaderMap) -> bool {
    headers.len() > MAX_HEADERS
}
