//! What a process holds of others: its descriptors, less those that come and go by themselves.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

/// State `established` in `/proc/net/tcp`, as `include/net/tcp_states.h` numbers it.
const ESTABLISHED: &str = "01";

/// Number of a process's descriptors without TCP connections of its own network namespace: those to an API server or to endpoints, which
/// are made anew at any time. Listeners, and all sockets of other namespaces, count.
///
/// # Errors
/// When there is no such process, or it may not be looked at.
pub fn kept(pid: Pid) -> Result<usize> {
    let mut own = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let file = format!("/proc/{pid}/net/{table}");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        own.extend(text.lines().skip(1).filter_map(connection));
    }
    let folder = format!("/proc/{pid}/fd");
    let mut kept = 0;
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // One that was closed meanwhile is not held.
        let Ok(link) = fs::read_link(entry?.path()) else { continue };
        let link = link.to_string_lossy().into_owned();
        let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        kept += usize::from(inode.is_none_or(|inode| !own.contains(inode)));
    }
    Ok(kept)
}

/// The inode of an established connection's line.
fn connection(line: &str) -> Option<String> {
    let fields: Vec<_> = line.split_whitespace().collect();
    (*fields.get(3)? == ESTABLISHED).then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_does_not_count_and_a_listener_does() -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let client = TcpStream::connect(address)?;
        let text = fs::read_to_string("/proc/self/net/tcp")?;
        let port = format!(":{:04X}", address.port());
        let (connections, listeners): (Vec<_>, Vec<_>) =
            text.lines().filter(|line| line.contains(&port)).partition(|line| connection(line).is_some());
        assert_eq!(listeners.len(), 1, "{text}");
        assert_eq!(connections.len(), 2, "both ends of {client:?}: {text}");
        Ok(())
    }
}
