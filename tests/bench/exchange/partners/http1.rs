//! The three of them over HTTP/1: blocking sockets, one thread.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result, ensure};

use super::{Rest, UPLOAD, Versions, prepare};
use crate::case::Case;

/// As nginx answers.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n\
    Content-Length: 17\r\nConnection: keep-alive\r\n\r\nsmall body of v1\n";

pub(super) fn play(case: Case, versions: &Versions, proxy: SocketAddr, rest: Rest, requests: u64) -> Result<()> {
    let (mut v1, mut v2) = (Server::new(&versions.v1), Server::new(&versions.v2));
    let (request, mut client) = (request(case), None);
    for _ in 0..requests {
        if client.is_none() {
            client = Some(Peer::new(TcpStream::connect(proxy)?)?);
        }
        let asking = client.as_mut().context("no client")?;
        asking.0.write_all(&request)?;
        v1.heard()?;
        if case.is_mirrored() {
            v2.heard()?;
        }
        rest.wait()?;
        v1.answer()?;
        asking.read_message().context("the client waits for its answer")?;
        if case == Case::Close {
            asking.read_end()?;
            client = None;
        }
        rest.wait()?;
        if case.is_mirrored() {
            v2.answer()?;
            rest.wait()?;
        }
    }
    Ok(())
}

/// As curl asks.
fn request(case: Case) -> Vec<u8> {
    let host = case.host();
    let close = if case == Case::Close { "Connection: close\r\n" } else { "" };
    let fields = format!("Host: {host}:8000\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n{close}");
    if case != Case::Upload {
        return format!("GET /get?a=b HTTP/1.1\r\n{fields}\r\n").into_bytes();
    }
    let head = format!(
        "POST /upload HTTP/1.1\r\n{fields}Content-Type: application/octet-stream\r\nContent-Length: {UPLOAD}\r\n\r\n"
    );
    [head.as_bytes(), &[b'x'; UPLOAD]].concat()
}

/// A version with the one connection that the proxy keeps to it.
struct Server<'a> {
    listener: &'a TcpListener,
    connection: Option<Peer>,
}

impl<'a> Server<'a> {
    fn new(listener: &'a TcpListener) -> Self {
        Self { listener, connection: None }
    }

    fn heard(&mut self) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(Peer::new(self.listener.accept()?.0)?);
        }
        let at = self.listener.local_addr()?;
        self.peer()?.read_message().with_context(|| format!("{at} waits for a request"))
    }

    fn answer(&mut self) -> Result<()> {
        Ok(self.peer()?.0.write_all(ANSWER)?)
    }

    fn peer(&mut self) -> Result<&mut Peer> {
        self.connection.as_mut().context("nobody is connected")
    }
}

struct Peer(TcpStream);

impl Peer {
    fn new(stream: TcpStream) -> Result<Self> {
        prepare(&stream)?;
        Ok(Self(stream))
    }

    /// Reads one message whole, and nothing behind it.
    fn read_message(&mut self) -> Result<()> {
        let (mut read, mut buffer) = (Vec::new(), [0; 16 << 10]);
        loop {
            let count = self.0.read(&mut buffer)?;
            ensure!(count > 0, "the connection ended in a message");
            read.extend_from_slice(buffer.get(..count).unwrap_or_default());
            if let Some(length) = length(&read)?
                && read.len() >= length
            {
                ensure!(read.len() == length, "more came than one message");
                return Ok(());
            }
        }
    }

    fn read_end(&mut self) -> Result<()> {
        ensure!(self.0.read(&mut [0])? == 0, "something came behind the last answer");
        Ok(())
    }
}

/// How long a message is in all, once its head is whole.
fn length(read: &[u8]) -> Result<Option<usize>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(read.get(..end).unwrap_or_default())?;
    let body = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    Ok(Some(end + 4 + body.transpose()?.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_length_says() {
        assert_eq!(length(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap(), None);
        assert_eq!(length(b"GET / HTTP/1.1\r\n\r\n").unwrap(), Some(18));
        assert_eq!(length(ANSWER).unwrap(), Some(ANSWER.len()));
        let upload = request(Case::Upload);
        assert_eq!(length(&upload).unwrap(), Some(upload.len()));
    }
}
