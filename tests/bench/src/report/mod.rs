//! Everything that was measured, for the terminal, for programs and for a browser. It is written after each part, so that what ends early has
//! left what it had.

mod page;
mod plot;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use integration::paths;
use serde_json::{Value, json};

use crate::{
    bars::{self, Bar},
    rounds::Played,
    scenario::Scenario,
    special::{Figure, Special},
};

/// What a special measurement gave.
pub(crate) type Outcome = std::result::Result<Vec<Figure>, String>;

/// The report.
pub(crate) struct Report {
    pub(crate) scenarios: Vec<(Scenario, Played)>,
    pub(crate) specials: Vec<(Special, Outcome)>,
    /// The machine and its software, one line each.
    pub(crate) machine: Vec<String>,
    pub(crate) binary_megabytes: Option<f64>,
    pub(crate) quick: bool,
}

impl Report {
    pub(crate) fn new(quick: bool, machine: Vec<String>) -> Self {
        Self { scenarios: Vec::new(), specials: Vec::new(), machine, binary_megabytes: stripped(), quick }
    }

    /// What a scenario gave.
    pub(crate) fn played(&self, name: &str) -> Option<&Played> {
        self.scenarios.iter().find(|(scenario, _)| scenario.name == name).map(|(_, played)| played)
    }

    /// A figure of a special measurement.
    pub(crate) fn figure(&self, name: &str) -> Option<&Figure> {
        self.specials.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()).flatten().find(|f| f.name == name)
    }

    /// Writes JSON and page, and returns where they are.
    pub(crate) fn write(&self) -> Result<(PathBuf, PathBuf)> {
        let dir = paths::workspace().join("target/bench");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let (data, page) = (dir.join("report.json"), dir.join("report.html"));
        let bars = bars::of(self);
        fs::write(&data, serde_json::to_string_pretty(&self.json(&bars))?)
            .with_context(|| format!("cannot write {}", data.display()))?;
        fs::write(&page, page::of(self, &bars)).with_context(|| format!("cannot write {}", page.display()))?;
        Ok((data, page))
    }

    fn json(&self, bars: &[Bar]) -> Value {
        let scenarios = self.scenarios.iter().map(|(scenario, played)| {
            let missing = played.missing.iter().map(|(variant, why)| json!({"variant": variant, "why": why}));
            json!({
                "name": scenario.name, "title": scenario.title, "seconds": scenario.seconds, "rounds": scenario.rounds,
                "arguments": scenario.args, "samples": played.samples, "missing": missing.collect::<Vec<_>>(),
            })
        });
        let specials = self.specials.iter().map(|(special, outcome)| match outcome {
            Ok(figures) => json!({"name": special.name, "title": special.title, "figures": figures}),
            Err(why) => json!({"name": special.name, "title": special.title, "missing": why}),
        });
        let bars = bars.iter().map(|bar| json!({"bar": bar, "verdict": bar.verdict()}));
        json!({
            "quick": self.quick, "machine": self.machine, "bars": bars.collect::<Vec<_>>(),
            "scenarios": scenarios.collect::<Vec<_>>(), "specials": specials.collect::<Vec<_>>(),
        })
    }

    /// The bars, for the terminal.
    pub(crate) fn bars(&self) -> String {
        let lines = bars::of(self).into_iter().map(|bar| {
            let measured = bar.measured.map_or("–".to_owned(), |spread| spread.text());
            let limit = if bar.unit == " ×" {
                format!("{:.2}{}", bar.limit, bar.unit)
            } else {
                format!("{}{}", bar.limit, bar.unit)
            };
            let sign = if bar.at_least { "≥" } else { "≤" };
            format!("{:<82} {sign} {limit:<9} {measured:>22}  {}\n", bar.words, bar.verdict())
        });
        format!("\nbars (median [lowest–highest] over rounds)\n{}", lines.collect::<String>())
    }
}

/// The figures of a special measurement, for the terminal.
pub(crate) fn figures(special: &Special, outcome: &Outcome) -> String {
    let body = match outcome {
        Ok(figures) => figures.iter().map(|f| format!("{:<75} {:>26} {}\n", f.words, f.value.text(), f.unit)).collect(),
        Err(why) => format!("not measured: {why}\n"),
    };
    format!("\n{}: {}\n{body}", special.name, special.title)
}

/// Size of the binary without symbols, 10⁶ bytes; `None` where there is no `strip`.
fn stripped() -> Option<f64> {
    let file = paths::workspace().join("target/bench/understudy.stripped");
    fs::create_dir_all(file.parent()?).ok()?;
    let status = Command::new("strip").arg("-o").arg(&file).arg(paths::binary()).status().ok()?;
    let size = fs::metadata(&file).ok()?.len();
    let _ = fs::remove_file(&file);
    status.success().then_some(size as f64 / 1e6)
}
