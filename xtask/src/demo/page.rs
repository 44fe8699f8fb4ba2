//! How the demo looks: two logs side by side, fitted to the terminal; plain text elsewhere.

use std::io::IsTerminal as _;

use integration::{MetricsView, access_log::Line, seed::Report, seed::World};

/// Where the demo is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// Columns; none where it is not a terminal.
    width: Option<usize>,
    colour: bool,
}

impl Page {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let size = terminal_size::terminal_size().filter(|_| terminal);
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Self { width: size.map(|(width, _)| usize::from(width.0)), colour }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn line(self, text: &str) {
        println!("{text}");
    }

    pub(crate) fn heading(self, text: &str) {
        println!("\n{}", self.paint("1", text));
    }

    pub(crate) fn world(self, world: &World) {
        let servers = std::iter::once(&world.v1).chain(&world.v2);
        for pod in std::iter::once(&world.sleep).chain(servers.map(|h| &h.pod)) {
            println!("  {:<14} {:<14} netns {}", pod.name(), pod.v4(), pod.netns().name());
        }
        println!(
            "  service httpbin {} -> port 80 of the three httpbin pods (nftables plays kube-proxy)",
            integration::seed::VIP
        );
    }

    pub(crate) fn step(self, number: usize, report: &Report) {
        self.heading(&format!("Step {number}. {}", report.title));
        println!("  the task: {}", report.promise);
        for command in &report.commands {
            println!("  {} {command}", self.paint("36", "$"));
        }
        println!();
        for row in table(&report.v1, &report.v2, self.width) {
            println!("  {row}");
        }
        println!();
        for proof in &report.proofs {
            println!("  {} {proof}", self.paint("32", "ok"));
        }
    }

    pub(crate) fn metrics(self, view: &MetricsView) {
        self.heading("Metrics");
        let lines: Vec<_> =
            ["understudy_shadow", "understudy_requests", "understudy_connections", "understudy_capture"]
                .into_iter()
                .flat_map(|prefix| view.lines(prefix))
                .collect();
        lines.iter().for_each(|line| println!("  {line}"));
        println!("  {} every candidate has exactly one outcome", self.paint("32", "ok"));
    }

    pub(crate) fn failure(self, world: &World) {
        self.heading("What was there when it failed");
        for row in table(&tail(world.v1_log()), &tail(world.v2_log()), self.width) {
            println!("  {row}");
        }
        if let Some(agent) = &world.agent {
            println!(
                "  the agent's log ends with:\n{}",
                tail(agent.log().lines().map(str::to_owned).collect()).join("\n")
            );
        }
        println!("  all logs: {}", world.node.dir().display());
    }

    pub(crate) fn by_hand(self, world: &World) {
        self.heading("The world stays up until Ctrl-C, with the mirror in force. In another terminal:");
        let node = world.node.netns().path();
        println!("  the task's curl     {} curl -s http://httpbin:8000/headers", world.exec_prefix());
        for httpbin in std::iter::once(&world.v1).chain(&world.v2) {
            println!("  log of {:<13}tail -f {}", httpbin.pod.name(), httpbin.process().log_path().display());
        }
        println!("  the rules           $EDITOR {}/*.yaml", world.manifests.path().display());
        println!("  the metrics         nsenter --net={} curl -s http://127.0.0.1:15090/metrics", node.display());
        println!("  what is in force    nsenter --net={} curl -s http://127.0.0.1:15000/config_dump", node.display());
    }
}

fn tail<T>(mut lines: Vec<T>) -> Vec<T> {
    lines.split_off(lines.len().saturating_sub(15))
}

/// Both logs in two columns: what was logged in the same second stands in the same row, as far as there is something on both sides.
fn table(v1: &[Line], v2: &[Line], width: Option<usize>) -> Vec<String> {
    // Whole lines where they fit, or where nobody says how much room there is.
    let longest = v1.iter().chain(v2).map(|line| line.raw.chars().count()).max().unwrap_or_default().max(16);
    let column = width.map_or(longest, |width| (width.saturating_sub(7) / 2).min(longest));
    let show = |line: &Line| if column >= longest { line.raw.clone() } else { short(line) };
    let fit = |text: &str| {
        let cut: String = text.chars().take(column).collect();
        format!("{cut:<column$}")
    };
    let mut rows = vec![format!("{} | {}", fit("httpbin-v1"), "httpbin-v2"), format!("{0}-+-{0}", "-".repeat(column))];
    for (left, right) in aligned(v1, v2) {
        let right = right.map(show).unwrap_or_default();
        let right: String = right.chars().take(column).collect();
        rows.push(format!("{} | {right}", fit(&left.map(show).unwrap_or_default())).trim_end().to_owned());
    }
    rows
}

/// `19:48:03 GET /headers 200 from 10.244.1.10 Host httpbin:8000`.
fn short(line: &Line) -> String {
    let request = line.request.rsplit_once(' ').map_or(line.request.as_str(), |(request, _)| request);
    format!("{} {request} {} Host: {}", line.clock(), line.status, line.host)
}

fn aligned<'a>(v1: &'a [Line], v2: &'a [Line]) -> Vec<(Option<&'a Line>, Option<&'a Line>)> {
    let (mut left, mut right) = (v1.iter().peekable(), v2.iter().peekable());
    let mut rows = Vec::new();
    loop {
        rows.push(match (left.peek(), right.peek()) {
            (None, None) => return rows,
            (Some(a), Some(b)) if a.time != b.time && a.seconds_apart(b) != Some(1) => {
                if a.time < b.time {
                    (left.next(), None)
                } else {
                    (None, right.next())
                }
            }
            _ => (left.next(), right.next()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: u32, host: &str) -> Line {
        let raw = format!(
            r#"10.244.1.10 - - [07/Mar/2018:19:02:{second:02} +0000] "GET /headers HTTP/1.1" 200 321 "-" "curl/7.35.0" "{host}""#
        );
        Line::parse(&raw).unwrap()
    }

    #[test]
    fn lines_of_the_same_second_stand_side_by_side() {
        let (v1, v2) = ([line(1, "a"), line(20, "a")], [line(10, "b"), line(20, "b")]);
        let rows: Vec<_> = aligned(&v1, &v2).iter().map(|(l, r)| (l.is_some(), r.is_some())).collect();
        assert_eq!(rows, [(true, false), (false, true), (true, true)]);
    }

    #[test]
    fn no_row_is_wider_than_the_terminal() {
        let rows = table(&[line(1, "httpbin:8000")], &[line(1, "httpbin-shadow:8000")], Some(100));
        assert!(rows.iter().all(|row| row.chars().count() + 2 <= 100), "{rows:#?}");
        assert!(rows[2].contains("19:02:01 GET /headers 200 Host: httpbin"));
    }

    #[test]
    fn elsewhere_the_lines_are_whole() {
        let rows = table(&[line(1, "httpbin:8000")], &[], None);
        assert!(rows[2].contains(r#""curl/7.35.0" "httpbin:8000""#));
    }
}
