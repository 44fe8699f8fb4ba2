//! What each path answers.

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};

use serde_json::Value;

use super::View;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// What the encoder of prometheus-client writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const MAX_BODY: usize = 1024;

const PROBES: &str = "/metrics       counters, gauges and histograms with exemplars, OpenMetrics text
/livez         200 while the process answers
/readyz        200 if it captures as configured, else 503 and what is missing
/status        how it stands: configuration, enrolment, what is wrong, JSON
";
const ADMIN: &str = "/config_dump   the configuration in force, JSON
/log-level     GET: what is logged; PUT: change it, as in curl -X PUT -d debug
";

/// Which of the two addresses was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Admin,
    Metrics,
}

type Answer = Response<Full<Bytes>>;

pub(super) async fn answer(side: Side, view: &View, request: Request<Incoming>) -> Answer {
    let admin = side == Side::Admin;
    let mut answer = match request.uri().path() {
        "/" => read(&request, || text(StatusCode::OK, index(side))),
        "/metrics" => read(&request, || page(StatusCode::OK, OPEN_METRICS, view.metrics.render())),
        "/livez" => read(&request, || text(StatusCode::OK, "alive\n".into())),
        "/readyz" => read(&request, || readyz(view)),
        "/status" => read(&request, || page(StatusCode::OK, JSON, format!("{:#}\n", status(view)))),
        "/config_dump" if admin => {
            read(&request, || page(StatusCode::OK, JSON, format!("{:#}\n", (view.config_dump)())))
        }
        "/log-level" if admin => log_level(view, request).await,
        _ => text(StatusCode::NOT_FOUND, format!("no such page; there are:\n{}", index(side))),
    };
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn index(side: Side) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("understudy {version}\n\n{PROBES}{}", if side == Side::Admin { ADMIN } else { "" })
}

fn status(view: &View) -> Value {
    let mut status = (view.status)();
    if let Value::Object(fields) = &mut status {
        let missing = view.readiness.missing();
        fields.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        fields.insert("ready".into(), missing.is_empty().into());
        fields.insert("missing".into(), missing.into());
    }
    status
}

fn readyz(view: &View) -> Answer {
    let missing = view.readiness.missing();
    if missing.is_empty() {
        return text(StatusCode::OK, "ready\n".into());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", missing.join("\n")))
}

async fn log_level(view: &View, request: Request<Incoming>) -> Answer {
    if *request.method() != Method::PUT {
        return only(&request, "GET, HEAD, PUT", || text(StatusCode::OK, format!("{}\n", view.log_level.get())));
    }
    let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, format!("a log filter has at most {MAX_BODY} bytes\n"));
    };
    let filter = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
    match view.log_level.set(&filter) {
        Ok(()) => {
            tracing::info!(filter, "the log level was changed");
            text(StatusCode::OK, format!("{}\n", view.log_level.get()))
        }
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

/// A page that can only be read. (hyper leaves the body out of the answer to HEAD.)
fn read(request: &Request<Incoming>, page: impl FnOnce() -> Answer) -> Answer {
    only(request, "GET, HEAD", page)
}

fn only(request: &Request<Incoming>, allowed: &'static str, page: impl FnOnce() -> Answer) -> Answer {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return page();
    }
    let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, format!("this page takes {allowed}\n"));
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}

fn text(status: StatusCode, body: String) -> Answer {
    page(status, TEXT, body)
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
