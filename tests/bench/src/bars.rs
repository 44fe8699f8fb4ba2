//! The bars that the project has set itself, and how high it jumped: each a ratio or a size in this run.

use serde::Serialize;

use crate::{
    report::Report,
    rounds::Played,
    sample::Sample,
    scenario::CAPACITY,
    special::Figure,
    stats::Spread,
    table::ratio,
    variant::{
        Flavour::{self, Beside, Dead, Hung, Mirrored, Plain, Slow},
        Product::{self, Envoy, Haproxy, Nginx, Understudy},
        Variant,
    },
};

/// One bar.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) words: String,
    pub(crate) limit: f64,
    /// At least the limit instead of at most.
    pub(crate) at_least: bool,
    pub(crate) unit: &'static str,
    /// `None`: not measured in this run.
    pub(crate) measured: Option<Spread>,
}

impl Bar {
    /// By the median; `None` if it was not measured.
    pub(crate) fn met(&self) -> Option<bool> {
        self.measured.map(|m| if self.at_least { m.median >= self.limit } else { m.median <= self.limit })
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match self.met() {
            None => "not measured",
            Some(true) => "met",
            Some(false) => "missed",
        }
    }

    pub(crate) fn limit_text(&self) -> String {
        format!("{} {}{}", if self.at_least { "≥" } else { "≤" }, self.limit, self.unit)
    }
}

fn versus(
    report: &Report,
    scenario: &str,
    (ours, other): (Flavour, (Product, Flavour)),
    of: fn(&Sample) -> f64,
) -> Option<Spread> {
    let played: &Played = report.played(scenario)?;
    ratio(played, (Variant::new(Understudy, ours), Variant::new(other.0, other.1)), of)
}

/// All bars, as far as this report has measured them.
pub(crate) fn of(report: &Report) -> Vec<Bar> {
    let at_most = |words: &str, limit: f64, measured: Option<Spread>| Bar {
        words: words.to_owned(),
        limit,
        at_least: false,
        unit: " ×",
        measured,
    };
    let cpu = |ours, other| versus(report, CAPACITY, (ours, other), Sample::proxy);
    let close = |other| versus(report, "close", (Plain, (other, Plain)), Sample::machine);
    let p99 = |scenario, ours| versus(report, scenario, (ours, (Understudy, Plain)), Sample::p99);
    let figure = |name: &str| report.figure(name).map(|figure: &Figure| figure.value);
    let sized = |words: &str, limit: f64, unit, measured| Bar { unit, ..at_most(words, limit, measured) };
    vec![
        at_most("CPU of a mirrored request: ours : Envoy's", 0.25, cpu(Mirrored, (Envoy, Mirrored))),
        at_most("CPU of a request: ours mirrored : HAProxy's plain", 1.0, cpu(Mirrored, (Haproxy, Plain))),
        Bar {
            at_least: true,
            ..at_most(
                "requests/s mirrored: ours : Envoy's",
                2.5,
                versus(report, CAPACITY, (Mirrored, (Envoy, Mirrored)), |s| s.per_second),
            )
        },
        at_most("CPU of a plain request: ours : Envoy's", 1.0 / 3.0, cpu(Plain, (Envoy, Plain))),
        at_most("CPU of a plain request: ours : HAProxy's", 0.8, cpu(Plain, (Haproxy, Plain))),
        at_most("p99 at the same rate: mirrored : plain", 1.1, p99("latency", Mirrored)),
        at_most(
            "p99 mirrored : plain while another pod asks v2 as often",
            1.1,
            versus(report, "latency", (Mirrored, (Understudy, Beside)), Sample::p99),
        ),
        at_most("p99 with a dead v2 : plain", 1.1, p99("faults", Dead)),
        at_most("p99 with a hung v2 : plain", 1.1, p99("faults", Hung)),
        at_most("p99 with a slow v2 : plain", 1.1, p99("faults", Slow)),
        at_most(
            "a connection for each request, CPU of the machine: ours : HAProxy behind REDIRECT",
            1.0,
            close(Haproxy),
        ),
        at_most("the same : nginx behind REDIRECT", 1.0, close(Nginx)),
        at_most("the same : Envoy behind REDIRECT", 1.0, close(Envoy)),
        at_most(
            "the same through one trivial proxy: behind the hook : behind REDIRECT",
            1.0,
            figure("trivial-hook-to-redirect"),
        ),
        at_most("CPU of a connect: captured by the hook : by REDIRECT", 1.0, figure("captured-to-redirect")),
        sized("the hook's cost to a connect of a pod that is not enrolled", 1.0, " µs", figure("not-enrolled-cost")),
        sized("the same by the kernel's own clock, all our programs", 1000.0, " ns", figure("bpf-all-not-enrolled")),
        sized("idle: RSS without pods", 15.0, " MB", figure("idle-none-rss").map(|s| scaled(s, 1.048_576))),
        sized("idle: RSS for each enrolled pod", 64.0, " KiB", figure("idle-rss-each")),
        sized(
            "RSS with 1,000 rules and 10,000 Services",
            40.0,
            " MB",
            figure("table-rss").map(|s| scaled(s, 1.048_576)),
        ),
        sized("the binary, stripped", 15.0, " MB", report.binary_megabytes.and_then(|size| Spread::of([size]))),
    ]
}

fn scaled(spread: Spread, by: f64) -> Spread {
    Spread { median: spread.median * by, low: spread.low * by, high: spread.high * by }
}
