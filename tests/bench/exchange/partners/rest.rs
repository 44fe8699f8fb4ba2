//! When the proxy has done all that there is to do: then the next step begins, and each request is handled in the same portions as the last. How
//! long that takes depends on the machine, so nobody sleeps for it.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::Pid;

use super::PATIENCE;

/// Between two looks. What is on its way through the kernel arrives meanwhile.
const PAUSE: Duration = Duration::from_micros(150);

/// Looks at the proxy, from a thread in its network namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest(pub(crate) Pid);

impl Rest {
    /// Waits until two looks in a row find it at rest.
    pub(super) fn wait(self) -> Result<()> {
        let start = Instant::now();
        let mut looks = 0;
        while looks < 2 {
            ensure!(start.elapsed() < PATIENCE, "the counted proxy does not come to rest");
            sleep(PAUSE);
            looks = if self.look()? { looks + 1 } else { 0 };
        }
        Ok(())
    }

    /// Whether the worker sleeps and no socket has bytes to be read. That is true of the partners' sockets too: who has tasks that read must let
    /// them run between two looks.
    pub(super) fn look(self) -> Result<bool> {
        Ok(self.sleeps()? && nothing_waits()?)
    }

    /// The worker is the proxy's first thread.
    fn sleeps(self) -> Result<bool> {
        let stat =
            fs::read_to_string(format!("/proc/{0}/task/{0}/stat", self.0)).context("the counted proxy is gone")?;
        // The name before may have any character.
        let (_, rest) = stat.rsplit_once(") ").context("no name in a thread's stat")?;
        Ok(rest.starts_with('S'))
    }
}

fn nothing_waits() -> Result<bool> {
    Ok(!bytes_wait(&fs::read_to_string("/proc/thread-self/net/tcp")?))
}

/// Has an established connection received what nobody has read? (Of a listener the field counts connections, which are accepted soon.)
fn bytes_wait(table: &str) -> bool {
    table.lines().skip(1).any(|line| {
        let queues = line.split_whitespace().nth(4);
        queues
            .and_then(|queues| queues.split_once(':'))
            .is_some_and(|(_, unread)| unread.bytes().any(|digit| digit != b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    #[test]
    fn what_was_sent_may_wait_and_what_came_may_not() {
        let line =
            |queues: &str| format!("{HEAD}   0: 0100007F:1F90 0100007F:9C40 01 {queues} 00:00000000 00000000 0 0 1\n");
        assert!(!bytes_wait(&line("00000011:00000000")));
        assert!(bytes_wait(&line("00000000:00000010")));
    }
}
