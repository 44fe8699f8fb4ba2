//! How a load went.

use std::time::Instant;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use super::Kind;

/// How it went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Requests that have ended, rightly or not.
    pub requests: u64,
    /// Those whose answer was not to the byte what it had to be, or did not come.
    pub wrong: u64,
    /// What was wrong with the first of them.
    pub first_wrong: Option<String>,
    /// Body bytes sent.
    pub uploaded: u64,
    /// Latencies of small requests, microseconds, from when they were due.
    pub small: Histogram<u64>,
    /// Latencies of uploads.
    pub uploads: Histogram<u64>,
}

impl Report {
    /// Nothing yet.
    ///
    /// # Errors
    /// Never in practice: the histogram's bounds are constants.
    pub fn new() -> Result<Self> {
        let empty = || Histogram::new_with_bounds(1, 60_000_000, 3);
        Ok(Self { requests: 0, wrong: 0, first_wrong: None, uploaded: 0, small: empty()?, uploads: empty()? })
    }

    /// Adds another's numbers.
    ///
    /// # Errors
    /// Never in practice: all histograms have the same bounds.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        self.requests += other.requests;
        self.wrong += other.wrong;
        self.uploaded += other.uploaded;
        if self.first_wrong.is_none() {
            self.first_wrong.clone_from(&other.first_wrong);
        }
        self.small.add(&other.small)?;
        self.uploads.add(&other.uploads)?;
        Ok(())
    }

    /// Every answer was right.
    ///
    /// # Errors
    /// With the first that was not.
    pub fn all_right(&self) -> Result<()> {
        let first = self.first_wrong.as_deref().unwrap_or_default();
        ensure!(self.wrong == 0, "{} of {} primary answers were wrong; the first: {first}", self.wrong, self.requests);
        Ok(())
    }

    pub(super) fn note(&mut self, kind: Kind, due: Instant, outcome: Result<()>) {
        self.requests += 1;
        self.uploaded += kind.length() as u64;
        let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        match kind {
            Kind::Get => self.small.saturating_record(micros),
            Kind::Upload(_) => self.uploads.saturating_record(micros),
        }
        if let Err(error) = outcome {
            self.wrong += 1;
            self.first_wrong.get_or_insert_with(|| format!("{error:#}"));
        }
    }
}
