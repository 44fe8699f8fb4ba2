//! What `/metrics` said at one moment, and the accounting identity of shadows on it: candidates are the sum over all outcomes.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

type Labels = BTreeMap<String, String>;

/// One scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsView {
    samples: Vec<(String, Labels, f64)>,
}

impl MetricsView {
    /// Reads the text format (Prometheus or OpenMetrics); lines that are neither comment nor sample are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { samples: text.lines().filter_map(sample).collect() }
    }

    /// Sum of all samples of a name whose labels contain the given ones. No such sample: 0.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |has: &Labels| labels.iter().all(|(k, v)| has.get(*k).is_some_and(|value| value == v));
        self.samples.iter().filter(|(n, has, _)| n == name && fits(has)).map(|(_, _, value)| value).sum()
    }

    /// True if there is a sample of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|(n, _, _)| n == name)
    }

    /// Requests that a rule with a mirror matched.
    #[must_use]
    pub fn candidates(&self) -> f64 {
        self.sum("understudy_shadow_candidates_total", &[])
    }

    /// Shadows that ended with an outcome.
    #[must_use]
    pub fn outcome(&self, outcome: &str) -> f64 {
        self.sum("understudy_shadow_requests_total", &[("outcome", outcome)])
    }

    /// Number of the configuration in force.
    #[must_use]
    pub fn generation(&self) -> f64 {
        self.sum("understudy_config_generation", &[])
    }

    /// For every mirror: candidates = all outcomes. Holds once all shadows have ended.
    ///
    /// # Errors
    /// With the mirror and both numbers.
    pub fn identity(&self) -> Result<()> {
        let mut mirrors: BTreeMap<Labels, (f64, f64)> = BTreeMap::new();
        for (name, labels, value) in &self.samples {
            let key = || {
                let wanted = ["namespace", "service", "rule", "mirror"];
                labels
                    .iter()
                    .filter(|(k, _)| wanted.contains(&k.as_str()))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            };
            match name.as_str() {
                "understudy_shadow_candidates_total" => mirrors.entry(key()).or_default().0 += value,
                "understudy_shadow_requests_total" => mirrors.entry(key()).or_default().1 += value,
                _ => {}
            }
        }
        for (mirror, (candidates, ended)) in mirrors {
            // Counters are whole numbers far below 2^53.
            if (candidates - ended).abs() > 0.5 {
                bail!("{candidates} candidates, but {ended} outcomes of mirror {mirror:?}");
            }
        }
        Ok(())
    }

    /// Samples that are not zero and whose name begins with a prefix, as `name{labels} value`, for people: of histograms count and sum alone.
    #[must_use]
    pub fn lines(&self, prefix: &str) -> Vec<String> {
        let is_wanted = |name: &str| name.starts_with(prefix) && !name.ends_with("_bucket");
        let wanted = self.samples.iter().filter(|(name, _, value)| is_wanted(name) && *value != 0.0);
        wanted
            .map(|(name, labels, value)| {
                let labels: Vec<_> =
                    labels.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={v}")).collect();
                format!("{name}{{{}}} {value}", labels.join(" "))
            })
            .collect()
    }
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let Some((name, rest)) = line.split_once('{') else {
        let (name, value) = line.split_once(' ')?;
        return Some((name.to_owned(), Labels::new(), number(value)?));
    };
    let mut labels = Labels::new();
    let mut rest = rest;
    loop {
        rest = rest.strip_prefix(',').unwrap_or(rest);
        if let Some(value) = rest.strip_prefix('}') {
            return Some((name.to_owned(), labels, number(value.trim_start())?));
        }
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.insert(key.to_owned(), value);
        rest = after;
    }
}

/// A label's value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}

/// The value; a timestamp or an exemplar after it does not matter.
fn number(text: &str) -> Option<f64> {
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP understudy_shadow_candidates Requests
# TYPE understudy_shadow_candidates counter
understudy_shadow_candidates_total{namespace="mirror",service="httpbin",rule="a \"b\"}",mirror="0"} 3
understudy_shadow_requests_total{namespace="mirror",service="httpbin",rule="a \"b\"}",mirror="0",destination="v2",outcome="answered",code="2xx"} 2
understudy_shadow_requests_total{namespace="mirror",service="httpbin",rule="a \"b\"}",mirror="0",destination="v2",outcome="timeout",code=""} 1 1700000000
understudy_request_duration_seconds_bucket{namespace="mirror",service="httpbin",rule="r",le="0.0005"} 4 # {request_id="00000000000000ab",trace_id="0af7651916cd43dd8448eb211c80319c"} 0.0004 1700000000.123
understudy_request_duration_seconds_bucket{namespace="mirror",service="httpbin",rule="r",le="0.001"} 5 # {request_id="00000000000000ac"} 0.0009
understudy_config_generation 7
# EOF
"#;

    #[test]
    fn labels_with_quotes_and_braces_are_read() {
        let view = MetricsView::parse(TEXT);
        assert!((view.sum("understudy_shadow_candidates_total", &[("rule", "a \"b\"}")]) - 3.0).abs() < f64::EPSILON);
        assert!((view.outcome("answered") - 2.0).abs() < f64::EPSILON);
        assert!((view.generation() - 7.0).abs() < f64::EPSILON);
    }

    #[test]
    fn exemplars_are_no_part_of_the_value() {
        let view = MetricsView::parse(TEXT);
        for (bound, count) in [("0.0005", 4.0), ("0.001", 5.0)] {
            let counted = view.sum("understudy_request_duration_seconds_bucket", &[("le", bound)]);
            assert!((counted - count).abs() < f64::EPSILON, "{counted}");
        }
    }

    #[test]
    fn the_identity_holds_only_if_every_candidate_has_ended() {
        assert!(MetricsView::parse(TEXT).identity().is_ok());
        assert!(MetricsView::parse(&TEXT.replace("code=\"2xx\"} 2", "code=\"2xx\"} 1")).identity().is_err());
    }
}
