//! The counters of rules and mirrors, for a scrape.
//!
//! Comes in: the handles. Goes out: OpenMetrics, by way of prometheus-client's encoder. Never: a series that a table has not asked for.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder},
    metrics::MetricType,
};

use super::{CODE_CLASSES, Count, Known, KnownMirror, MirrorLabels, RuleLabels};
use crate::shadow::outcome::Outcome;

/// Reads all handles anew at each scrape.
#[derive(Debug)]
pub(super) struct Counts(pub(super) Arc<Known>);

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rules = self.0.rules();
        if !rules.is_empty() {
            let help = "Answered primary requests of a rule.";
            let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
            for (labels, handles) in &*rules {
                let RuleLabels { namespace, service, rule } = labels;
                for (code, count) in CODE_CLASSES.iter().zip(&handles.requests) {
                    let labels: [(&str, &str); 4] =
                        [("namespace", namespace), ("service", service), ("rule", rule), ("code", code)];
                    member(&mut family, &labels, count)?;
                }
            }
        }
        drop(rules);
        let mirrors = self.0.mirrors();
        if mirrors.is_empty() {
            return Ok(());
        }
        let help = "Requests that a rule with this mirror matched.";
        let mut family = encoder.encode_descriptor("shadow_candidates", help, None, MetricType::Counter)?;
        for (labels, known) in &*mirrors {
            everywhere(&mut family, labels, &known.everywhere.candidates)?;
        }
        let help = "Ended shadows by outcome.";
        let mut family = encoder.encode_descriptor("shadow_requests", help, None, MetricType::Counter)?;
        for (labels, known) in &*mirrors {
            outcomes(&mut family, labels, known)?;
        }
        let help = "Answers of shadows that were longer than their bound and not read further.";
        let mut family = encoder.encode_descriptor("shadow_answers_cut", help, None, MetricType::Counter)?;
        for (labels, known) in &*mirrors {
            everywhere(&mut family, labels, &known.everywhere.cut)?;
        }
        Ok(())
    }
}

fn everywhere(family: &mut MetricEncoder<'_>, labels: &MirrorLabels, count: &Count) -> fmt::Result {
    let MirrorLabels { rule: RuleLabels { namespace, service, rule }, mirror } = labels;
    let mirror = mirror.to_string();
    let labels: [(&str, &str); 4] =
        [("namespace", namespace), ("service", service), ("rule", rule), ("mirror", &mirror)];
    member(family, &labels, count)
}

fn outcomes(family: &mut MetricEncoder<'_>, labels: &MirrorLabels, known: &KnownMirror) -> fmt::Result {
    let MirrorLabels { rule: RuleLabels { namespace, service, rule }, mirror } = labels;
    let mirror = mirror.to_string();
    for (destination, handles) in &known.by_destination {
        let answered = CODE_CLASSES.iter().map(|code| ("answered", *code)).zip(&handles.answered);
        let others = Outcome::ALL.iter().map(|(_, name)| (*name, "")).zip(&handles.outcomes);
        for ((outcome, code), count) in answered.chain(others) {
            let labels: [(&str, &str); 7] = [
                ("namespace", namespace),
                ("service", service),
                ("rule", rule),
                ("mirror", &mirror),
                ("destination", destination),
                ("outcome", outcome),
                ("code", code),
            ];
            member(family, &labels, count)?;
        }
    }
    Ok(())
}

fn member<const N: usize>(family: &mut MetricEncoder<'_>, labels: &[(&str, &str); N], count: &Count) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<[(&str, &str); 0], _, u64>(&count.get(), None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        observe::metrics::{Metrics, MirrorLabels, RuleLabels},
        shadow::outcome::{Ended, Outcome},
    };

    fn labels() -> MirrorLabels {
        let rule = RuleLabels { namespace: "a".into(), service: "b".into(), rule: "c \"d\"".into() };
        MirrorLabels { rule, mirror: 1 }
    }

    /// Fails if a scrape loses a series, or tells one in other words than before.
    #[test]
    fn every_count_of_a_mirror_and_a_rule_has_its_series() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("shadow_requests"), "a family without members is not described");
        let (mirror, rule) = (metrics.mirror(&labels(), &"v2".into()), metrics.rule(&labels().rule));
        mirror.candidate();
        mirror.ended(Ended::Answered(204));
        mirror.ended(Ended::Without(Outcome::TooSlow));
        mirror.answer_cut();
        rule.answered(503);
        let text = metrics.render();
        let mirror = r#"namespace="a",service="b",rule="c \"d\"",mirror="1""#;
        for line in [
            "# HELP understudy_shadow_candidates Requests that a rule with this mirror matched.\n# TYPE understudy_shadow_candidates counter\n"
                .to_owned(),
            format!("understudy_shadow_candidates_total{{{mirror}}} 1\n"),
            format!(
                "understudy_shadow_requests_total{{{mirror},destination=\"v2\",outcome=\"answered\",code=\"2xx\"}} 1\n"
            ),
            format!("understudy_shadow_requests_total{{{mirror},destination=\"v2\",outcome=\"too_slow\",code=\"\"}} 1\n"),
            format!("understudy_shadow_requests_total{{{mirror},destination=\"v2\",outcome=\"loop\",code=\"\"}} 0\n"),
            format!("understudy_shadow_answers_cut_total{{{mirror}}} 1\n"),
            r#"understudy_requests_total{namespace="a",service="b",rule="c \"d\"",code="5xx"} 1"#.to_owned(),
        ] {
            assert!(text.contains(&line), "{line}\n{text}");
        }
        let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!(series("understudy_shadow_requests_total"), 6 + Outcome::ALL.len());
        assert_eq!(series("understudy_requests_total"), 6);
    }

    /// Fails if a reload that sends shadows elsewhere begins to count candidates anew, or mixes outcomes of two destinations.
    #[test]
    fn candidates_are_the_mirrors_and_outcomes_the_destinations() {
        let metrics = Metrics::new();
        let (old, new) = (metrics.mirror(&labels(), &"v2".into()), metrics.mirror(&labels(), &"v3".into()));
        assert!(Arc::ptr_eq(&old, &metrics.mirror(&labels(), &"v2".into())), "the same labels have the same handles");
        for mirror in [old, new] {
            mirror.candidate();
            mirror.ended(Ended::Answered(200));
        }
        let text = metrics.render();
        let value = |with: &[&str]| -> Vec<&str> {
            let lines = text.lines().filter(|line| with.iter().all(|part| line.contains(part)));
            lines.filter_map(|line| line.rsplit(' ').next()).collect()
        };
        assert_eq!(value(&["shadow_candidates_total"]), ["2"]);
        assert_eq!(value(&["shadow_requests_total", "2xx"]), ["1", "1"]);
    }
}
