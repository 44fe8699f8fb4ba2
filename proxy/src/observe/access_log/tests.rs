use std::sync::Mutex;

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
        rule: "mirror/httpbin[0]",
        mirror: 0,
        destination: "httpbin.mirror/v2",
        endpoint: Some(EndpointAddr("10.244.1.22:80".parse().unwrap())),
        request: RequestLine { method: "GET", path: "/get?a=b", version: Version::HTTP_11 },
        host: b"httpbin-shadow:8000",
        ended: Ended::Answered(201),
        sent: 0,
        received: 319,
        cut: false,
        duration: Duration::from_micros(9_870),
        primary_status: Some(200),
    }
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
        log.primary(|| primary(id));
        log.shadow(|| shadow(id));
    });
    let expected = [
        format!(
            "{id} primary \"GET /get?a=b HTTP/1.1\" 200 0 312 4.213ms \"httpbin:8000\" mirror/sleep-0 10.244.1.10:51234 \
             10.96.0.10:8000 rule=mirror/httpbin[0] destination=httpbin.mirror/v1 endpoint=10.244.1.21:80"
        ),
        format!(
            "{id} shadow \"GET /get?a=b HTTP/1.1\" 201 0 319 9.870ms \"httpbin-shadow:8000\" answered primary=200 \
             rule=mirror/httpbin[0] mirror=0 destination=httpbin.mirror/v2 endpoint=10.244.1.22:80"
        ),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_cut_answer_says_so() {
    let id = RequestIds::new(3).next();
    let line = || ShadowLine { cut: true, ..shadow(id) };
    let text = logged(LogFormat::Text, |log| log.shadow(line));
    assert!(text[0].contains(" answered ") && text[0].ends_with(" answer=cut"), "{}", text[0]);
    let json = logged(LogFormat::Json, |log| log.shadow(line));
    assert!(json[0].contains("\"answer_cut\":true"), "{}", json[0]);
}

#[test]
fn json_lines_say_the_same() {
    let id = RequestIds::new(3).next();
    let lines = logged(LogFormat::Json, |log| {
        log.primary(|| primary(id));
        log.shadow(|| ShadowLine { ended: Ended::Without(Outcome::NoEndpoint), endpoint: None, ..shadow(id) });
    });
    let [primary, shadow] = lines.try_into().unwrap();
    let primary: serde_json::Value = serde_json::from_str(&primary).unwrap();
    let shadow: serde_json::Value = serde_json::from_str(&shadow).unwrap();
    assert_eq!(primary["id"], shadow["id"]);
    assert_eq!((&primary["kind"], &shadow["kind"]), (&"primary".into(), &"shadow".into()));
    assert_eq!((&primary["status"], &primary["duration_ms"]), (&200.into(), &4.213.into()));
    assert_eq!((&shadow["outcome"], &shadow["endpoint"]), (&"no_endpoint".into(), &serde_json::Value::Null));
    assert!(primary["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_client_cannot_forge_a_line_or_leave_its_quotes() {
    let id = RequestIds::new(0).next();
    let evil = b"a\"\n[2026] 0 primary \x1b[2J\xff\\";
    let line = || PrimaryLine { authority: evil, ..primary(id) };
    let text = logged(LogFormat::Text, |log| log.primary(line));
    assert_eq!(text.len(), 1);
    assert!(text[0].contains(r#""a\"\n[2026] 0 primary \x1b[2J\xff\\" mirror/"#), "{}", text[0]);
    let json = logged(LogFormat::Json, |log| log.primary(line));
    assert_eq!(json.len(), 1);
    assert!(serde_json::from_str::<serde_json::Value>(&json[0]).is_ok());
}

#[test]
fn a_long_path_is_cut() {
    let id = RequestIds::new(0).next();
    let path = "/é".repeat(40_000);
    for format in [LogFormat::Text, LogFormat::Json] {
        let request = RequestLine { path: &path, ..primary(id).request };
        let lines = logged(format, |log| log.primary(|| PrimaryLine { request, ..primary(id) }));
        assert!(lines[0].len() < 5 * MAX_PART && lines[0].contains('…'), "{} bytes", lines[0].len());
    }
}

#[test]
fn what_is_missing_is_a_hyphen() {
    let id = RequestIds::new(0).next();
    let lines = logged(LogFormat::Text, |log| {
        log.primary(|| PrimaryLine {
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
}

#[test]
fn a_log_that_is_off_never_builds_a_line() {
    let log = AccessLog::off();
    log.primary(|| unreachable!("nobody reads it"));
    log.shadow(|| unreachable!("nobody reads it"));
    assert!(!log.is_on());
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
    log.primary(|| primary(RequestIds::new(0).next()));
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
    log.primary(|| primary(RequestIds::new(0).next()));
    log.flush(Duration::from_secs(60));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("before\n[") && text.lines().count() == 2, "{text}");
}
