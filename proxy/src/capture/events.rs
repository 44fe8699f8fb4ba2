//! Kernel → log: the sampled decisions of `EVENTS`, and the kernel side's own debug log.

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use proxy_common::{event::Event, stats::Counter};
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use super::origins::from_address;
use crate::net::watch_readable;

/// Both sources, not yet running.
pub struct Events {
    decisions: RingBuf<MapData>,
    log: Option<EbpfLogger<ToTracing>>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// `is_logging`: the kernel side's own log is on; its buffer is mapped only then.
    pub(super) fn new(decisions: RingBuf<MapData>, object: &mut Ebpf, is_logging: bool) -> Self {
        // Without its map there is no debug log, which hurts nobody.
        let log = if is_logging { EbpfLogger::init_with_logger(object, ToTracing).ok() } else { None };
        Self { decisions, log }
    }

    /// Writes to the log until the token is cancelled. A task of the control runtime.
    ///
    /// # Errors
    /// If the runtime cannot watch the buffers.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let Self { mut decisions, log } = self;
        let decided = watch_readable(decisions.as_fd().try_clone_to_owned()?)?;
        let logged = log.as_ref().map(|log| watch_readable(log.as_fd().try_clone_to_owned()?)).transpose()?;
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            result = follow(&decided, || drain(&mut decisions)) => result,
            result = flush(logged, log) => result,
        }
    }
}

async fn flush(logged: Option<AsyncFd<OwnedFd>>, log: Option<EbpfLogger<ToTracing>>) -> io::Result<()> {
    match (logged, log) {
        (Some(logged), Some(mut log)) => follow(&logged, || log.flush()).await,
        _ => std::future::pending().await,
    }
}

/// Calls `read` whenever there is something.
async fn follow(source: &AsyncFd<OwnedFd>, mut read: impl FnMut()) -> io::Result<()> {
    loop {
        let mut ready = source.readable().await?;
        // Cleared before reading: what comes while we read wakes us again.
        ready.clear_ready();
        read();
    }
}

fn drain(buffer: &mut RingBuf<MapData>) {
    while let Some(record) = buffer.next() {
        if let Some(event) = read(&record) {
            log(&event);
        }
    }
}

fn log(event: &Event) {
    let destination = SocketAddr::new(from_address(&event.address, event.family), u16::from_be(event.port));
    let reason =
        Counter::ALL.iter().find(|(counter, _)| *counter as u32 == event.counter).map_or("unknown", |(_, name)| name);
    let (netns, rule) = (event.cookie, event.rule);
    if event.denied != 0 {
        tracing::warn!(%destination, reason, netns, rule, "refused a connection, because its rule is closed");
    } else {
        tracing::warn!(%destination, reason, netns, rule, "let a connection go on without us");
    }
}

/// A record of the ring buffer; none if it is of another size, as another version's would be.
fn read(bytes: &[u8]) -> Option<Event> {
    if bytes.len() != size_of::<Event>() {
        return None;
    }
    let u32_at = |at| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let u16_at = |at| bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes);
    Some(Event {
        cookie: bytes.get(..8)?.try_into().ok().map(u64::from_ne_bytes)?,
        address: bytes.get(8..24)?.try_into().ok()?,
        counter: u32_at(24)?,
        rule: u32_at(28)?,
        port: u16_at(32)?,
        family: *bytes.get(34)?,
        denied: *bytes.get(35)?,
        padding: u32_at(36)?,
    })
}

/// Hands the kernel side's records to `tracing`.
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // The verifier already removed what is below the level that was asked for.
        let _ = tracing_log::format_trace(record);
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use proxy_common::{FAMILY_V4, address_v4};

    use super::*;

    #[test]
    fn a_record_is_read_field_by_field_where_the_layout_has_it() {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&42_u64.to_ne_bytes());
        bytes[8..12].copy_from_slice(&[10, 96, 0, 10]);
        bytes[24..28].copy_from_slice(&(Counter::Stale as u32).to_ne_bytes());
        bytes[28..32].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[32..34].copy_from_slice(&8000_u16.to_be_bytes());
        bytes[34..36].copy_from_slice(&[FAMILY_V4, 1]);
        let event = read(&bytes).unwrap();
        let expected = Event {
            cookie: 42,
            address: address_v4([10, 96, 0, 10]),
            counter: Counter::Stale as u32,
            rule: 7,
            port: 8000_u16.to_be(),
            family: FAMILY_V4,
            denied: 1,
            padding: 0,
        };
        assert_eq!(event, expected);
        assert_eq!(read(&bytes[..39]), None);
    }
}
