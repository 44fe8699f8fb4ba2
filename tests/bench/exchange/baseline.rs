//! The figures that were accepted last, and what the new ones are beside them.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use integration::paths;
use serde::{Deserialize, Serialize};

/// `baseline.json`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Baseline {
    /// What compiled it, and for which machine. Another one makes other instructions.
    pub(crate) compiler: String,
    /// Cargo's profile.
    pub(crate) profile: String,
    /// How much more is still the same: 0.03 is three in a hundred.
    pub(crate) tolerance: f64,
    /// Instructions in user mode for each request, by case.
    pub(crate) instructions: BTreeMap<String, u64>,
}

/// A figure beside the one of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    Worse,
    Better,
    /// There is none of before.
    New,
}

impl Baseline {
    /// Nothing was accepted yet.
    fn empty() -> Result<Self> {
        Ok(Self {
            compiler: compiler()?,
            profile: "release".to_owned(),
            tolerance: 0.03,
            instructions: BTreeMap::new(),
        })
    }

    /// As committed.
    pub(crate) fn read() -> Result<Self> {
        let file = file();
        if !file.exists() {
            return Self::empty();
        }
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no baseline", file.display()))
    }

    /// Puts these figures in the place of those of before; cases that were not counted keep theirs, if the compiler is the same.
    pub(crate) fn accept(mut self, counted: &BTreeMap<String, u64>) -> Result<PathBuf> {
        let compiler = compiler()?;
        if self.compiler != compiler {
            self.instructions.clear();
            self.compiler = compiler;
        }
        self.instructions.extend(counted.clone());
        let file = file();
        let text = serde_json::to_string_pretty(&self)? + "\n";
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// What a case costs now, beside before.
    pub(crate) fn judge(&self, case: &str, now: u64) -> Verdict {
        match self.instructions.get(case).map(|before| now as f64 / *before as f64) {
            None => Verdict::New,
            Some(ratio) if ratio > 1.0 + self.tolerance => Verdict::Worse,
            Some(ratio) if ratio < 1.0 - self.tolerance => Verdict::Better,
            Some(_) => Verdict::Same,
        }
    }
}

fn file() -> PathBuf {
    paths::workspace().join("tests/bench/baseline.json")
}

/// Version and target of the compiler on PATH, which is what cargo has used.
pub(crate) fn compiler() -> Result<String> {
    let output =
        Command::new("rustc").arg("-vV").current_dir(paths::workspace()).output().context("cannot run rustc")?;
    ensure!(output.status.success(), "`rustc -vV` failed ({})", output.status);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (release, host) = (of("release:").context("rustc has no version")?, of("host:").context("rustc has no host")?);
    Ok(format!("rustc {release} for {host}, LLVM {}", of("LLVM version:").unwrap_or("unknown")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if the tolerance is taken for a difference of instructions, or for one direction only.
    #[test]
    fn the_tolerance_is_a_share_both_ways() {
        let baseline = Baseline {
            compiler: "any".to_owned(),
            profile: "release".to_owned(),
            tolerance: 0.03,
            instructions: BTreeMap::from([("plain".to_owned(), 10_000)]),
        };
        let judge = |now| baseline.judge("plain", now);
        assert_eq!([judge(10_299), judge(9_701)], [Verdict::Same; 2]);
        assert_eq!([judge(10_301), judge(9_699)], [Verdict::Worse, Verdict::Better]);
        assert_eq!(baseline.judge("mirrored", 1), Verdict::New);
    }
}
