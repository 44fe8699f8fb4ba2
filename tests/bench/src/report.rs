//! What was measured, as tables and JSON.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use integration::paths;
use serde_json::{Value, json};

use crate::{
    pace::Pace,
    rounds::{LatencyRow, Row},
    variant::Carrier,
};

/// Everything so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    saturated: Vec<(String, Vec<Row>)>,
    paced: Vec<(String, Pace, Vec<LatencyRow>)>,
    missing: Vec<(Carrier, String)>,
    outcomes: Vec<(String, f64)>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A rival that is not here.
    pub(crate) fn missing(&mut self, carrier: Carrier, why: &str) {
        println!("{} does not take part: {why}", carrier.name());
        self.missing.push((carrier, why.to_owned()));
    }

    /// How the shadows of all scenarios ended.
    pub(crate) fn outcomes(&mut self, outcomes: Vec<(String, f64)>) {
        let words: Vec<_> = outcomes.iter().map(|(name, count)| format!("{count} {name}")).collect();
        println!("\nUnderstudy's shadows, of all scenarios: {}", words.join(", "));
        self.outcomes = outcomes;
    }

    /// Requests a second of the slowest in a scenario.
    pub(crate) fn slowest(&self, name: &str) -> Option<f64> {
        let (_, rows) = self.saturated.iter().find(|(known, _)| known == name)?;
        rows.iter().map(|row| row.spread(|sample| sample.rate).median).min_by(f64::total_cmp)
    }

    /// Rounds at saturation.
    pub(crate) fn saturated(&mut self, name: &str, rows: Vec<Row>) {
        println!(
            "{:<26} {:>8} {:>19}  {:>8} {:>4} {:>19}  {:>8} {:>19}  {:>6} {:>7} {:>5} {:>6}",
            "", "req/s", "ratio", "proxy µs", "krn", "ratio", "all µs", "ratio", "copies", "RSS MiB", "fds", "failed"
        );
        for row in &rows {
            let base = base(&rows, &row.name);
            let ratio = |of| base.map_or_else(String::new, |base| row.ratio(base, of).to_string());
            let failed: u64 = row.samples.iter().map(|sample| sample.failed).sum();
            let last = row.samples.last().copied().unwrap_or_default();
            let proxied = !row.name.starts_with(Carrier::Direct.name());
            println!(
                "{:<26} {:>8.0} {:>19}  {:>8.1} {:>3.0}% {:>19}  {:>8.1} {:>19}  {:>6.2} {:>7.1} {:>5} {:>6}",
                row.name,
                row.spread(|s| s.rate).median,
                ratio(|s| s.rate),
                row.spread(|s| s.proxy).median,
                row.spread(|s| s.in_kernel).median * 100.0,
                if proxied { ratio(|s| s.proxy) } else { String::new() },
                row.spread(|s| s.machine).median,
                ratio(|s| s.machine),
                row.spread(|s| s.copies).median,
                last.held.rss_kib as f64 / 1024.0,
                last.held.descriptors,
                failed,
            );
        }
        self.saturated.push((name.to_owned(), rows));
    }

    /// Rounds at a constant rate.
    pub(crate) fn paced(&mut self, name: &str, pace: Pace, rows: Vec<LatencyRow>) {
        println!("{:.0} requests/s on {} connections; µs from when a request was due", pace.rate, pace.connections);
        println!(
            "{:<26} {:>8} {:>19}  {:>8} {:>19}  {:>8} {:>19}  {:>6}",
            "", "p50", "ratio", "p99", "ratio", "p99.9", "ratio", "failed"
        );
        for row in &rows {
            let plain = rows.iter().find(|other| row.name.starts_with(&other.name) && other.name != row.name);
            let cell = |of: fn(&crate::rounds::Latency) -> f64| {
                let ratio = plain.map_or_else(String::new, |plain| row.ratio(plain, of).to_string());
                format!("{:>8.0} {ratio:>19}", row.spread(of).median)
            };
            let failed: u64 = row.samples.iter().map(|sample| sample.failed).sum();
            println!("{:<26} {}  {}  {}  {failed:>6}", row.name, cell(|l| l.p50), cell(|l| l.p99), cell(|l| l.p999));
        }
        self.paced.push((name.to_owned(), pace, rows));
    }

    /// Writes the files.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn finish(&self, took: Duration) -> Result<()> {
        let dir = paths::workspace().join("target/bench");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let file = dir.join("report.json");
        fs::write(&file, serde_json::to_vec_pretty(&self.json())?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("\n{} ({:.0} s in all)", file.display(), took.as_secs_f32());
        Ok(())
    }

    fn json(&self) -> Value {
        let saturated = self.saturated.iter().map(|(name, rows)| {
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    let base = base(rows, &row.name);
                    let ratio = |of| base.map(|base| row.ratio(base, of).json());
                    let last = row.samples.last().copied().unwrap_or_default();
                    json!({
                        "name": row.name, "rounds": row.samples.len(),
                        "requests_per_second": row.spread(|s| s.rate).json(), "requests_per_second_ratio": ratio(|s| s.rate),
                        "proxy_us_per_request": row.spread(|s| s.proxy).json(), "proxy_ratio": ratio(|s| s.proxy),
                        "proxy_in_kernel": row.spread(|s| s.in_kernel).json(),
                        "machine_us_per_request": row.spread(|s| s.machine).json(), "machine_ratio": ratio(|s| s.machine),
                        "copies_per_request": row.spread(|s| s.copies).json(),
                        "failed": row.samples.iter().map(|s| s.failed).sum::<u64>(),
                        "rss_kib": last.held.rss_kib, "descriptors": last.held.descriptors,
                    })
                })
                .collect();
            (name.clone(), Value::from(rows))
        });
        let paced = self.paced.iter().map(|(name, pace, rows)| {
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    json!({
                        "name": row.name, "p50_us": row.spread(|l| l.p50).json(), "p99_us": row.spread(|l| l.p99).json(),
                        "p999_us": row.spread(|l| l.p999).json(), "failed": row.samples.iter().map(|l| l.failed).sum::<u64>(),
                    })
                })
                .collect();
            (name.clone(), json!({"requests_per_second": pace.rate, "connections": pace.connections, "rows": rows}))
        });
        json!({
            "saturated": saturated.collect::<serde_json::Map<_, _>>(),
            "paced": paced.collect::<serde_json::Map<_, _>>(),
            "missing": self.missing.iter().map(|(carrier, why)| json!({"name": carrier.name(), "why": why})).collect::<Vec<_>>(),
            "outcomes": self.outcomes.iter().map(|(name, count)| (name.clone(), (*count).into())).collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// Understudy's row that another is compared to: mirrored with mirrored, plain with plain.
fn base<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    let own = Carrier::Understudy.name();
    let suffix = name.find(" + ").map_or("", |at| name.get(at..).unwrap_or_default());
    rows.iter().find(|row| row.name == format!("{own}{suffix}"))
}
