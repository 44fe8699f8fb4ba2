//! From `kubectl apply` of a rule to its first shadow, and from its deletion to its last one.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use integration::wait;

use crate::{
    api::{Api, Ask},
    objects,
    stage::{SERVICE, Stage},
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

/// Applies the rule of a service, waits for its first shadow, deletes it, waits for its last, and again.
///
/// # Errors
/// When there is no shadow, or a request of the client fails.
pub(crate) fn again_and_again(
    stage: &Stage,
    api: &Api,
    namespace: &str,
    vip: SocketAddr,
    times: usize,
) -> Result<Applied> {
    let histogram = || Histogram::<u64>::new_with_bounds(1, 60_000_000, 3);
    let mut applied = Applied { answered: histogram()?, asked: histogram()?, deleted: histogram()?, requests: 0 };
    let client = crate::traffic::Client::start(stage.client(), vip, &format!("{SERVICE}.{namespace}:{}", vip.port()))?;
    let collection = objects::virtual_services(namespace);
    let rule = objects::virtual_service(namespace, SERVICE, 100);
    for number in 0..times {
        stage.v2.forget();
        let asked = Instant::now();
        api.ask(Ask::create(&collection, &rule))?;
        let answered = Instant::now();
        let first =
            wait::until("the first shadow", || Ok(stage.v2.first())).with_context(|| format!("after rule {number}"))?;
        applied.answered.saturating_record(micros(first.saturating_duration_since(answered)));
        applied.asked.saturating_record(micros(first - asked));

        let asked = Instant::now();
        api.ask(Ask::delete(&format!("{collection}/{SERVICE}")))?;
        let last = wait::until("the last shadow", || {
            thread::sleep(SILENCE / 10);
            Ok(stage.v2.last().filter(|last| last.elapsed() > SILENCE))
        })?;
        applied.deleted.saturating_record(micros(last.saturating_duration_since(asked)));
    }
    applied.requests = client.end()?;
    Ok(applied)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
