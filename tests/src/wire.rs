//! A client's connection of which a test writes and reads every byte.
//!
//! Comes in: what the test sends. Goes out: heads and bodies as they came. It never repairs, retries or waits beyond the lab's patience.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsFd,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    http::{self, Answer, Framing},
    pod::Pod,
    wait::PATIENCE,
};

/// An open connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    /// Connects from a pod, as an application in it would.
    ///
    /// # Errors
    /// When nobody accepts.
    pub fn connect(pod: &Pod, to: SocketAddr) -> Result<Self> {
        let stream =
            pod.run(|| TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("cannot connect to {to}")))?;
        Self::over(stream)
    }

    /// Takes over a connection.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn over(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// The socket, for what this type does not do.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is broken, or nobody reads.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).with_context(|| format!("cannot send {} bytes", bytes.len()))
    }

    /// Sends a request and reads its answer; knows that HEAD has no body.
    ///
    /// # Errors
    /// As [`Wire::send`] and [`Wire::answer`].
    pub fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.send(request)?;
        if request.starts_with(b"HEAD ") { self.answer_without_body() } else { self.answer() }
    }

    /// The next head, with its empty line.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn head(&mut self) -> Result<String> {
        loop {
            if let Some(end) = http::head_end(&self.unread) {
                let head = self.unread.drain(..end).collect::<Vec<_>>();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.more().context("no answer")? == 0 {
                bail!("the connection ended before the end of a head: {:?}", String::from_utf8_lossy(&self.unread));
            }
        }
    }

    /// The next answer, final or interim, with its body as the head frames it.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn answer(&mut self) -> Result<Answer> {
        let head = self.head()?;
        let status = status(&head)?;
        let body = match http::framing(&head)? {
            _ if matches!(status, 100..=199 | 204 | 304) => Vec::new(),
            Framing::Length(length) => self.take(length)?,
            Framing::Chunked => self.chunks()?,
            Framing::None => self.rest()?,
        };
        Ok(Answer { status, head, body })
    }

    /// The answer to a HEAD.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn answer_without_body(&mut self) -> Result<Answer> {
        let head = self.head()?;
        Ok(Answer { status: status(&head)?, head, body: Vec::new() })
    }

    /// Exactly so many bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.unread.len() < count {
            let have = self.unread.len();
            let read = self.more().with_context(|| format!("{have} of {count} bytes have come"))?;
            ensure!(read > 0, "the connection ended after {have} of {count} bytes");
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Everything up to the end of the stream.
    ///
    /// # Errors
    /// When it ends in another way, or not at all.
    pub fn rest(&mut self) -> Result<Vec<u8>> {
        while self.more().context("the stream has no regular end")? > 0 {}
        Ok(std::mem::take(&mut self.unread))
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
            let size = size.with_context(|| format!("`{line}` is no chunk's size"))?;
            if size == 0 {
                break;
            }
            body.extend(self.take(size)?);
            ensure!(self.take(2)? == b"\r\n", "a chunk does not end where it says");
        }
        while !self.line()?.is_empty() {}
        Ok(body)
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|w| w == b"\r\n") {
                let line = self.unread.drain(..end + 2).take(end).collect::<Vec<_>>();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            ensure!(self.more()? > 0, "the connection ended in the middle of a chunked body");
        }
    }

    fn more(&mut self) -> Result<usize> {
        let mut buffer = vec![0; 64 * 1024];
        let read = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    /// Says that nothing more will be sent; goes on reading.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn finish(&self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Breaks the connection: RST instead of FIN.
    ///
    /// # Errors
    /// When the socket is broken already.
    pub fn reset(self) -> Result<()> {
        reset_on_close(&self.stream)
    }
}

/// From now on, closing the socket is a reset.
///
/// # Errors
/// When the socket is broken already.
pub fn reset_on_close(stream: &impl AsFd) -> Result<()> {
    Ok(setsockopt(stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?)
}

fn status(head: &str) -> Result<u16> {
    let status = head.split(' ').nth(1).and_then(|status| status.get(..3)?.parse().ok());
    status.with_context(|| format!("no status in {head:?}"))
}
