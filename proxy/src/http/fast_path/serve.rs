//! Plain requests of one captured connection, one after the other, until one is not plain.

use std::{
    future::poll_fn,
    io, mem,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};

use super::{
    choose::choose,
    primary::{self, Cut},
    request::{self, NotPlain},
};
use crate::{seldom::Seldom, worker::Connection};

/// A connection between two requests keeps room for about as much, and no more.
const KEPT: usize = 2048;

/// Serves plain requests; `unread` was read before. Returns what is unread when hyper has to go on, or nothing if the connection has ended.
///
/// # Errors
/// If the client's connection breaks.
pub async fn serve(connection: &Rc<Connection>, unread: BytesMut) -> io::Result<Option<BytesMut>> {
    // These wait for as long as the connection lives: no request pays for a look at them.
    let (draining, broken) = (pin!(connection.drain.cancelled()), pin!(connection.stream.broken()));
    let (mut draining, broken) = (Seldom::new(draining), Seldom::new(broken));
    tokio::select! {
        biased;
        served = converse(connection, unread, &mut draining) => served,
        // While it waits for an endpoint nobody looks at the client; without this an exchange would outlive its client.
        () = broken => Ok(None),
    }
}

async fn converse(
    connection: &Rc<Connection>,
    mut unread: BytesMut,
    draining: &mut (impl Future<Output = ()> + Unpin),
) -> io::Result<Option<BytesMut>> {
    let mut client = connection.stream.clone();
    // So much of what is unread was looked at and is no whole head.
    let mut seen = 0;
    loop {
        let plain = match request::read(&mut unread, mem::take(&mut seen)) {
            Ok(Some(plain)) => plain,
            Err(NotPlain) => return Ok(Some(unread)),
            Ok(None) => {
                seen = unread.len();
                let read = poll_fn(|cx| {
                    let room = &mut connection.worker.room.borrow_mut();
                    let mut read = ReadBuf::new(room);
                    match Pin::new(&mut client).poll_read(cx, &mut read)? {
                        Poll::Pending => Pin::new(&mut *draining).poll(cx).map(|()| Ok(0)),
                        Poll::Ready(()) => {
                            unread.extend_from_slice(read.filled());
                            Poll::Ready(io::Result::Ok(read.filled().len()))
                        }
                    }
                });
                if read.await? == 0 {
                    if unread.is_empty() {
                        client.shutdown().await?;
                        return Ok(None);
                    }
                    // hyper knows what to say to half a request.
                    return Ok(Some(unread));
                }
                continue;
            }
        };
        let table = connection.worker.table();
        let Some(chosen) = choose(&table, connection, &plain.head) else { return Ok(Some(plain.put_back(&unread))) };
        match primary::perform(connection, &chosen, &plain, &mut client).await {
            Ok(true) => {
                if unread.is_empty() && plain.size() > KEPT {
                    unread = BytesMut::new();
                }
            }
            Ok(false) => {
                client.shutdown().await?;
                return Ok(None);
            }
            Err(Cut::Halfway) => {
                connection.stream.reset();
                return Ok(None);
            }
            Err(Cut::Client(error)) => return Err(error),
        }
    }
}
