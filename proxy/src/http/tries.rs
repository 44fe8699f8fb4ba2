//! How often and where a primary is tried again (Istio's default: two further attempts, elsewhere if there is an elsewhere, after a pause that grows).

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{net::addr::EndpointAddr, route::Endpoint, upstream::balance, worker::Worker};

/// The first pause is shorter than this, the next than twice as much (Envoy's `base_interval`, with full jitter).
const PAUSE: Duration = Duration::from_millis(25);
/// No pause is longer (Envoy's `max_interval`).
const LONGEST: Duration = Duration::from_millis(250);

/// The tries of one request.
#[derive(Debug)]
pub struct Tries<'a> {
    endpoints: &'a [Arc<Endpoint>],
    further: u32,
    /// Where it was in vain.
    asked: Vec<EndpointAddr>,
}

impl<'a> Tries<'a> {
    /// So many after the first one, at these endpoints.
    #[must_use]
    pub fn new(endpoints: &'a [Arc<Endpoint>], further: u32) -> Self {
        Self { endpoints, further, asked: Vec::new() }
    }

    /// Whether one is left.
    #[must_use]
    pub fn are_left(&self) -> bool {
        (self.asked.len() as u64) < u64::from(self.further)
    }

    /// Where to go after `failed`, once the pause is over: another endpoint, or the same if there is no other and it is `worth` that. `None` = that was
    /// the last try.
    pub async fn next(&mut self, worker: &Worker, failed: &'a Arc<Endpoint>, worth: bool) -> Option<&'a Arc<Endpoint>> {
        if !self.are_left() {
            return None;
        }
        self.asked.push(failed.address);
        let next = balance::another(self.endpoints, &self.asked, worker.random()).or(worth.then_some(failed))?;
        sleep(pause(self.asked.len(), worker.random())).await;
        Some(next)
    }
}

/// The pause before a further try, the first being number 1.
fn pause(number: usize, random: u64) -> Duration {
    let doublings = u32::try_from(number).unwrap_or(u32::MAX).saturating_sub(1);
    let most = PAUSE.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(LONGEST);
    Duration::from_nanos(random % (most.as_nanos() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_never_the_same() {
        let longest = |number| (0..2_000_000_u64).map(|n| pause(number, n * 137)).max().unwrap().as_millis();
        assert_eq!([1, 2, 3, 4, 5, 60].map(longest), [24, 49, 99, 199, 249, 249]);
        assert_eq!(pause(1, 25_000_000), Duration::ZERO);
    }
}
