//! Answers of agents for people, and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Answer;

/// A line for each agent, and below it what is wrong.
pub(super) fn table(answers: &[Answer]) -> String {
    let mut rows = vec![
        ["NODE", "READY", "SOURCE", "GENERATION", "ENROLLED", "DESTINATIONS", "ERRORS", "WARNINGS"].map(str::to_owned),
    ];
    rows.extend(answers.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
        if let Some(answer) = number.checked_sub(1).and_then(|number| answers.get(number)) {
            for line in wrong(answer) {
                let _ = writeln!(out, "  {line}");
            }
        }
    }
    out
}

fn row(answer: &Answer) -> [String; 8] {
    let Ok(status) = &answer.status else {
        return [
            answer.name.clone(),
            "?".into(),
            "?".into(),
            "?".into(),
            "?".into(),
            "?".into(),
            "?".into(),
            "?".into(),
        ];
    };
    let yes = |value: &Value, yes: &str, no: &str| if value == true { yes.to_owned() } else { no.to_owned() };
    let enrolment = &status["enrolment"];
    [
        status["node"].as_str().map_or_else(|| answer.name.clone(), str::to_owned),
        yes(&status["ready"], "yes", "no"),
        yes(&status["source"]["connected"], "heard", "silent"),
        status["generation"].to_string(),
        format!("{}/{}", enrolment["actual"], enrolment["desired"]),
        status["destinations"].to_string(),
        status["errors"].to_string(),
        status["warnings"].to_string(),
    ]
}

fn wrong(answer: &Answer) -> Vec<String> {
    let status = match &answer.status {
        Ok(status) => status,
        Err(reason) => return vec![reason.clone()],
    };
    let texts = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut lines: Vec<_> =
        texts(&status["missing"]).into_iter().map(|missing| format!("not ready: {missing}")).collect();
    lines.extend(texts(&status["source"]["problems"]));
    lines.extend(texts(&status["not_captured"]));
    for pod in status["enrolment"]["missing"].as_array().into_iter().flatten() {
        let text = |name: &str| pod[name].as_str().unwrap_or_default().to_owned();
        lines.push(format!("pod {} is not enrolled: {}", text("pod"), text("reason")));
    }
    lines.extend(texts(&status["findings"]));
    lines
}

/// Everything that was said, by name.
pub(super) fn json(answers: &[Answer]) -> String {
    let all: Vec<_> = answers
        .iter()
        .map(|answer| match &answer.status {
            Ok(status) => json!({ "name": answer.name, "status": status }),
            Err(reason) => json!({ "name": answer.name, "error": reason }),
        })
        .collect();
    format!("{:#}\n", Value::from(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_stands_below_the_agent_that_says_it() {
        let good = json!({"node": "w1", "ready": true, "missing": [], "generation": 7, "source": {"connected": true, "problems": []},
            "enrolment": {"desired": 2, "actual": 1, "missing": [{"pod": "a/b", "reason": "runs under gVisor"}]},
            "destinations": 3, "not_captured": ["10.96.0.10:80 of a/b is not captured: the map is full"], "errors": 0, "warnings": 0, "findings": []});
        let answers = [
            Answer { name: "10.0.0.1".into(), status: Ok(good) },
            Answer { name: "w2".into(), status: Err("no answer in time".into()) },
        ];
        let expected = "NODE  READY  SOURCE  GENERATION  ENROLLED  DESTINATIONS  ERRORS  WARNINGS\n\
                        w1    yes    heard   7           1/2       3             0       0\n\
                        \x20 10.96.0.10:80 of a/b is not captured: the map is full\n\
                        \x20 pod a/b is not enrolled: runs under gVisor\n\
                        w2    ?      ?       ?           ?         ?             ?       ?\n\
                        \x20 no answer in time\n";
        assert_eq!(table(&answers), expected);
    }
}
