//! Answers that we give ourselves: a status, and one line that says why.

use std::io;

use bytes::Bytes;
use http::{HeaderValue, Response, header, request::Parts};
use tokio::io::AsyncWriteExt as _;

use super::answer::AnswerBody;
use crate::{
    fault::Fault,
    net::client_stream::ClientStream,
    route::{
        action::{Content, OwnAnswer},
        authority,
    },
};

/// The answer to a request that met this fault.
#[must_use]
pub fn with_fault(fault: Fault) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::text(Bytes::from_static(fault.explanation().as_bytes())));
    *response.status_mut() = fault.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if fault.side == crate::fault::Side::Client {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The answer that a rule gives by itself.
#[must_use]
pub fn with_own(answer: &OwnAnswer, head: &Parts) -> Response<AnswerBody> {
    let mut response = match &*answer.content {
        Content::Text(text) if text.is_empty() => Response::new(AnswerBody::empty()),
        Content::Text(text) => {
            let mut response = Response::new(AnswerBody::text(text.clone()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            response
        }
        Content::Location(redirect) => {
            let mut response = Response::new(AnswerBody::empty());
            let authority = authority::of(head).ok().flatten().unwrap_or_default();
            if let Ok(location) = HeaderValue::from_str(&redirect.location(head, authority)) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            response
        }
    };
    *response.status_mut() = answer.status;
    answer.response.apply(response.headers_mut());
    response
}

/// Answers without hyper, which would choose another status, and closes.
///
/// # Errors
/// When the client does not take the answer.
pub async fn bare(mut client: ClientStream, fault: Fault) -> io::Result<()> {
    let (status, text) = (fault.status(), fault.explanation());
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    client.write_all(&[head.as_bytes(), text.as_bytes()].concat()).await?;
    client.shutdown().await
}
