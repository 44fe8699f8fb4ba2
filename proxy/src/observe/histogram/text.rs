//! Histograms as OpenMetrics text.

use std::{
    fmt::{self, Display, Write as _},
    sync::atomic::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{BOUNDS, Example, Histogram};
use crate::capture::heartbeat::monotonic_ns;

/// Tells wall-clock time from monotonic time, always the same one from the same one: a reader knows an example again by its time.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe) struct Wall(Duration);

impl Wall {
    /// As the clocks stand now.
    #[must_use]
    pub(in crate::observe) fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(wall.saturating_sub(Duration::from_nanos(monotonic_ns())))
    }

    fn at(self, monotonic: u64) -> Duration {
        self.0.saturating_add(Duration::from_nanos(monotonic))
    }
}

/// Histograms of one name.
pub(in crate::observe) struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
    wall: Wall,
}

impl<'a> Family<'a> {
    /// Describes it; its name ends in `_seconds`.
    pub(in crate::observe) fn begin(
        out: &'a mut String,
        wall: Wall,
        name: &'static str,
        help: &str,
    ) -> Result<Self, fmt::Error> {
        write!(out, "# HELP {name} {help}.\n# TYPE {name} histogram\n# UNIT {name} seconds\n")?;
        Ok(Self { out, name, wall })
    }

    /// Writes one of them.
    pub(in crate::observe) fn member(&mut self, labels: &[(&str, &dyn Display)], histogram: &Histogram) -> fmt::Result {
        let mut set = String::new();
        for (name, value) in labels {
            let value = value.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(set, "{name}=\"{value}\",")?;
        }
        let Self { out, name, wall } = self;
        let mut count = 0;
        for (index, bucket) in histogram.buckets.iter().enumerate() {
            count += bucket.count.load(Ordering::Relaxed);
            write!(out, "{name}_bucket{{{set}le=\"")?;
            match BOUNDS.get(index) {
                Some(bound) => seconds(out, *bound)?,
                None => out.write_str("+Inf")?,
            }
            write!(out, "\"}} {count}")?;
            if let Some(example) = bucket.example.read() {
                self::example(out, *wall, &example)?;
            }
            out.write_char('\n')?;
        }
        let set = set.trim_end_matches(',');
        // The count is that of the last bucket, also while others count.
        write!(out, "{name}_count{{{set}}} {count}\n{name}_sum{{{set}}} ")?;
        seconds(out, histogram.sum.load(Ordering::Relaxed))?;
        out.write_char('\n')
    }
}

/// ` # {labels} value time`; the labels' names and values have 66 characters, OpenMetrics allows 128.
fn example(out: &mut String, wall: Wall, example: &Example) -> fmt::Result {
    write!(out, " # {{request_id=\"{}\"", example.whose.request)?;
    if let Some(trace) = example.whose.trace {
        write!(out, ",trace_id=\"{trace}\"")?;
    }
    out.write_str("} ")?;
    seconds(out, example.micros)?;
    let at = wall.at(example.at);
    write!(out, " {}.{:03}", at.as_secs(), at.subsec_millis())
}

/// Microseconds as seconds, the way OpenMetrics writes bounds: `0.0005`, `1.0`.
fn seconds(out: &mut String, micros: u64) -> fmt::Result {
    write!(out, "{}.", micros / 1_000_000)?;
    let fraction = format!("{:06}", micros % 1_000_000);
    let digits = fraction.trim_end_matches('0');
    out.write_str(if digits.is_empty() { "0" } else { digits })
}
