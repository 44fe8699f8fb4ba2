//! The pods that should be enrolled and are not: why, since when, and what was said of it.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{PodName, Refusal};

/// So long a new pod may take to come up without a word.
const USUAL_START: Duration = Duration::from_secs(10);

/// Pods with the reason why they are not enrolled.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pods: BTreeMap<PodName, State>,
}

#[derive(Debug)]
struct State {
    reason: String,
    word: &'static str,
    since: Instant,
    /// The reason was logged for people to see.
    told: bool,
}

impl Refused {
    /// Notes a reason, and logs it if it is new: what every pod goes through at its start only if it lasts.
    pub(super) fn note(&mut self, name: &PodName, refusal: &Refusal) {
        let new = || State { reason: String::new(), word: "", since: Instant::now(), told: false };
        let state = self.pods.entry(name.clone()).or_insert_with(new);
        let reason = refusal.to_string();
        let changed = state.reason != reason;
        if changed {
            *state = State { reason, word: refusal.word(), since: state.since, told: false };
        }
        let (namespace, pod, reason) = (&name.0, &name.1, &state.reason);
        if refusal.is_usual_at_first() && state.since.elapsed() < USUAL_START {
            if changed {
                tracing::debug!(%namespace, %pod, "not enrolled: {reason}");
            }
        } else if !state.told {
            tracing::warn!(%namespace, %pod, "not enrolled: {reason}");
            state.told = true;
        }
    }

    /// Forgets a pod: it is enrolled.
    pub(super) fn remove(&mut self, name: &PodName) {
        self.pods.remove(name);
    }

    /// Forgets the others.
    pub(super) fn retain(&mut self, keep: impl Fn(&PodName) -> bool) {
        self.pods.retain(|name, _| keep(name));
    }

    /// Why, or nothing.
    pub(super) fn reason(&self, name: &PodName) -> Option<&str> {
        self.pods.get(name).map(|state| &*state.reason)
    }

    /// How many have this word for it.
    pub(super) fn count(&self, word: &str) -> usize {
        self.pods.values().filter(|state| state.word == word).count()
    }

    #[cfg(test)]
    pub(super) fn is_told(&self, name: &PodName) -> bool {
        self.pods.get(name).is_some_and(|state| state.told)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Mutation that breaks it: counting from the last try instead of the first.
    #[tokio::test(start_paused = true)]
    async fn a_pod_that_is_still_coming_up_is_not_worth_a_warning_at_first() {
        let (mut refused, name): (_, PodName) = (Refused::default(), (Arc::from("mirror"), Arc::from("sleep")));
        for second in 0..10 {
            let begun = Refusal::HostProcess { path: "/proc/7/ns/net".into() };
            refused.note(&name, [&Refusal::NotFound, &begun, &Refusal::NotReady][second % 3]);
            assert!(!refused.is_told(&name), "after {second} s");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        refused.note(&name, &Refusal::NotFound);
        assert!(refused.is_told(&name));
        assert_eq!((refused.count("not_found"), refused.count("not_ready")), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn every_other_reason_is_told_at_once() {
        let (mut refused, name): (_, PodName) = (Refused::default(), (Arc::from("mirror"), Arc::from("sleep")));
        refused.note(&name, &Refusal::RuntimeClass { class: Arc::from("kata") });
        assert!(refused.is_told(&name));
        refused.note(&name, &Refusal::NotFound);
        assert!(!refused.is_told(&name), "a new reason, and a usual one");
    }
}
