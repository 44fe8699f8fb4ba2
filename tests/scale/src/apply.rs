//! From `kubectl apply` of a rule to its first shadow, and from its deletion to its last one.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;
use integration::wait;

use crate::{
    api::{Api, Ask},
    objects,
    stage::{Played, Stage},
    traffic::Client,
};

/// No shadow for so long: there will be none.
const SILENCE: Duration = Duration::from_millis(150);

/// Times in microseconds.
#[derive(Debug)]
pub(crate) struct Applied {
    /// From the API server's answer to the first shadow.
    pub(crate) answered: Histogram<u64>,
    /// From the request to the API server.
    pub(crate) asked: Histogram<u64>,
    /// From the request to delete the rule to its last shadow.
    pub(crate) deleted: Histogram<u64>,
    /// Requests of the client meanwhile, all of them answered.
    pub(crate) requests: u64,
}

impl Applied {
    /// Nothing yet.
    ///
    /// # Errors
    /// Never in practice: the histograms' bounds are constants.
    pub(crate) fn new() -> Result<Self> {
        let histogram = || Histogram::<u64>::new_with_bounds(1, 60_000_000, 3);
        Ok(Self { answered: histogram()?, asked: histogram()?, deleted: histogram()?, requests: 0 })
    }

    /// Applies the rule of a service, waits for its first shadow, deletes it, and waits for its last.
    ///
    /// # Errors
    /// When there is no shadow, or a request of the client fails.
    pub(crate) fn once(&mut self, stage: &Stage, api: &Api, played: &Played) -> Result<()> {
        let Played { namespace, name, vip } = played;
        let client = Client::start(stage.client(), *vip, &format!("{name}.{namespace}:{}", vip.port()))?;
        let collection = objects::virtual_services(namespace);
        let rule = objects::virtual_service(namespace, name, 100);
        stage.v2.forget();
        let asked = Instant::now();
        api.ask(Ask::create(&collection, &rule))?;
        let answered = Instant::now();
        let first = wait::until("the first shadow", || Ok(stage.v2.first()))?;
        self.answered.saturating_record(micros(first.saturating_duration_since(answered)));
        self.asked.saturating_record(micros(first.saturating_duration_since(asked)));

        let asked = Instant::now();
        api.ask(Ask::delete(&format!("{collection}/{name}")))?;
        let last = wait::until("the last shadow", || {
            thread::sleep(SILENCE / 10);
            Ok(stage.v2.last().filter(|last| last.elapsed() > SILENCE))
        })?;
        self.deleted.saturating_record(micros(last.saturating_duration_since(asked)));
        self.requests += client.end()?;
        Ok(())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
