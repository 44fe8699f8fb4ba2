//! A client that looks closely: raw bytes out, the answer in, and the names that its socket has.
//!
//! It talks from whatever namespace its thread is in, so call it inside `run` of a pod or node.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    http::{self, Answer},
    wait::PATIENCE,
};

/// `IPPROTO_MPTCP` (include/uapi/linux/in.h).
pub const MPTCP: i32 = 262;

/// A request that is valid but that no HTTP library writes like this: whoever takes it apart and writes it again, shows.
#[must_use]
pub fn odd_request(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhOsT:   {host}\r\nX-oDD:\t a  b \r\n\r\n").into_bytes()
}

/// Connects, with the harness' patience for every answer.
///
/// # Errors
/// With the kernel's own error (its `io::Error` is the source).
pub fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Connects a socket of a family and protocol, bound to `from` first.
///
/// # Errors
/// As [`connect`].
pub fn connect_from(from: Option<SocketAddr>, to: SocketAddr, protocol: i32) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::from(protocol)))?;
    // The same port is used again by the next connection of the test.
    socket.set_reuse_address(true)?;
    if let Some(from) = from {
        socket.bind(&from.into()).with_context(|| format!("cannot bind to {from}"))?;
    }
    socket.connect(&to.into()).with_context(|| format!("cannot connect to {to} from {from:?}"))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a whole request and reads the whole answer, which must say where it ends; the connection stays.
///
/// # Errors
/// When the connection ends or stays silent before that.
pub fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<Answer> {
    stream.write_all(request)?;
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let read = stream.read(&mut buffer).context("no answer")?;
        bytes.extend_from_slice(&buffer[..read]);
        if let Ok(answer) = http::parse(&bytes) {
            return Ok(answer);
        }
        if read == 0 {
            bail!("the connection ended after {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

/// One request on a connection of its own, with little patience: `None` when nobody answers in time.
///
/// # Errors
/// When the connect or the exchange fails in another way.
pub fn ask_within(to: SocketAddr, request: &[u8], patience: Duration) -> Result<Option<Answer>> {
    let mut stream = connect(to)?;
    stream.set_read_timeout(Some(patience))?;
    match ask(&mut stream, request) {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if is(&error, &[libc::EAGAIN, libc::EWOULDBLOCK]) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Is one of these the error that the kernel gave?
#[must_use]
pub fn is(error: &anyhow::Error, errnos: &[i32]) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.raw_os_error().is_some_and(|errno| errnos.contains(&errno)))
}
