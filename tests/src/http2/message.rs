//! Bodies on streams.

use std::future::poll_fn;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// A body as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its bytes.
    pub body: Vec<u8>,
    /// What came behind it.
    pub trailers: Option<HeaderMap>,
}

/// A body that did not come to its end.
#[derive(Debug)]
pub struct Broken {
    /// What had come.
    pub body: Vec<u8>,
    /// The code of the reset; `None` if the connection is gone.
    pub code: Option<Reason>,
}

/// A request without a body.
#[must_use]
pub fn request(method: &str, uri: &str) -> Request<()> {
    Request::builder().method(method).uri(uri).version(http::Version::HTTP_2).body(()).unwrap_or_default()
}

/// Fields.
#[must_use]
pub fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// Reads a body to its end.
///
/// # Errors
/// When it breaks off.
pub async fn read(mut stream: RecvStream) -> std::result::Result<Message, Broken> {
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        match chunk {
            Ok(chunk) => {
                let _ = stream.flow_control().release_capacity(chunk.len());
                body.extend_from_slice(&chunk);
            }
            Err(error) => return Err(Broken { body, code: error.reason().filter(|_| error.is_reset()) }),
        }
    }
    match stream.trailers().await {
        Ok(trailers) => Ok(Message { body, trailers }),
        Err(error) => Err(Broken { body, code: error.reason().filter(|_| error.is_reset()) }),
    }
}

/// Sends bytes as the peer's windows allow.
///
/// # Errors
/// When the stream ends before.
pub async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes, last: bool) -> Result<()> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await.context("the stream is closed")??;
        let piece = bytes.split_to(room.min(bytes.len()));
        stream.send_data(piece, last && bytes.is_empty())?;
        if last && bytes.is_empty() {
            return Ok(());
        }
    }
    if last {
        stream.send_data(bytes, true)?;
    }
    Ok(())
}

/// Waits for the peer's reset.
///
/// # Errors
/// When the connection ends instead.
pub async fn until_reset(stream: &mut SendStream<Bytes>) -> Result<Reason> {
    Ok(poll_fn(|cx| stream.poll_reset(cx)).await?)
}
