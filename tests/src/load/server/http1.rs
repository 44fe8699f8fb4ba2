//! A connection of HTTP/1.1: one request after the other.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::TcpStream,
    sync::watch,
    time::sleep,
};

use super::{Counts, GIBIBYTE, Manner};
use crate::{
    http::{self, Framing},
    load::exchange,
    theatre::noise,
    wire,
};

struct Connection<'a> {
    stream: TcpStream,
    who: &'static str,
    manner: watch::Receiver<Manner>,
    counts: &'a Counts,
    unread: Vec<u8>,
}

/// A request's head.
struct Head {
    path: String,
    length: usize,
}

/// Serves one request after the other.
///
/// # Errors
/// When the client breaks off.
pub(super) async fn serve(
    stream: TcpStream,
    who: &'static str,
    manner: watch::Receiver<Manner>,
    counts: &Counts,
) -> Result<()> {
    Connection { stream, who, manner, counts, unread: Vec::new() }.serve().await
}

impl Connection<'_> {
    async fn serve(mut self) -> Result<()> {
        loop {
            let manner = *self.manner.borrow_and_update();
            if matches!(manner, Manner::NeverReads | Manner::ReadsAByteASecond) {
                return hold(self.stream, self.manner, manner == Manner::ReadsAByteASecond).await;
            }
            let Some(head) = self.head().await? else { return Ok(()) };
            // It may have changed while the connection was idle.
            let manner = *self.manner.borrow_and_update();
            match manner {
                Manner::Answers => {
                    let intact = self.body(head.length).await?;
                    self.stream.write_all(&exchange::answer(self.who, &head.path, head.length, intact)).await?;
                }
                Manner::Answers500 => {
                    self.body(head.length).await?;
                    let answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\noops\n";
                    self.stream.write_all(answer).await?;
                }
                Manner::NeverReads => return hold(self.stream, self.manner, false).await,
                Manner::ReadsAByteASecond => return hold(self.stream, self.manner, true).await,
                Manner::Hangs => {
                    self.body(head.length).await?;
                    return hold(self.stream, self.manner, false).await;
                }
                Manner::ResetsMidBody => {
                    if head.length > self.unread.len() {
                        self.more().await?;
                    }
                    return wire::reset_on_close(&self.stream);
                }
                Manner::DiesMidAnswer => {
                    self.body(head.length).await?;
                    let answer = exchange::answer(self.who, &head.path, head.length, true);
                    self.stream.write_all(&answer[..answer.len() - 100]).await?;
                    return Ok(());
                }
                Manner::AnswersEarly => {
                    self.stream.write_all(&exchange::answer(self.who, &head.path, 0, true)).await?;
                    self.body(head.length).await?;
                }
                Manner::AnswersAGibibyte => {
                    self.body(head.length).await?;
                    return self.gibibyte().await;
                }
            }
        }
    }

    /// The next request's head; `None` when the client has closed.
    async fn head(&mut self) -> Result<Option<Head>> {
        let end = loop {
            if let Some(end) = http::head_end(&self.unread) {
                break end;
            }
            if self.more().await? == 0 {
                return Ok(None);
            }
        };
        let text = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end);
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let path = text.split(' ').nth(1).context("no path")?.to_owned();
        let length = if let Framing::Length(length) = http::framing(&text)? { length } else { 0 };
        Ok(Some(Head { path, length }))
    }

    /// Reads a body; is it what the load sends?
    async fn body(&mut self, length: usize) -> Result<bool> {
        let wanted = exchange::upload();
        let (mut at, mut intact) = (0, true);
        loop {
            let part = self.unread.len().min(length - at);
            intact &= wanted.get(at..at + part) == Some(&self.unread[..part]);
            self.unread.drain(..part);
            at += part;
            if at == length {
                break;
            }
            anyhow::ensure!(self.more().await? > 0, "the client broke off");
        }
        if !intact {
            self.counts.broken.fetch_add(1, Ordering::Relaxed);
        }
        Ok(intact)
    }

    async fn more(&mut self) -> Result<usize> {
        if self.unread.capacity() < 32 * 1024 {
            self.unread.reserve(64 * 1024);
        }
        Ok(self.stream.read_buf(&mut self.unread).await?)
    }

    async fn gibibyte(mut self) -> Result<()> {
        let chunk = noise(64 * 1024);
        self.stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIBIBYTE}\r\n\r\n").as_bytes()).await?;
        for _ in 0..GIBIBYTE / chunk.len() {
            self.stream.write_all(&chunk).await?;
        }
        Ok(())
    }
}

/// Keeps a connection, unread or nearly so, until the client resets it or the manner changes; then it is reset from here.
///
/// # Errors
/// When the client breaks off.
pub(super) async fn hold(
    mut stream: TcpStream,
    mut manner: watch::Receiver<Manner>,
    a_byte_a_second: bool,
) -> Result<()> {
    let changed = manner.changed();
    tokio::pin!(changed);
    loop {
        tokio::select! {
            _ = &mut changed => return wire::reset_on_close(&stream),
            // The client's reset; that it merely closed does not show without reading.
            _ = stream.ready(Interest::ERROR) => return Ok(()),
            () = sleep(Duration::from_secs(1)), if a_byte_a_second => {
                if stream.read(&mut [0]).await? == 0 {
                    return Ok(());
                }
            }
        }
    }
}
