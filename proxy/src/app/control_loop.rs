//! Everything that happens on the control thread after the start: reloads, reconciliation, the kernel's counters.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
    time::Duration,
};

use proxy_common::stats::Counter;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{Conditions, Shown, shown::Standing};
use crate::{
    admin::Condition,
    capture::{Capture, SyncReport},
    control::{
        Applied, Controller, Verdict,
        diagnostic::{Diagnostic, Severity},
        source::Source,
    },
    enrol::{Early, Enrolment},
    net::give_back_free_memory,
    observe::metrics::Metrics,
    report::{self, Verdicts},
};

/// Waits for the moment to look for pods, where they come by themselves.
async fn due(early: &mut Option<Early>) {
    match early {
        Some(early) => early.due().await,
        None => std::future::pending().await,
    }
}

/// How often the kernel's counters are fetched.
const STATS: Duration = Duration::from_millis(500);

pub(super) struct ControlLoop {
    controller: Controller,
    /// In force.
    applied: Arc<Applied>,
    capture: Arc<Capture>,
    enrolment: Enrolment,
    metrics: Arc<Metrics>,
    hooks: Condition,
    configuration: Condition,
    pods: Condition,
    shown: Shown,
    /// A configuration is in force. (What a cluster has not said yet is not.)
    begun: bool,
    announced: HashSet<Diagnostic>,
    /// Why pins of a process that is gone are still there; said already.
    unretired: Option<String>,
    /// What keeps the source from hearing.
    problems: Vec<String>,
    /// What of the rules the kernel did not take.
    not_captured: Vec<String>,
    /// Name of the node, of a cluster.
    node: Option<Arc<str>>,
    /// For pods that a cluster has told us of, and that are about to begin.
    early: Option<Early>,
    /// For the cluster's users.
    verdicts: Option<watch::Sender<Arc<Verdicts>>>,
}

impl ControlLoop {
    pub(super) fn new(
        controller: Controller,
        applied: Arc<Applied>,
        capture: Arc<Capture>,
        enrolment: Enrolment,
        metrics: Arc<Metrics>,
        Conditions { hooks, configuration, pods }: Conditions,
        shown: Shown,
    ) -> Self {
        Self {
            controller,
            applied,
            capture,
            enrolment,
            metrics,
            hooks,
            configuration,
            pods,
            shown,
            begun: false,
            announced: HashSet::new(),
            unretired: None,
            problems: Vec::new(),
            not_captured: Vec::new(),
            node: None,
            early: None,
            verdicts: None,
        }
    }

    /// The same for a node of a cluster: pods are looked for as they begin, and verdicts about objects go there.
    pub(super) fn on_node(self, node: &Arc<str>, early: Early, verdicts: watch::Sender<Arc<Verdicts>>) -> Self {
        Self { node: Some(Arc::clone(node)), early: Some(early), verdicts: Some(verdicts), ..self }
    }

    /// Puts the first configuration in force and follows its changes. Never ends by itself.
    pub(super) async fn run(&mut self, mut source: Source, reconcile: Duration) {
        self.hooks.met();
        if source.has_configuration() {
            self.begin(&source).await;
        }
        let mut stats = interval(STATS);
        stats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reconciles = interval(reconcile);
        reconciles.set_missed_tick_behavior(MissedTickBehavior::Delay);
        reconciles.reset();
        loop {
            tokio::select! {
                texts = source.changed() => {
                    self.applied = self.controller.reload(texts);
                    if self.begun {
                        self.announce(&source);
                        self.carry_out().await;
                        self.is_in_force();
                    } else {
                        self.begin(&source).await;
                    }
                }
                () = due(&mut self.early) => {
                    let missing = self.enrolment.look().await;
                    if let Some(early) = &mut self.early {
                        early.looked(missing);
                    }
                    self.show();
                }
                _ = reconciles.tick() => self.reconcile().await,
                _ = stats.tick() => {
                    self.count();
                    self.listen_to(&source);
                }
            }
        }
    }

    /// The first configuration, which replaces a former process's.
    async fn begin(&mut self, source: &Source) {
        self.begun = true;
        self.announce(source);
        self.carry_out().await;
        // Before we call ourselves ready: until then what it left refuses for closed rules.
        self.retire_dead();
        self.is_in_force();
    }

    /// What a process that is gone has left pinned, before us or beside us (of two in an upgrade, one may be killed), refuses for closed rules.
    fn retire_dead(&mut self) {
        match self.capture.retire_dead() {
            Ok(removed) => {
                self.unretired = None;
                if !removed.is_empty() {
                    tracing::info!(?removed, "removed what a process that is gone had left pinned");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if self.unretired.as_ref() != Some(&error) {
                    tracing::error!(error, "hooks of a process that is gone are still pinned");
                }
                self.unretired = Some(error);
            }
        }
    }

    /// Whether we would hear of a change.
    fn listen_to(&mut self, source: &Source) {
        let problems = source.problems();
        if self.problems != problems {
            self.problems = problems.iter().map(|problem| (*problem).to_owned()).collect();
            self.show();
        }
        self.metrics.source_connected.set(i64::from(problems.is_empty()));
        if !self.begun {
            let why = if problems.is_empty() { "waiting for the Kubernetes API".into() } else { problems.join("; ") };
            self.configuration.unmet(why);
        }
    }

    /// What there is to say about the manifests. Of a cluster, whose endpoints come and go, what is new; of files, which people change, all.
    fn announce(&mut self, source: &Source) {
        let before = std::mem::take(&mut self.announced);
        let cluster = matches!(source, Source::Cluster(_));
        for finding in self.applied.diagnostics.iter() {
            if cluster && before.contains(finding) {
                continue;
            }
            let words = if cluster { report::in_words(finding, source.texts()) } else { finding.to_string() };
            match finding.severity {
                Severity::Error => tracing::error!("{words}"),
                Severity::Warning => tracing::warn!("{words}"),
                Severity::Note => tracing::debug!("{words}"),
            }
        }
        self.announced = self.applied.diagnostics.iter().cloned().collect();
        if let Some(verdicts) = &self.verdicts {
            let now = Arc::new(report::verdicts(source.texts(), &self.applied.diagnostics));
            verdicts.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
        }
        match self.applied.verdict {
            Verdict::Applied => {}
            Verdict::Partial => {
                tracing::error!("a part of the configuration does not work and stays in its last good state")
            }
            Verdict::Rejected => tracing::error!("nothing of the change works: the configuration is the one of before"),
        }
    }

    /// What the configuration asks of the kernel and of the pods. Its table is in force already.
    async fn carry_out(&mut self) {
        let report = self.capture.sync_rules(&self.applied.capture, self.applied.table.generation);
        self.account(&report);
        let missing = self.enrolment.apply(self.applied.pods.to_vec()).await;
        if let Some(early) = self.early.as_mut().filter(|_| missing) {
            early.expect();
        }
    }

    /// Says that the configuration is carried out.
    fn is_in_force(&self) {
        let generation = self.applied.table.generation;
        // Reading a large configuration, and at the start the kernel's types, took many times what is left of it.
        give_back_free_memory();
        self.configuration.met();
        self.pods.met();
        self.metrics.generation.set(generation as i64);
        self.show();
        tracing::info!(generation, destinations = self.applied.capture.ports.len(), "configuration in force");
    }

    async fn reconcile(&mut self) {
        if !self.begun {
            return;
        }
        if self.capture.is_attached() {
            self.hooks.met();
        } else {
            tracing::error!("the hooks no longer run: is another program replacing programs at the cgroup root?");
            self.hooks.unmet("the hooks no longer see connects");
        }
        let report = self.capture.reconcile_rules(&self.applied.capture, self.applied.table.generation);
        if report.repaired > 0 {
            tracing::warn!(destinations = report.repaired, "entries of rules were not what we wrote: written again");
            self.metrics.reconcile_repairs.inc_by(report.repaired as u64);
        }
        self.account(&report);
        self.retire_dead();
        self.enrolment.reconcile().await;
        self.show();
    }

    /// What came of putting rules into the kernel. What stays wrong is said once.
    fn account(&mut self, report: &SyncReport) {
        self.metrics.rules_overflow.set(report.overflow() as i64);
        let failed = report
            .failed
            .iter()
            .map(|failed| format!("{} of {} is not captured: {}", failed.address, failed.owner, failed.reason));
        let pins = report.pin_error.iter().map(ToString::to_string);
        let now: Vec<_> = failed.chain(pins).collect();
        for problem in now.iter().filter(|problem| !self.not_captured.contains(problem)) {
            tracing::error!("{problem}");
        }
        self.not_captured = now;
    }

    fn count(&self) {
        match self.capture.stats() {
            Ok(totals) => {
                for ((_, name), total) in Counter::ALL.iter().zip(totals) {
                    self.metrics.set_verdict(name, total);
                }
            }
            Err(error) => tracing::warn!(%error, "no counters from the kernel"),
        }
    }

    fn show(&self) {
        let standing = Standing {
            node: self.node.clone(),
            applied: Arc::clone(&self.applied),
            problems: self.problems.clone(),
            not_captured: self.not_captured.clone(),
            pods: self.enrolment.status().load_full(),
        };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    pub(super) fn into_parts(self) -> (Enrolment, Arc<Metrics>) {
        (self.enrolment, self.metrics)
    }
}
