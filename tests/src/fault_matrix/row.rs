//! One fault under load: what was seen, as a line of the table, and whether it kept the promises.

use anyhow::{Context as _, Result, ensure};

use super::{
    Fault,
    usage::{Usage, Watch},
    world::{Limits, World, outcomes_between},
};
use crate::{
    load::{Load, Report},
    sockets::Sockets,
    theatre::whole,
    wait,
};

/// What was seen of one fault.
#[derive(Clone, Debug)]
pub struct Row {
    /// The fault.
    pub fault: Fault,
    /// The client's side.
    pub report: Report,
    /// Shadows by outcome.
    pub outcomes: Vec<(&'static str, u64)>,
    /// The agent before the load.
    pub before: Usage,
    /// The highest while it went on.
    pub highest: Usage,
    /// When every shadow had ended.
    pub after: Usage,
}

/// Puts a fault into force, sends the load and waits until every shadow has ended.
///
/// # Errors
/// When the accounting identity does not hold, or v1 saw another number of requests than the client sent.
pub fn play(world: &World, fault: Fault, limits: Limits, load: &Load) -> Result<Row> {
    world.set(fault, limits)?;
    let metrics = world.agent.settled()?;
    let primaries = world.v1.requests();
    let pid = world.agent.pid();
    let before = Usage::of(pid)?;
    let watch = Watch::over(pid);
    let report = world.load(load)?;
    let settled = world.agent.metrics_when("every request is a candidate and has an outcome", |m| {
        whole(m.candidates()) - whole(metrics.candidates()) >= report.requests as usize && m.identity().is_ok()
    })?;
    let highest = watch.highest();
    let arrived = world.v1.requests() - primaries;
    ensure!(arrived == report.requests, "{}: {} requests, but v1 saw {arrived}", fault.name(), report.requests);
    let counted = whole(settled.candidates()) - whole(metrics.candidates());
    ensure!(counted as u64 == report.requests, "{}: {} requests, {counted} candidates", fault.name(), report.requests);
    Ok(Row { fault, report, outcomes: outcomes_between(&metrics, &settled), before, highest, after: Usage::of(pid)? })
}

impl Row {
    /// Every primary answer was right, every shadow ended as this fault must end it, and files and memory stayed within bounds.
    ///
    /// # Errors
    /// With the fault and the promise that it broke.
    pub fn check(&self, load: &Load) -> Result<()> {
        self.check_outcomes(&[])?;
        self.check_bounds(load)
    }

    /// Every shadow ended as this fault must end it, or by one of `limits` that may come first.
    ///
    /// # Errors
    /// With those that did not.
    pub fn check_outcomes(&self, limits: &[&str]) -> Result<()> {
        let others = self.outcomes.iter().filter(|(name, _)| *name != self.fault.outcome() && !limits.contains(name));
        let others: Vec<_> = others.copied().collect();
        let (name, due) = (self.fault.name(), self.fault.outcome());
        ensure!(
            others.is_empty(),
            "{name}: of {} shadows {} ended otherwise than {due}",
            self.report.requests,
            list(&others)
        );
        let total: u64 = self.outcomes.iter().map(|(_, count)| count).sum();
        ensure!(total == self.report.requests, "{name}: {} requests, {total} outcomes", self.report.requests);
        Ok(())
    }

    /// Every primary answer was right, and files and memory stayed within bounds.
    ///
    /// # Errors
    /// With the fault and the promise that it broke.
    pub fn check_bounds(&self, load: &Load) -> Result<()> {
        let name = self.fault.name();
        self.report.all_right().with_context(|| format!("{name}: the primary"))?;
        // The client's connection and v1's for each of the load's, and at most one for each shadow.
        let most = self.before.fds + 2 * load.lanes() as usize + self.report.requests as usize + SPARE_FILES;
        ensure!(self.highest.fds <= most, "{name}: {} open files, at most {most} are due", self.highest.fds);
        let grown = self.highest.rss.saturating_sub(self.before.rss);
        ensure!(grown <= MEMORY, "{name}: the agent grew by {grown} KiB, at most {MEMORY} are due");
        Ok(())
    }

    /// The table's head.
    #[must_use]
    pub fn head() -> String {
        format!(
            "{:<22} {:>8} {:>6} {:>9} {:>9}  {:>15}  {:>20}  outcomes",
            "v2", "requests", "wrong", "p50 µs", "p99 µs", "open files", "memory MiB"
        )
    }

    /// The row, for people.
    #[must_use]
    pub fn line(&self) -> String {
        let Usage { fds, .. } = self.before;
        let mib = |usage: Usage| usage.rss as f64 / 1024.0;
        format!(
            "{:<22} {:>8} {:>6} {:>9} {:>9}  {:>15}  {:>20}  {}",
            self.fault.name(),
            self.report.requests,
            self.report.wrong,
            self.report.small.value_at_quantile(0.5),
            self.report.small.value_at_quantile(0.99),
            format!("{fds} ↑{} →{}", self.highest.fds, self.after.fds),
            format!("{:.1} ↑{:.1} →{:.1}", mib(self.before), mib(self.highest), mib(self.after)),
            list(&self.outcomes)
        )
    }
}

/// Descriptors that come and go beside connections: a scrape, a reload.
const SPARE_FILES: usize = 20;
/// The default of `--shadow-node-buffer-bytes`, and as much again for connections' own buffers, KiB.
const MEMORY: u64 = 128 << 10;

/// Outcomes as people read them.
#[must_use]
pub fn list(outcomes: &[(&'static str, u64)]) -> String {
    outcomes.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// Waits until the agent has no more open files than at the start.
///
/// # Errors
/// When it keeps some; with the sockets that the pods have.
pub fn closed_again(world: &World, start: Usage) -> Result<Usage> {
    let pid = world.agent.pid();
    let mut now = start;
    let waited = wait::until(&format!("not more than {} files are open again", start.fds), || {
        now = Usage::of(pid)?;
        Ok((now.fds <= start.fds).then_some(now))
    });
    let (client, v2) = (Sockets::of(world.client.netns())?, Sockets::of(world.v2_pod.netns())?);
    waited.with_context(|| format!("{} are open; sockets of the client's pod: {client}; of v2's: {v2}", now.fds))
}
