//! The commands that look, say and end: `check`, `doctor`, `cleanup`.
//!
//! Comes in: resolved settings. Goes out: text on standard output, and whether all is well. Never: anything attached, anything changed
//! (but for `cleanup`, which removes what it names).

use std::{
    collections::HashMap,
    io::{self, Write},
};

use anyhow::Context as _;

use crate::{
    capture::{cleanup, doctor},
    control::{self, Controller, ManifestText, diagnostic::Severity, source::file::FileSource},
    settings::{ControlSettings, DoctorSettings, MachineSettings},
};

/// `understudy check`: every finding with its line; true if none is an error.
///
/// # Errors
/// A path that cannot be read.
pub fn check(settings: &ControlSettings, out: &mut impl Write) -> anyhow::Result<bool> {
    let source = FileSource::open(&settings.paths())?;
    let decided = control::Settings {
        cluster_domain: settings.cluster_domain.clone(),
        shadow: settings.shadow.clone(),
        node: None,
    };
    let findings = Controller::check(&decided, source.texts());
    let known = |ManifestText { path, text }: &ManifestText| Some((path.clone(), text.as_ref().ok()?.clone()));
    let texts: HashMap<_, _> = source.texts().iter().filter_map(known).collect();
    for finding in &findings {
        writeln!(out, "{}\n", finding.render(texts.get(&finding.location.path).map(|text| &**text)))?;
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    writeln!(out, "{} files: {errors} errors, {warnings} warnings", source.texts().len())?;
    Ok(errors == 0)
}

/// `understudy doctor`: one line per check, with the remedy below; true if capture can work here.
///
/// # Errors
/// If standard output cannot be written.
pub fn doctor(settings: &DoctorSettings, out: &mut impl Write) -> io::Result<bool> {
    let MachineSettings { cgroup_root, bpffs, proc, .. } = &settings.machine;
    let checks = doctor::examine(cgroup_root.as_deref(), proc, bpffs, settings.mark);
    for check in &checks {
        let health = match check.health {
            doctor::Health::Ok => "ok",
            doctor::Health::Note => "note",
            doctor::Health::Problem => "problem",
        };
        writeln!(out, "{health:8} {:24} {}", check.name, check.found)?;
        if !check.remedy.is_empty() {
            writeln!(out, "{:8} {:24} remedy: {}", "", "", check.remedy)?;
        }
    }
    Ok(checks.iter().all(|check| check.health != doctor::Health::Problem))
}

/// `understudy cleanup`: removes every pin of any version and says so.
///
/// # Errors
/// The first thing that could not be removed; the others were tried all the same.
pub fn cleanup(settings: &MachineSettings, out: &mut impl Write) -> anyhow::Result<()> {
    let removals = cleanup::cleanup(&settings.bpffs);
    if removals.is_empty() {
        writeln!(out, "nothing of ours below {}", settings.bpffs.display())?;
    }
    let mut failed = None;
    for removal in removals {
        match removal {
            Ok(path) => writeln!(out, "removed {}", path.display())?,
            Err(failure) => {
                failed.get_or_insert(failure);
            }
        }
    }
    match failed {
        None => Ok(()),
        Some((path, error)) => Err(error).with_context(|| format!("cannot remove {}; is this root?", path.display())),
    }
}
