//! The page: one file, nothing from elsewhere, readable in light and dark.

use std::fmt::Write as _;

use crate::{
    bars::Bar,
    load::Load,
    report::{
        Report, figures,
        plot::{bars, escape},
    },
    rounds::Played,
    sample::Sample,
    scenario::Scenario,
    stats::Spread,
    table,
    variant::Product,
};

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1d2026; --back: #fdfdfc; --soft: #6b7280; --line: #d9dce1; --ours: #0f766e; --other: #9aa3af; --good: #15803d; --bad: #b91c1c }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --back: #16181c; --soft: #9aa3af; --line: #363a42; --ours: #2dd4bf; --other: #5b6472; --good: #4ade80; --bad: #f87171 } }
body { color: var(--text); background: var(--back); font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem }
p, li { color: var(--soft); max-width: 48rem } table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid var(--line) }
pre { overflow-x: auto; font-size: 12px; line-height: 1.45 } .met { color: var(--good) } .missed { color: var(--bad) }
figure { margin: 1rem 0 } figcaption { color: var(--soft) } svg { width: 100%; max-width: 48rem } svg text { font-size: 12px; fill: var(--text) }
.ours { fill: var(--ours) } .other { fill: var(--other) } .whisker { stroke: var(--text); stroke-width: 1.5 }
";

/// The whole page.
pub(crate) fn of(report: &Report, bars: &[Bar]) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Understudy beside its rivals</title><style>{STYLE}</style>\n\
         <h1>Understudy beside its rivals</h1>\n<p>Every product carries the same client's requests to the same v1 and v2 on one machine, one run each in every round, in an order that rotates. \
         Client, proxy and servers share its CPUs, so absolute numbers say more about the machine than about the products: read the ratios, and how far they spread. \
         Costs are CPU microseconds for each request.{}</p>\n<ul>",
        if report.quick { " <b>This was a quick run: few and short rounds.</b>" } else { "" }
    );
    for line in &report.machine {
        let _ = write!(html, "<li>{}</li>", escape(line));
    }
    html.push_str("</ul>\n<h2>Bars</h2>\n<table><tr><th>what</th><th>bar</th><th>measured</th><th></th></tr>\n");
    for bar in bars {
        let measured = bar.measured.map_or("–".to_owned(), |spread| spread.text());
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{measured}</td><td class=\"{}\">{}</td></tr>",
            escape(&bar.words),
            bar.limit_text().replace("0.3333333333333333", "1/3"),
            bar.verdict(),
            bar.verdict()
        );
    }
    html.push_str("</table>\n");
    for (scenario, played) in &report.scenarios {
        let _ = write!(html, "<h2>{}</h2>\n{}", escape(scenario.title), plots(scenario, played));
        let _ = writeln!(html, "<pre>{}</pre>", escape(table::of(scenario, played).trim()));
    }
    for (special, outcome) in &report.specials {
        let _ = writeln!(
            html,
            "<h2>{}</h2>\n<pre>{}</pre>",
            escape(special.title),
            escape(figures(special, outcome).trim())
        );
    }
    html.push_str("</html>\n");
    html
}

fn plots(scenario: &Scenario, played: &Played) -> String {
    let rows = |of: &dyn Fn(&Sample) -> f64| -> Vec<(String, Spread, bool)> {
        let all = scenario.variants.iter().filter_map(|variant| {
            let spread = table::figure(played, *variant, of)?;
            Some((variant.to_string(), spread, variant.product == Product::Understudy))
        });
        all.collect()
    };
    let without_direct = |mut rows: Vec<(String, Spread, bool)>| {
        rows.retain(|(name, _, _)| name != Product::Direct.name());
        rows
    };
    match scenario.load {
        Load::Paced { .. } => [
            bars("p99 of the primary, µs", &rows(&Sample::p99)),
            bars("p50 of the primary, µs", &rows(&|s| s.latency.map_or(f64::NAN, |l| l.p50))),
        ]
        .concat(),
        Load::Saturating { .. } => [
            bars("CPU of the proxy for each request, µs", &without_direct(rows(&Sample::proxy))),
            bars("CPU of the whole machine for each request, µs", &rows(&Sample::machine)),
            bars("requests/s", &rows(&|s| s.per_second)),
        ]
        .concat(),
    }
}
