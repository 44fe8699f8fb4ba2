//! When to look for pods that are not enrolled yet: soon, so that they are before their applications connect, and not for ever.
//!
//! Comes in: a folder in which the container runtime makes the namespace of each new pod; word that a pod is missing. Goes out: the moments at
//! which to look. Never: what is looked for, or how.
//!
//! A namespace is there some tenths of a second before the first process of its pod, which is what is looked for: so one event is followed by
//! several looks, at growing distances. A pod that does not come (its image cannot be pulled) is left to reconciliation then. Events in quick
//! succession share their looks.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// How long to wait before each look after an event: two seconds in all.
const STEPS: [Duration; 8] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(600),
    Duration::from_millis(800),
];
/// An event does not cause a look sooner after the last one: pods that come and go all the time cause few looks.
const LEAST_GAP: Duration = Duration::from_millis(100);
/// The step whose distance is [`LEAST_GAP`].
const CALM: usize = 3;

/// Says when to look. What it waits for lives here and not in the future that waits, so nothing begins anew when that is dropped.
#[derive(Debug)]
pub struct Early {
    /// Keeps the hints coming.
    _watcher: Option<RecommendedWatcher>,
    hints: mpsc::Receiver<()>,
    /// The next look, and which of [`STEPS`] it is.
    next: Option<(Instant, usize)>,
    last: Option<Instant>,
}

impl Early {
    /// Watches the folder, as long as it is there. Without it only [`Early::expect`] starts a series of looks.
    #[must_use]
    pub fn watch(folder: &Path) -> Self {
        // One hint is as good as many.
        let (hint, hints) = mpsc::channel(1);
        let told = move |event: notify::Result<notify::Event>| {
            // A namespace that goes away is nothing to look for.
            if event.map_or(true, |event| matches!(event.kind, EventKind::Create(_) | EventKind::Other)) {
                let _ = hint.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(told).and_then(|mut watcher| {
            watcher.watch(&PathBuf::from(folder), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(
                folder = %folder.display(),
                %error,
                "cannot watch for new network namespaces: a pod may connect some moments before it is enrolled (--netns-dir; in a pod, a \
                 hostPath of /run/netns)"
            );
        });
        Self { _watcher: watcher.ok(), hints, next: None, last: None }
    }

    /// Waits for the moment to look. It stays due until [`Early::looked`], also if the future is dropped.
    pub async fn due(&mut self) {
        loop {
            let Self { hints, next, .. } = self;
            let at = next.map(|(at, _)| at);
            tokio::select! {
                biased;
                // First, or a folder in which something happens all the time would put the look off for ever.
                () = until(at), if at.is_some() => return,
                // The watcher is gone with its channel, and without one there are no hints.
                Some(()) = hints.recv() => self.hinted(),
                else => std::future::pending().await,
            }
        }
    }

    /// A look is over; `missing`: somebody still is.
    pub fn looked(&mut self, missing: bool) {
        let now = Instant::now();
        self.last = Some(now);
        let step = self.next.take().map_or(0, |(_, step)| step) + 1;
        self.next = STEPS.get(step).filter(|_| missing).map(|wait| (now + *wait, step));
    }

    /// A pod is missing that was not before: it is to come soon. (It has been looked for just now.)
    pub fn expect(&mut self) {
        let now = Instant::now();
        self.last = Some(now);
        match self.next {
            Some(_) => self.begin(now + LEAST_GAP, CALM),
            None => self.begin(now + STEPS[1], 1),
        }
    }

    /// Something has happened.
    fn hinted(&mut self) {
        let now = Instant::now();
        match self.last.map(|last| last + LEAST_GAP).filter(|allowed| *allowed > now) {
            Some(allowed) => self.begin(allowed, CALM),
            None => self.begin(now, 0),
        }
    }

    /// Begins the series, or lets one that is under way go on from a step whose distances are still small: what happens all the time does not
    /// begin it anew all the time.
    fn begin(&mut self, at: Instant, step: usize) {
        self.next = Some(match self.next {
            Some((due, under_way)) => (due.min(at), if step == 0 { 0 } else { under_way.min(CALM) }),
            None => (at, step),
        });
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    fn unwatched() -> (mpsc::Sender<()>, Early) {
        let (hint, hints) = mpsc::channel(1);
        (hint, Early { _watcher: None, hints, next: None, last: None })
    }

    /// More looks than any series has: code that never leaves off makes a test fail here, and not hang.
    const MANY: usize = 3 * STEPS.len();

    /// Whether a look is due within this time.
    async fn within(early: &mut Early, time: Duration) -> bool {
        timeout(time, early.due()).await.is_ok()
    }

    /// Milliseconds at which there is a look, if `missing` is the answer each time.
    async fn looks(early: &mut Early, missing: bool) -> Vec<u128> {
        let start = Instant::now();
        let mut looks = Vec::new();
        while looks.len() < MANY && within(early, Duration::from_secs(60)).await {
            looks.push(start.elapsed().as_millis());
            early.looked(missing);
        }
        looks
    }

    /// Mutation that breaks it: beginning anew after the last step.
    #[tokio::test(start_paused = true)]
    async fn a_pod_that_does_not_come_is_left_alone_after_some_looks() {
        let (hint, mut early) = unwatched();
        hint.try_send(()).unwrap();
        assert_eq!(looks(&mut early, true).await, [0, 20, 70, 170, 370, 770, 1370, 2170]);
        early.expect();
        assert_eq!(looks(&mut early, true).await, [20, 70, 170, 370, 770, 1370, 2170]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_looked_for_when_all_are_there() {
        let (hint, mut early) = unwatched();
        assert_eq!(looks(&mut early, true).await, []);
        hint.try_send(()).unwrap();
        assert_eq!(looks(&mut early, false).await, [0]);
    }

    /// Mutations that break it: leaving [`LEAST_GAP`] out; beginning the series anew at each event, or at each pod that is expected.
    #[tokio::test(start_paused = true)]
    async fn a_storm_of_events_causes_ten_looks_a_second() {
        assert_eq!(STEPS[CALM], LEAST_GAP);
        for (missing, expected) in [(false, false), (true, false), (true, true)] {
            let (hint, mut early) = unwatched();
            let mut looks = 0;
            for millisecond in 0..2000 {
                let _ = hint.try_send(());
                if expected && millisecond % 50 == 0 {
                    early.expect();
                }
                if within(&mut early, Duration::ZERO).await {
                    looks += 1;
                    early.looked(missing);
                }
                advance(Duration::from_millis(1)).await;
            }
            assert!((15..=24).contains(&looks), "{looks} where missing is {missing}");
        }
    }

    /// Mutation that breaks it: taking hints before looking whether the moment has come.
    #[tokio::test(start_paused = true)]
    async fn a_storm_does_not_put_off_the_look_that_is_due() {
        let (hint, mut early) = unwatched();
        early.expect();
        advance(STEPS[1]).await;
        hint.try_send(()).unwrap();
        assert!(within(&mut early, Duration::ZERO).await);
        assert!(hint.try_send(()).is_err(), "the hint is for the look after this one");
        early.looked(false);
        assert_eq!(looks(&mut early, false).await, [LEAST_GAP.as_millis()]);
    }

    /// Mutation that breaks it: keeping the moment in the future.
    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_dropped_goes_on_where_it_was() {
        let (hint, mut early) = unwatched();
        hint.try_send(()).unwrap();
        for _ in 0..2 {
            assert!(within(&mut early, Duration::from_secs(1)).await);
        }
        early.looked(true);
        for _ in 0..19 {
            assert!(!within(&mut early, Duration::from_millis(1)).await);
        }
        advance(Duration::from_millis(1)).await;
        assert!(within(&mut early, Duration::ZERO).await);
    }

    #[tokio::test]
    async fn a_new_file_in_the_folder_is_a_reason_to_look() {
        let folder = tempfile::tempdir().unwrap();
        let mut early = Early::watch(folder.path());
        std::fs::write(folder.path().join("cni-1"), "").unwrap();
        assert!(within(&mut early, Duration::from_secs(60)).await);
        early.looked(false);
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_is_not_there_leaves_the_other_looks() {
        let mut early = Early::watch(Path::new("/no/such/folder"));
        early.expect();
        assert_eq!(looks(&mut early, true).await.len(), STEPS.len() - 1);
    }
}
