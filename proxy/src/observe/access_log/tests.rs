use std::sync::Mutex;

use http::Request;

use super::*;
use crate::shadow::outcome::Outcome;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn primary(id: RequestId) -> PrimaryLine<'static> {
    PrimaryLine {
        id,
        pod: "mirror/sleep-0",
        client: ClientAddr("10.244.1.10:51234".parse().unwrap()),
        original: OriginalDst("10.96.0.10:8000".parse().unwrap()),
        request: RequestLine { method: "GET", path: "/get?a=b", version: Version::HTTP_11 },
        authority: b"httpbin:8000",
        rule: Some("mirror/httpbin[0]"),
        destination: Some("httpbin.mirror/v1"),
        endpoint: Some(EndpointAddr("10.244.1.21:80".parse().unwrap())),
        status: Some(200),
        received: 0,
        sent: 312,
        duration: Duration::from_micros(4_213),
    }
}

fn shadow(id: RequestId) -> ShadowLine<'static> {
    ShadowLine {
        id,
        rule: Some("mirror/httpbin[0]"),
        mirror: 0,
        destination: "httpbin.mirror/v2",
        endpoint: Some(EndpointAddr("10.244.1.22:80".parse().unwrap())),
        request: RequestLine { method: "GET", path: "/get?a=b", version: Version::HTTP_11 },
        host: Some(b"httpbin-shadow:8000"),
        ended: Ended::Answered(201),
        sent: 0,
        received: 319,
        cut: false,
        duration: Duration::from_micros(9_870),
    }
}

fn tie(log: &AccessLog, id: RequestId) -> Tie {
    let head = Request::builder().uri("http://httpbin:8000/get?a=b").body(()).unwrap().into_parts().0;
    log.request(id, &head).unwrap()
}

/// What the log says, split at newlines, without the time that a line of text begins with.
fn logged(format: LogFormat, log: impl FnOnce(&AccessLog)) -> Vec<String> {
    let sink = Sink::default();
    let access_log = AccessLog::to(sink.clone(), format).unwrap();
    log(&access_log);
    access_log.flush(Duration::from_secs(60));
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    let untimed =
        |line: &str| line.strip_prefix('[').and_then(|line| line.split_once("] ")).map(|(_, rest)| rest.to_owned());
    text.lines().map(|line| untimed(line).unwrap_or_else(|| line.to_owned())).collect()
}

#[test]
fn a_primary_and_its_shadow_are_one_line_each_with_one_id() {
    let id = RequestIds::new(3).next();
    let lines = logged(LogFormat::Text, |log| {
        let tie = tie(log, id);
        tie.primary(&primary(id));
        tie.shadow(&shadow(id));
    });
    let expected = [
        format!(
            "{id} primary \"GET /get?a=b HTTP/1.1\" 200 0 312 4.213ms \"httpbin:8000\" mirror/sleep-0 10.244.1.10:51234 \
             10.96.0.10:8000 rule=mirror/httpbin[0] destination=httpbin.mirror/v1 endpoint=10.244.1.21:80"
        ),
        format!(
            "{id} shadow \"GET /get?a=b HTTP/1.1\" 201 0 319 9.870ms \"httpbin-shadow:8000\" answered \
             rule=mirror/httpbin[0] mirror=0 destination=httpbin.mirror/v2 endpoint=10.244.1.22:80 primary=200 primary_duration=4.213ms"
        ),
    ];
    assert_eq!(lines, expected);
}

/// Fails if a shadow's line does not wait for its primary's, waits for ever, or is written with what another one says.
#[test]
fn a_shadow_that_ends_first_is_logged_right_after_its_primary() {
    let ids = RequestIds::new(3);
    let (id, other) = (ids.next(), ids.next());
    for format in [LogFormat::Text, LogFormat::Json] {
        let lines = logged(format, |log| {
            let (first, second) = (tie(log, id), tie(log, other));
            first.shadow(&shadow(id));
            first.shadow(&ShadowLine { mirror: 1, ..shadow(id) });
            second.primary(&PrimaryLine { status: Some(404), ..primary(other) });
            second.shadow(&shadow(other));
            first.primary(&PrimaryLine { status: None, ..primary(id) });
            first.shadow(&ShadowLine { mirror: 2, ..shadow(id) });
        });
        let of = |line: &String, id: RequestId, kind: &str| line.contains(&id.to_string()) && line.contains(kind);
        let status = |line: &String| match format {
            LogFormat::Text => line.split_once(" primary=").unwrap().1.split(' ').next().unwrap().to_owned(),
            LogFormat::Json => serde_json::from_str::<serde_json::Value>(line).unwrap()["primary_status"]
                .to_string()
                .replace("null", "-"),
        };
        assert!(of(&lines[0], other, "primary") && of(&lines[1], other, "shadow"), "{lines:#?}");
        assert_eq!(status(&lines[1]), "404");
        assert!(of(&lines[2], id, "primary"), "{lines:#?}");
        for line in &lines[3..] {
            assert!(of(line, id, "shadow"), "{lines:#?}");
            assert_eq!(status(line), "-");
        }
        assert_eq!(lines.len(), 6);
    }
}

#[test]
fn a_cut_answer_says_so() {
    let id = RequestIds::new(3).next();
    for (format, said) in [(LogFormat::Text, " answer=cut primary="), (LogFormat::Json, "\"answer_cut\":true")] {
        let lines = logged(format, |log| {
            let tie = tie(log, id);
            tie.shadow(&ShadowLine { cut: true, ..shadow(id) });
            tie.primary(&primary(id));
        });
        assert!(lines[1].contains("answered") && lines[1].contains(said), "{}", lines[1]);
    }
}

#[test]
fn json_lines_say_the_same() {
    let id = RequestIds::new(3).next();
    let lines = logged(LogFormat::Json, |log| {
        let tie = tie(log, id);
        let ended = Ended::Without(Outcome::NoEndpoint);
        tie.shadow(&ShadowLine { ended, endpoint: None, host: None, ..shadow(id) });
        tie.primary(&primary(id));
    });
    let [primary, shadow] = lines.try_into().unwrap();
    let primary: serde_json::Value = serde_json::from_str(&primary).unwrap();
    let shadow: serde_json::Value = serde_json::from_str(&shadow).unwrap();
    assert_eq!(primary["id"], shadow["id"]);
    assert_eq!((&primary["kind"], &shadow["kind"]), (&"primary".into(), &"shadow".into()));
    assert_eq!((&primary["status"], &primary["duration_ms"]), (&200.into(), &4.213.into()));
    assert_eq!((&shadow["outcome"], &shadow["endpoint"]), (&"no_endpoint".into(), &serde_json::Value::Null));
    assert_eq!((&shadow["status"], &shadow["host"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_eq!((&shadow["duration_ms"], &shadow["rule"]), (&9.87.into(), &"mirror/httpbin[0]".into()));
    assert_eq!((&shadow["primary_status"], &shadow["primary_duration_ms"]), (&200.into(), &4.213.into()));
    assert!(primary["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_client_cannot_forge_a_line_or_leave_its_quotes() {
    let id = RequestIds::new(0).next();
    let evil = b"a\"\n[2026] 0 primary \x1b[2J\xff\\";
    let line = || PrimaryLine { authority: evil, ..primary(id) };
    let text = logged(LogFormat::Text, |log| tie(log, id).primary(&line()));
    assert_eq!(text.len(), 1);
    assert!(text[0].contains(r#""a\"\n[2026] 0 primary \x1b[2J\xff\\" mirror/"#), "{}", text[0]);
    let json = logged(LogFormat::Json, |log| tie(log, id).primary(&line()));
    assert_eq!(json.len(), 1);
    assert!(serde_json::from_str::<serde_json::Value>(&json[0]).is_ok());
}

#[test]
fn a_long_path_is_cut() {
    let id = RequestIds::new(0).next();
    let path = "/é".repeat(40_000);
    for format in [LogFormat::Text, LogFormat::Json] {
        let request = RequestLine { path: &path, ..primary(id).request };
        let lines = logged(format, |log| tie(log, id).primary(&PrimaryLine { request, ..primary(id) }));
        assert!(lines[0].len() < 5 * MAX_PART && lines[0].contains('…'), "{} bytes", lines[0].len());
    }
}

const LOST: Ended = Ended::Without(Outcome::Loop);

#[test]
fn what_is_missing_is_a_hyphen() {
    let id = RequestIds::new(0).next();
    let lines = logged(LogFormat::Text, |log| {
        let tie = tie(log, id);
        tie.shadow(&ShadowLine { host: None, endpoint: None, rule: None, ended: LOST, ..shadow(id) });
        tie.primary(&PrimaryLine {
            status: None,
            rule: None,
            destination: None,
            endpoint: None,
            pod: "",
            ..primary(id)
        });
    });
    assert!(lines[0].contains("HTTP/1.1\" - 0 312"), "{}", lines[0]);
    assert!(lines[0].contains(" - 10.244.1.10:51234 "), "{}", lines[0]);
    assert!(lines[0].ends_with("rule=- destination=- endpoint=-"), "{}", lines[0]);
    assert!(lines[1].contains("HTTP/1.1\" - 0 319"), "{}", lines[1]);
    assert!(lines[1].contains(" \"-\" loop rule=- mirror=0 "), "{}", lines[1]);
    assert!(lines[1].ends_with(" endpoint=- primary=- primary_duration=4.213ms"), "{}", lines[1]);
}

/// Without a tie nobody keeps anything for a line.
#[test]
fn a_log_that_is_off_ties_nothing() {
    let head = Request::new(()).into_parts().0;
    assert!(AccessLog::off().request(RequestIds::new(0).next(), &head).is_none());
}

#[test]
fn lost_lines_are_a_metric_while_there_is_a_log() {
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let (off, on) = (Metrics::new(), Metrics::new());
    AccessLog::off().register(&off);
    assert!(!off.render().contains("access_log"));
    let log = AccessLog::to(Full, LogFormat::Text).unwrap();
    log.register(&on);
    let id = RequestIds::new(0).next();
    tie(&log, id).primary(&primary(id));
    log.flush(Duration::from_secs(60));
    assert!(on.render().contains("\nunderstudy_access_log_lines_lost_total 1\n"), "{}", on.render());
}

#[test]
fn a_file_that_does_not_open_is_named() {
    let target = Some(AccessLogTarget::File("/nonexistent/folder/access.log".into()));
    let error = AccessLog::open(&AccessLogSettings { target, format: LogFormat::Text }).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/folder/access.log") && error.contains("--access-log"), "{error}");
}

#[test]
fn a_file_is_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::fs::write(&path, "before\n").unwrap();
    let settings = AccessLogSettings { target: Some(AccessLogTarget::File(path.clone())), format: LogFormat::Text };
    let log = AccessLog::open(&settings).unwrap();
    let id = RequestIds::new(0).next();
    tie(&log, id).primary(&primary(id));
    log.flush(Duration::from_secs(60));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("before\n[") && text.lines().count() == 2, "{text}");
}
