//! Turns what a source delivers into the configuration in force.
//!
//! Comes in: all texts, each time one has changed. Goes out: a new generation in the [`Store`], or none if nothing of the change works.
//! Never: reading or watching files, waiting.

use std::{collections::HashMap, sync::Arc};

use super::{
    ManifestText, Settings, Store,
    compile::{compile, endpoints::Interner},
    diagnostic::{Diagnostic, Location, Severity},
    manifest::{self, Reading},
    model::ObjectId,
    objects::Objects,
    plan::{CapturePlan, PodPlan},
};
use crate::{observe::metrics::Metrics, route::Table};

/// What became of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is in force.
    Applied,
    /// What works is in force; the rest stays as it was.
    Partial,
    /// Nothing of the change works: the configuration is the one of before.
    Rejected,
}

impl Verdict {
    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Partial => "partial",
            Self::Rejected => "rejected",
        }
    }
}

/// A configuration in force, and what there is to say about the manifests that it came from.
#[derive(Clone, Debug)]
pub struct Applied {
    /// What became of the reload.
    pub verdict: Verdict,
    /// For the data path; the same as before if the reload was rejected.
    pub table: Arc<Table>,
    /// For the kernel's map.
    pub capture: Arc<CapturePlan>,
    /// For enrolment.
    pub pods: Arc<[PodPlan]>,
    /// Every finding: errors first, then warnings, then notes, each in the order of files and lines.
    pub diagnostics: Arc<[Diagnostic]>,
    /// Objects kept in an older state.
    pub stale: Arc<[ObjectId]>,
}

/// The first configuration has errors: there is no last good state that could stand in.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Every finding, at least one of them an error.
    pub diagnostics: Vec<Diagnostic>,
}

/// Keeps what one reload needs of the one before.
#[derive(Debug)]
pub struct Controller {
    settings: Settings,
    metrics: Arc<Metrics>,
    store: Arc<Store>,
    objects: Objects,
    endpoints: Interner,
    /// Texts that were read already: a reload costs what has changed.
    read: HashMap<Arc<str>, (Arc<str>, Arc<Reading>)>,
    generation: u64,
}

impl Controller {
    /// A controller without a configuration.
    #[must_use]
    pub fn new(settings: Settings, metrics: Arc<Metrics>, store: Arc<Store>) -> Self {
        Self {
            settings,
            metrics,
            store,
            objects: Objects::default(),
            endpoints: Interner::default(),
            read: HashMap::new(),
            generation: 0,
        }
    }

    /// The first load.
    ///
    /// # Errors
    /// If any finding is an error; then nothing is published.
    pub fn start(&mut self, texts: &[ManifestText]) -> Result<Arc<Applied>, Rejected> {
        let mut findings = Vec::new();
        let objects = self.merge(texts, &mut findings);
        if findings.iter().any(Diagnostic::is_error) {
            sort(&mut findings);
            return Err(Rejected { diagnostics: findings });
        }
        Ok(self.publish(objects, findings, Verdict::Applied))
    }

    /// A reload: applies what works and keeps the last good state of the rest.
    pub fn reload(&mut self, texts: &[ManifestText]) -> Arc<Applied> {
        let mut findings = Vec::new();
        let objects = self.merge(texts, &mut findings);
        let has_errors = findings.iter().any(Diagnostic::is_error);
        match self.store.in_force().filter(|_| has_errors && objects.same_content(&self.objects)) {
            Some(before) => {
                // The rest of the findings come from compiling, whose input is the same.
                let (table, capture, pods) =
                    (Arc::clone(&before.table), Arc::clone(&before.capture), Arc::clone(&before.pods));
                let compiled = compile(&objects, self.generation, &self.settings, &self.endpoints, &self.metrics);
                findings.extend(compiled.findings);
                self.objects = objects;
                self.announce(Verdict::Rejected, table, capture, pods, findings)
            }
            None => self.publish(objects, findings, if has_errors { Verdict::Partial } else { Verdict::Applied }),
        }
    }

    /// Everything that `understudy check` says about these texts, without putting them in force.
    #[must_use]
    pub fn check(settings: &Settings, texts: &[ManifestText]) -> Vec<Diagnostic> {
        let metrics = Arc::new(Metrics::new());
        let store = Arc::new(Store::new(Arc::clone(&metrics)));
        let mut controller = Self::new(settings.clone(), metrics, store);
        controller.reload(texts).diagnostics.to_vec()
    }

    fn merge(&mut self, texts: &[ManifestText], findings: &mut Vec<Diagnostic>) -> Objects {
        let mut read = HashMap::new();
        let mut readings = Vec::new();
        let mut unreadable = Vec::new();
        for ManifestText { path, text } in texts {
            match text {
                Ok(text) => {
                    let known =
                        self.read.get(path).filter(|(known, _)| known == text).map(|(_, reading)| Arc::clone(reading));
                    let reading =
                        known.unwrap_or_else(|| Arc::new(manifest::read(path, text, &self.settings.cluster_domain)));
                    findings.extend(reading.findings.iter().cloned());
                    readings.push(Arc::clone(&reading));
                    read.insert(Arc::clone(path), (Arc::clone(text), reading));
                }
                Err(reason) => {
                    let finding =
                        Diagnostic::new(Severity::Error, Location::file(path), format!("cannot be read: {reason}"));
                    findings.push(finding.remedy("make it readable, or remove it"));
                    unreadable.push(Arc::clone(path));
                }
            }
        }
        self.read = read;
        self.objects.merge(&readings, &unreadable, findings)
    }

    fn publish(&mut self, objects: Objects, mut findings: Vec<Diagnostic>, verdict: Verdict) -> Arc<Applied> {
        self.generation += 1;
        let compiled = compile(&objects, self.generation, &self.settings, &self.endpoints, &self.metrics);
        findings.extend(compiled.findings);
        self.objects = objects;
        self.endpoints = compiled.endpoints;
        self.announce(verdict, Arc::new(compiled.table), Arc::new(compiled.capture), compiled.pods.into(), findings)
    }

    fn announce(
        &self,
        verdict: Verdict,
        table: Arc<Table>,
        capture: Arc<CapturePlan>,
        pods: Arc<[PodPlan]>,
        mut findings: Vec<Diagnostic>,
    ) -> Arc<Applied> {
        sort(&mut findings);
        let stale = self.objects.stale().cloned().collect();
        let applied = Arc::new(Applied { verdict, table, capture, pods, diagnostics: findings.into(), stale });
        self.store.publish(Arc::clone(&applied));
        applied
    }
}

fn sort(findings: &mut [Diagnostic]) {
    findings.sort_by(|a, b| (a.severity, &a.location).cmp(&(b.severity, &b.location)));
}

#[cfg(test)]
mod tests;
