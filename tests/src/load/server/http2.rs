//! A connection of HTTP/2: streams side by side, each of which is served by a task of its own.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{Response, header::CONTENT_LENGTH, request::Parts};
use tokio::{net::TcpStream, sync::watch, time::sleep};

use super::{Counts, GIBIBYTE, Manner};
use crate::{http2::send, load::exchange, theatre::noise};

/// Serves streams until the client closes.
///
/// # Errors
/// When the client breaks off.
pub(super) async fn serve(
    stream: TcpStream,
    who: &'static str,
    mut manner: watch::Receiver<Manner>,
    counts: &Arc<Counts>,
) -> Result<()> {
    let mut codec = h2::server::handshake(stream).await?;
    while let Some(accepted) = codec.accept().await {
        if *manner.borrow_and_update() == Manner::NeverReads {
            // The codec is left alone, and with it the connection.
            let _ = manner.changed().await;
            return Ok(());
        }
        let (request, respond) = accepted?;
        counts.requests.fetch_add(1, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        let call = Call { head, body, respond, who, manner: manner.clone(), counts: Arc::clone(counts) };
        // How it ends is the client's to notice.
        tokio::spawn(call.serve());
    }
    Ok(())
}

struct Call {
    head: Parts,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    who: &'static str,
    manner: watch::Receiver<Manner>,
    counts: Arc<Counts>,
}

impl Call {
    async fn serve(mut self) -> Result<()> {
        let length = self.head.headers.get(CONTENT_LENGTH);
        let length = length.map_or(Ok(0), |length| length.to_str()?.parse::<usize>().context("no length"))?;
        let path = self.head.uri.path().to_owned();
        let manner = *self.manner.borrow_and_update();
        match manner {
            Manner::Answers => {
                let intact = self.read(length).await?;
                self.answer(&path, length, intact, usize::MAX).await
            }
            Manner::Answers500 => {
                self.read(length).await?;
                let mut out = self.respond.send_response(Response::builder().status(500).body(())?, false)?;
                send(&mut out, Bytes::from_static(b"oops\n"), true).await
            }
            Manner::NeverReads => self.hold(false).await,
            Manner::ReadsAByteASecond => self.hold(true).await,
            Manner::Hangs => {
                self.read(length).await?;
                self.hold(false).await
            }
            Manner::ResetsMidBody => {
                if length > 0 {
                    self.body.data().await;
                }
                self.respond.send_reset(Reason::INTERNAL_ERROR);
                Ok(())
            }
            Manner::DiesMidAnswer => {
                self.read(length).await?;
                self.answer(&path, length, true, 300).await?;
                // A reset takes back what has not gone out.
                sleep(Duration::from_millis(10)).await;
                self.respond.send_reset(Reason::INTERNAL_ERROR);
                Ok(())
            }
            Manner::AnswersEarly => {
                self.answer(&path, 0, true, usize::MAX).await?;
                self.read(length).await.map(drop)
            }
            Manner::AnswersAGibibyte => {
                self.read(length).await?;
                let head = Response::builder().header(CONTENT_LENGTH, GIBIBYTE).body(())?;
                let mut out = self.respond.send_response(head, false)?;
                let chunk = Bytes::from(noise(64 * 1024));
                for left in (0..GIBIBYTE / chunk.len()).rev() {
                    send(&mut out, chunk.clone(), left == 0).await?;
                }
                Ok(())
            }
        }
    }

    /// Reads the body; is it what the load sends?
    async fn read(&mut self, length: usize) -> Result<bool> {
        let wanted = exchange::upload();
        let (mut at, mut intact) = (0, true);
        while let Some(chunk) = self.body.data().await {
            let chunk = chunk?;
            self.body.flow_control().release_capacity(chunk.len())?;
            intact &= wanted.get(at..at + chunk.len()) == Some(&chunk[..]);
            at += chunk.len();
        }
        intact &= at == length;
        if !intact {
            self.counts.broken.fetch_add(1, Ordering::Relaxed);
        }
        Ok(intact)
    }

    /// Answers with so much of what it has to say.
    async fn answer(&mut self, path: &str, length: usize, intact: bool, most: usize) -> Result<()> {
        let mut content = exchange::content(self.who, path, length, intact);
        let mut head = Response::new(());
        *head.headers_mut() = exchange::fields(self.who, content.len());
        let mut out = self.respond.send_response(head, false)?;
        let whole = most >= content.len();
        content.truncate(most);
        send(&mut out, content.into(), whole).await
    }

    /// Keeps the stream without an answer until the client resets it or the manner changes; then it is reset from here.
    async fn hold(mut self, a_byte_a_second: bool) -> Result<()> {
        let changed = self.manner.changed();
        tokio::pin!(changed);
        loop {
            tokio::select! {
                _ = &mut changed => break,
                _ = std::future::poll_fn(|cx| self.respond.poll_reset(cx)) => return Ok(()),
                () = sleep(Duration::from_secs(1)), if a_byte_a_second => {
                    // Fails until there is a byte.
                    let _ = self.body.flow_control().release_capacity(1);
                }
            }
        }
        self.respond.send_reset(Reason::INTERNAL_ERROR);
        Ok(())
    }
}
