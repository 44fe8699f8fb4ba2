//! gunicorn's access log, read back: the line that Istio's mirroring task shows, with the request's Host at its end.

use std::fmt;

/// `--access-logformat`: gunicorn's default, which is the line that the task shows, and the Host header.
pub const FORMAT: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" "%({host}i)s""#;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As it was written.
    pub raw: String,
    /// Who asked, as the server sees it.
    pub client: String,
    /// Date and time, `23/Nov/2026:19:48:03 +0000`.
    pub time: String,
    /// `GET /headers HTTP/1.1`.
    pub request: String,
    /// The status code.
    pub status: u16,
    /// The user agent.
    pub agent: String,
    /// The Host header.
    pub host: String,
}

impl Line {
    /// Takes a line apart; `None` if it is not of the access log (gunicorn writes notices into the same file).
    #[must_use]
    pub fn parse(raw: &str) -> Option<Self> {
        let (client, rest) = raw.split_once(' ')?;
        let (_, rest) = rest.split_once('[')?;
        let (time, rest) = rest.split_once("] \"")?;
        let (request, rest) = rest.split_once("\" ")?;
        let mut tail = rest.split('"');
        let status = tail.next()?.split(' ').next()?.parse().ok()?;
        let quoted: Vec<_> = tail.collect();
        // "referer" "agent" "host": the quoted parts are at 0, 2 and 4.
        let [_, _, agent, _, host, ..] = quoted[..] else { return None };
        Some(Self {
            raw: raw.to_owned(),
            client: client.to_owned(),
            time: time.to_owned(),
            request: request.to_owned(),
            status,
            agent: agent.to_owned(),
            host: host.to_owned(),
        })
    }

    /// `19:48:03`.
    #[must_use]
    pub fn clock(&self) -> &str {
        self.time.split_once(':').and_then(|(_, rest)| rest.get(..8)).unwrap_or(&self.time)
    }

    /// Seconds since midnight.
    #[must_use]
    pub fn second_of_day(&self) -> Option<u32> {
        let mut parts = self.clock().split(':').map(str::parse::<u32>);
        Some(parts.next()?.ok()? * 3600 + parts.next()?.ok()? * 60 + parts.next()?.ok()?)
    }

    /// How far apart two lines are in time, seconds; a midnight between them does not matter.
    #[must_use]
    pub fn seconds_apart(&self, other: &Self) -> Option<u32> {
        let distance = self.second_of_day()?.abs_diff(other.second_of_day()?);
        Some(distance.min(86_400 - distance))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

/// All lines of the access log in a server's output.
#[must_use]
pub fn lines(output: &str) -> Vec<Line> {
    output.lines().filter_map(Line::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"10.244.1.10 - - [07/Mar/2018:23:59:59 +0000] "GET /headers HTTP/1.1" 200 321 "-" "curl/7.35.0" "httpbin:8000""#;

    #[test]
    fn the_seeds_line_is_taken_apart() {
        let line = Line::parse(LINE).unwrap();
        assert_eq!((line.client.as_str(), line.clock(), line.status), ("10.244.1.10", "23:59:59", 200));
        assert_eq!((line.agent.as_str(), line.host.as_str()), ("curl/7.35.0", "httpbin:8000"));
        assert_eq!(line.request, "GET /headers HTTP/1.1");
    }

    #[test]
    fn notices_are_not_requests() {
        assert_eq!(lines("[2026-11-23 19:48:01 +0000] [11201] [INFO] Starting gunicorn 23.0.0\n"), []);
    }

    #[test]
    fn a_second_across_midnight_is_one_second() {
        let (a, mut b) = (Line::parse(LINE).unwrap(), Line::parse(LINE).unwrap());
        b.time = "08/Mar/2018:00:00:00 +0000".to_owned();
        assert_eq!(a.seconds_apart(&b), Some(1));
    }
}
