//! A connection that lives for a while: a download of known length, one byte at a time, by a curl in a pod.

use std::{sync::atomic::AtomicUsize, time::Duration};

use anyhow::{Result, ensure};

use super::Kubectl;
use crate::wait;

/// Seconds that it takes, and bytes that it brings.
const SECONDS: u64 = 20;
/// Ports that nobody takes by chance: those come from 32768 on.
const PORTS: usize = 21_000;
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A download under way.
#[derive(Debug)]
pub struct Download {
    kubectl: Kubectl,
    namespace: String,
    pod: String,
    file: String,
    /// Its own port at the pod's end, so that it can be told from others.
    port: usize,
    /// Part of the path that only this request has.
    pub tag: String,
}

impl Download {
    /// Starts it, and waits for its first byte.
    ///
    /// # Errors
    /// When the pod has no curl, or when nothing comes.
    pub fn start(kubectl: &Kubectl, namespace: &str, pod: &str, host: &str) -> Result<Self> {
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (tag, file) = (format!("download-{number}"), format!("/tmp/download-{number}"));
        let port = PORTS + number;
        let script = format!(
            "curl -s -N -o {file}.body --local-port {port} --max-time 90 -w '%{{stderr}}%{{http_code}} %{{exitcode}} %{{size_download}}\\n' \
             'http://{host}/drip?duration={SECONDS}&numbytes={SECONDS}&delay=0&tag={tag}' </dev/null >/dev/null 2>{file} &"
        );
        let this =
            Self { kubectl: kubectl.clone(), namespace: namespace.to_owned(), pod: pod.to_owned(), file, port, tag };
        this.sh(&script)?;
        let begun = format!("[ -s {}.body ] && echo yes; true", this.file);
        wait::until("the download has begun", || Ok((this.sh(&begun)?.trim() == "yes").then_some(())))?;
        Ok(this)
    }

    fn sh(&self, script: &str) -> Result<String> {
        self.kubectl.exec(&self.namespace, &self.pod, &["sh", "-c", script])
    }

    /// True if it goes to a listener in its pod, whatever the client believes.
    ///
    /// # Errors
    /// When the pod cannot be asked.
    pub fn is_captured(&self) -> Result<bool> {
        let table = self.sh("cat /proc/net/tcp")?;
        let (port, loopback) = (format!(":{:04X}", self.port), "0100007F:");
        Ok(table.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let local = words.next().is_some_and(|local| local.ends_with(&port));
            local && words.next().is_some_and(|remote| remote.starts_with(loopback))
        }))
    }

    /// True if it has ended.
    ///
    /// # Errors
    /// When the pod cannot be asked.
    pub fn has_ended(&self) -> Result<bool> {
        Ok(!self.sh(&format!("cat {}", self.file))?.trim().is_empty())
    }

    /// Waits for its end, which must be the whole of it.
    ///
    /// # Errors
    /// When it was cut.
    pub fn whole(self) -> Result<()> {
        let end = wait::until_or("the download has ended", Duration::from_secs(100), || {
            let text = self.sh(&format!("cat {}", self.file))?;
            Ok((!text.trim().is_empty()).then_some(text))
        })?;
        let wanted = format!("200 0 {SECONDS}");
        ensure!(end.trim() == wanted, "the download ended with `{}`, not `{wanted}`", end.trim());
        Ok(())
    }
}
