//! Byte for byte to the original destination: everything that is not HTTP/1.
//!
//! Comes in: the client's connection and the bytes read of it. Goes out: the same bytes, half-closes and resets, both ways.
//! Never: a look at the bytes, a shadow.

use std::io;

use bytes::BytesMut;
use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional_with_sizes},
    net::TcpStream,
};

use crate::net::client_stream::ClientStream;

const BUFFER: usize = 64 * 1024;

/// Copies until both directions have ended. An error of one side resets the other, as the network would have done.
///
/// # Errors
/// The error that ended the connection.
pub async fn splice(mut client: ClientStream, prefix: BytesMut, mut upstream: TcpStream) -> io::Result<()> {
    let result = async {
        upstream.write_all(&prefix).await?;
        copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await
    }
    .await;
    if result.is_err() {
        client.reset();
        // A failure means that the peer has reset it already.
        let _ = upstream.set_zero_linger();
    }
    result.map(|_| ())
}
