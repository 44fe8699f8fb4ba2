//! Bars with whiskers, as SVG that takes its colours from the page.

use std::fmt::Write as _;

use crate::stats::Spread;

const LEFT: f64 = 150.0;
const WIDTH: f64 = 520.0;
const ROW: f64 = 24.0;

/// A horizontal bar for each row, with a line from the lowest to the highest round; `ours` are drawn in the page's accent.
pub(crate) fn bars(title: &str, rows: &[(String, Spread, bool)]) -> String {
    let most = rows.iter().map(|(_, spread, _)| spread.high).fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW * rows.len() as f64 + 8.0;
    let mut svg = format!(
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"{}\">",
        escape(title),
        LEFT + WIDTH + 90.0,
        escape(title)
    );
    for (index, (name, spread, ours)) in rows.iter().enumerate() {
        let (y, x) = (index as f64 * ROW + 4.0, |value: f64| LEFT + value / most * WIDTH);
        let middle = y + ROW / 2.0 - 2.0;
        let class = if *ours { "ours" } else { "other" };
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\"/>\
             <path class=\"whisker\" d=\"M{:.1} {middle}H{:.1}\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
            LEFT - 8.0,
            middle + 4.0,
            escape(name),
            x(spread.median) - LEFT,
            ROW - 6.0,
            x(spread.low),
            x(spread.high),
            x(spread.high) + 6.0,
            middle + 4.0,
            number(spread.median)
        );
    }
    svg.push_str("</svg></figure>\n");
    svg
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Text for HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
