//! A load of new connections from a pod: one curl that sends requests at a rate, each over a connection of its own, and writes down how each
//! of them ended. It runs in the pod, so that it goes on while the API server does not answer.

use std::{collections::BTreeMap, fmt, sync::atomic::AtomicUsize};

use anyhow::{Context as _, Result, ensure};

use super::Kubectl;

/// Requests a second of one load. Two of them, with their shadows, are a quarter of what two cores carry.
pub const RATE: usize = 40;
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A curl in a pod; killed when dropped.
#[derive(Debug)]
pub struct Load {
    kubectl: Kubectl,
    namespace: String,
    pod: String,
    pid: u32,
    file: String,
    runs: bool,
    /// Part of the path that only this load's requests have.
    pub tag: String,
}

/// How the requests of a load ended.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answered with 200.
    pub answered: usize,
    /// Whatever else happened, and how often.
    pub failed: BTreeMap<String, usize>,
    /// Which requests those were, counted from 1.
    pub at: Vec<usize>,
    /// The longest of all, seconds.
    pub slowest: f64,
}

impl Tally {
    /// Requests that were not answered with 200.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let mut words = line.splitn(4, ' ');
        let (code, exit) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let seconds: f64 = words.next().unwrap_or_default().parse().with_context(|| format!("curl said `{line}`"))?;
        self.slowest = self.slowest.max(seconds);
        if (code, exit) == ("200", "0") {
            self.answered += 1;
        } else {
            let why = words.next().unwrap_or_default();
            self.at.push(self.answered + self.failures() + 1);
            *self.failed.entry(format!("status {code}, curl {exit} {why}").trim_end().to_owned()).or_default() += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, slowest) = (self.failures(), self.slowest * 1000.0);
        write!(f, "{} new connections answered, {failed} failed, slowest {slowest:.0} ms", self.answered)?;
        self.failed.iter().try_for_each(|(why, times)| write!(f, "; {times} × {why}"))?;
        if self.at.is_empty() { Ok(()) } else { write!(f, "; requests {:?}", self.at) }
    }
}

impl Load {
    /// Starts it: [`RATE`] requests a second for that URL of a host, until it is stopped.
    ///
    /// # Errors
    /// When the pod has no curl.
    pub fn start(kubectl: &Kubectl, namespace: &str, pod: &str, host: &str) -> Result<Self> {
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (tag, file) = (format!("load-{number}-"), format!("/tmp/load-{number}"));
        // Standard error is not buffered: what was said before the kill is there.
        let script = format!(
            "curl -s -o /dev/null --rate {RATE}/s --max-time 20 -H 'Connection: close' \
             -w '%{{stderr}}%{{http_code}} %{{exitcode}} %{{time_total}} %{{errormsg}}\\n' \
             'http://{host}/status/200?{tag}[1-1000000]' </dev/null >/dev/null 2>{file} & echo $!"
        );
        let pid = kubectl.exec(namespace, pod, &["sh", "-c", &script])?.trim().parse()?;
        Ok(Self {
            kubectl: kubectl.clone(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            pid,
            file,
            runs: true,
            tag,
        })
    }

    fn sh(&self, script: &str) -> Result<String> {
        self.kubectl.exec(&self.namespace, &self.pod, &["sh", "-c", script])
    }

    /// How its requests have ended so far.
    ///
    /// # Errors
    /// When the pod cannot be asked.
    pub fn tally(&self) -> Result<Tally> {
        let mut tally = Tally::default();
        let text = self.sh(&format!("cat {}", self.file))?;
        // A line that is being written has no end yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().try_for_each(|line| tally.add(line))?;
        Ok(tally)
    }

    /// Ends it; the request that is under way then counts as neither.
    ///
    /// # Errors
    /// When it does not run any more, or has not sent anything.
    pub fn stop(mut self) -> Result<Tally> {
        self.runs = false;
        self.sh(&format!("kill {}", self.pid)).context("the load has ended before its time")?;
        let tally = self.tally()?;
        ensure!(tally.answered + tally.failures() > 0, "the load has sent nothing");
        Ok(tally)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if self.runs {
            // The pod may be gone, and the load with it.
            let _ = self.sh(&format!("kill {} 2>/dev/null", self.pid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_curl_is_counted_once() {
        let mut tally = Tally::default();
        for line in ["200 0 0.004 ", "200 0 0.250 ", "503 0 0.001 ", "000 7 1.5 Failed to connect", "200 18 0.1 cut"] {
            tally.add(line).unwrap();
        }
        assert_eq!((tally.answered, tally.failures()), (2, 3));
        assert_eq!(tally.at, [3, 4, 5]);
        assert!(tally.to_string().contains("slowest 1500 ms"), "{tally}");
        assert!(tally.to_string().contains("1 × status 000, curl 7 Failed to connect"), "{tally}");
        assert!(tally.add("curl: (3) bad URL").is_err());
    }
}
