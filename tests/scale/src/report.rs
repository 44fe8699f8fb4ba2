//! What was measured: a table for people and JSON for programs, from the same figures.

use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    /// Things.
    Count,
    /// Bytes; people read them in larger units.
    Bytes,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Of one CPU.
    Percent,
}

/// One number.
#[derive(Clone, Debug)]
struct Figure {
    key: String,
    words: String,
    value: f64,
    unit: Unit,
}

/// Figures of one phase.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    key: &'static str,
    words: String,
    figures: Vec<Figure>,
}

impl Section {
    /// An empty one.
    pub(crate) fn new(key: &'static str, words: impl Into<String>) -> Self {
        Self { key, words: words.into(), figures: Vec::new() }
    }

    /// Adds a figure.
    pub(crate) fn add(&mut self, key: &str, words: &str, value: f64, unit: Unit) -> &mut Self {
        self.figures.push(Figure { key: key.to_owned(), words: words.to_owned(), value, unit });
        self
    }

    /// Adds median, 99th percentile and maximum of times in microseconds.
    pub(crate) fn times(&mut self, key: &str, words: &str, times: &Histogram<u64>) -> &mut Self {
        let millis = |micros: u64| micros as f64 / 1e3;
        self.add(&format!("{key}_p50"), &format!("{words}, p50"), millis(times.value_at_quantile(0.5)), Unit::Millis);
        self.add(&format!("{key}_p99"), &format!("{words}, p99"), millis(times.value_at_quantile(0.99)), Unit::Millis);
        self.add(&format!("{key}_max"), &format!("{words}, longest"), millis(times.max()), Unit::Millis)
    }

    fn json(&self) -> Value {
        let names = |unit: Unit| match unit {
            Unit::Count => "",
            Unit::Bytes => "_bytes",
            Unit::Millis => "_ms",
            Unit::Seconds => "_s",
            Unit::Percent => "_percent",
        };
        let figures =
            self.figures.iter().map(|figure| (format!("{}{}", figure.key, names(figure.unit)), json!(figure.value)));
        Value::Object(figures.collect())
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.words)?;
        for figure in &self.figures {
            writeln!(f, "  {:58} {:>12}", figure.words, number(figure.value, figure.unit))?;
        }
        Ok(())
    }
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    sections: Vec<Section>,
}

impl Report {
    /// Adds a phase, and shows it.
    pub(crate) fn add(&mut self, section: Section) {
        print!("{section}");
        self.sections.push(section);
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        Value::Object(
            self.sections.iter().map(|section| (section.key.to_owned(), section.json())).collect::<Map<_, _>>(),
        )
    }
}

fn number(value: f64, unit: Unit) -> String {
    let mut text = String::new();
    let (value, word) = match unit {
        Unit::Count => (value, ""),
        Unit::Bytes if value.abs() >= 1024.0 * 1024.0 => (value / (1024.0 * 1024.0), " MiB"),
        Unit::Bytes if value.abs() >= 10_240.0 => (value / 1024.0, " KiB"),
        Unit::Bytes => (value, " B"),
        Unit::Millis => (value, " ms"),
        Unit::Seconds => (value, " s"),
        Unit::Percent => (value, " %"),
    };
    let digits = match (word, value.fract() == 0.0) {
        ("" | " B", true) => 0,
        _ if value.abs() < 10.0 => 2,
        _ => 1,
    };
    let _ = write!(text, "{value:.digits$}{word}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_carry_their_unit() {
        let shown = |value, unit| number(value, unit);
        assert_eq!(shown(158.0, Unit::Count), "158");
        assert_eq!(shown(3.5 * 1024.0 * 1024.0, Unit::Bytes), "3.50 MiB");
        assert_eq!(shown(12.0 * 1024.0, Unit::Bytes), "12.0 KiB");
        assert_eq!(shown(0.4, Unit::Bytes), "0.40 B");
        assert_eq!(shown(41.27, Unit::Millis), "41.3 ms");
    }

    #[test]
    fn the_json_names_each_unit() {
        let mut section = Section::new("idle", "idle");
        section.add("received", "bytes", 7.0, Unit::Bytes).add("cpu", "cpu", 0.5, Unit::Percent);
        assert_eq!(section.json(), json!({"received_bytes": 7.0, "cpu_percent": 0.5}));
    }
}
