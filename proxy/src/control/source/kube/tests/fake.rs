//! An API server that has what it is given, selects as a real one does, and fails as it is told.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::sleep,
};
use tower_test::mock;

/// How long an answer takes.
const LATENCY: Duration = Duration::from_millis(1);
/// In place of a plural: which kinds are served.
pub(super) const DISCOVERY: &str = "(discovery)";

/// A whole answer, or a watch.
type Said = UnsyncBoxBody<Bytes, Infallible>;

/// A request's collection and selection.
#[derive(Clone, Debug)]
struct Question {
    /// `services`, `virtualservices`, …
    plural: String,
    namespace: Option<String>,
    labels: Option<String>,
    fields: Option<String>,
    /// What a watcher knows already.
    since: u64,
}

struct Watcher {
    question: Question,
    lines: UnboundedSender<Bytes>,
}

#[derive(Default)]
struct State {
    /// By plural, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    version: u64,
    watchers: Vec<Watcher>,
    /// Every request is answered so.
    refusing: Option<u16>,
    /// Requests for this plural are answered so.
    refusing_of: Option<(String, u16)>,
    /// Requests for these plurals are not answered.
    hanging: BTreeSet<String>,
    /// Every change: its version, plural, kind and object.
    history: Vec<(u64, String, &'static str, Value)>,
    asked: Vec<String>,
}

/// The server, in the hands of the test.
#[derive(Clone, Default)]
pub(super) struct Fake(Rc<RefCell<State>>);

impl Fake {
    /// A client of it. Answers are given by a task of this `LocalSet`.
    pub(super) fn client(&self) -> kube::Client {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Said>>();
        let fake = self.clone();
        tokio::task::spawn_local(async move {
            let mut unanswered = Vec::new();
            while let Some((request, answer)) = handle.next_request().await {
                // Time passes, also for who asks in a loop.
                sleep(LATENCY).await;
                match fake.answer(&request) {
                    Some(said) => answer.send_response(said),
                    None => unanswered.push(answer),
                }
            }
        });
        kube::Client::new(service, "default")
    }

    /// Puts an object, and tells who watches it.
    pub(super) fn put(&self, plural: &str, mut object: Value) {
        let mut state = self.0.borrow_mut();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let key = key(plural, &object);
        let kind = if state.objects.insert(key, object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        state.tell(plural, kind, &object);
    }

    /// Deletes an object, and tells who watches it.
    pub(super) fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let mut state = self.0.borrow_mut();
        let Some(mut object) = state.objects.remove(&(plural.into(), namespace.into(), name.into())) else { return };
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.tell(plural, "DELETED", &object);
    }

    /// Says something to every watch, whatever it is about.
    pub(super) fn say(&self, line: &Value) {
        for watcher in &self.0.borrow().watchers {
            let _ = watcher.lines.send(format!("{line}\n").into());
        }
    }

    /// Ends every watch, and answers every request so from now on; `None`: well again.
    pub(super) fn refuse(&self, status: Option<u16>) {
        let mut state = self.0.borrow_mut();
        state.refusing = status;
        state.watchers.clear();
    }

    /// Answers requests for this plural so.
    pub(super) fn refuse_of(&self, plural: &str, status: Option<u16>) {
        self.0.borrow_mut().refusing_of = status.map(|status| (plural.to_owned(), status));
    }

    /// Does not answer requests for this plural any more.
    pub(super) fn hang(&self, plural: &str) {
        self.0.borrow_mut().hanging.insert(plural.to_owned());
    }

    /// Forgets what has happened: a watch that goes on where it was hears nothing of it.
    pub(super) fn forget(&self) {
        self.0.borrow_mut().history.clear();
    }

    /// Ends every watch.
    pub(super) fn hang_up(&self) {
        self.0.borrow_mut().watchers.clear();
    }

    /// How many watches of a plural there are.
    pub(super) fn watched(&self, plural: &str) -> usize {
        let state = self.0.borrow();
        state.watchers.iter().filter(|one| one.question.plural == plural && !one.lines.is_closed()).count()
    }

    /// Every request since the last call: its path and query.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().asked)
    }

    /// `None`: not at all.
    fn answer(&self, request: &Request<Body>) -> Option<Response<Said>> {
        let mut state = self.0.borrow_mut();
        let uri = request.uri();
        state.asked.push(uri.path_and_query().map(ToString::to_string).unwrap_or_default());
        if let Some(status) = state.refusing {
            return Some(refusal(status, "refused"));
        }
        let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        if let ["apis", group, version] = parts[..] {
            return Some(match &state.refusing_of {
                Some((plural, status)) if plural == DISCOVERY => refusal(*status, "refused"),
                _ => state.discovery(group, version),
            });
        }
        let question = question(&parts, uri.query().unwrap_or_default());
        if let Some((plural, status)) = &state.refusing_of
            && *plural == question.plural
        {
            return Some(refusal(*status, &format!("{plural} is forbidden: User cannot list resource")));
        }
        if state.hanging.contains(&question.plural) {
            return None;
        }
        Some(if uri.query().unwrap_or_default().contains("watch=true") {
            state.watch(question)
        } else {
            state.list(&question)
        })
    }
}

impl State {
    /// A kind is served while its definition is there.
    fn discovery(&self, group: &str, version: &str) -> Response<Said> {
        let served = |((plural, _, name), _): (&(String, String, String), &Value)| {
            let (kind, of) = name.split_once('.')?;
            (plural == "customresourcedefinitions" && of == group && matches!(version, "v1" | "v1alpha1")).then(|| {
                json!({"name": kind, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["list", "watch"]})
            })
        };
        let resources: Vec<_> = self.objects.iter().filter_map(served).collect();
        if resources.is_empty() {
            return refusal(404, "the server could not find the requested resource");
        }
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"), "resources": resources});
        answer(StatusCode::OK, &list)
    }

    fn list(&self, question: &Question) -> Response<Said> {
        let items: Vec<_> =
            self.objects.iter().filter(|entry| question.is_about(entry)).map(|(_, object)| object).collect();
        let version = self.version.to_string();
        answer(
            StatusCode::OK,
            &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
        )
    }

    /// Begins with what has happened since the version that the watcher knows.
    fn watch(&mut self, question: Question) -> Response<Said> {
        let (lines, heard) = unbounded_channel::<Bytes>();
        for (version, plural, kind, object) in &self.history {
            if *version > question.since && question.is_about(&(&key(plural, object), object)) {
                let _ = lines.send(line(kind, object));
            }
        }
        self.watchers.push(Watcher { question, lines });
        let frames = stream::unfold(heard, |mut heard| async {
            heard.recv().await.map(|line| (Ok::<_, Infallible>(Frame::data(line)), heard))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn tell(&mut self, plural: &str, kind: &'static str, object: &Value) {
        let entry = (key(plural, object), object);
        for watcher in self.watchers.iter().filter(|watcher| watcher.question.is_about(&(&entry.0, entry.1))) {
            let _ = watcher.lines.send(line(kind, object));
        }
        self.history.push((self.version, plural.to_owned(), kind, object.clone()));
    }
}

impl Question {
    fn is_about(&self, ((plural, namespace, name), object): &(&(String, String, String), &Value)) -> bool {
        let field = |term: &str| match term.split_once('=') {
            Some(("metadata.name", value)) => name == value,
            Some(("spec.nodeName", value)) => object["spec"]["nodeName"] == value,
            _ => panic!("a selection that is not known here: {term}"),
        };
        let label = |term: &str| match term.split_once(" in ") {
            Some((key, values)) => {
                values.trim_matches(['(', ')']).split(',').any(|value| object["metadata"]["labels"][key] == value)
            }
            None => !object["metadata"]["labels"][term].is_null(),
        };
        *plural == self.plural
            && self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
            && self.fields.as_deref().is_none_or(field)
            && self.labels.as_deref().is_none_or(label)
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    format!("{}\n", json!({"type": kind, "object": object})).into()
}

fn key(plural: &str, object: &Value) -> (String, String, String) {
    let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (plural.to_owned(), field("namespace"), field("name"))
}

/// Of `/api/v1/namespaces/NS/services` or `/apis/GROUP/VERSION/PLURAL`.
fn question(parts: &[&str], query: &str) -> Question {
    let rest = if parts[0] == "api" { &parts[1..] } else { &parts[2..] };
    let (namespace, plural) = match rest {
        [_, "namespaces", namespace, plural] => (Some((*namespace).to_owned()), *plural),
        [_, plural] => (None, *plural),
        _ => panic!("a path that is not known here: {parts:?}"),
    };
    let argument = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        let bytes = found.replace('+', " ");
        Some(percent_decoded(&bytes))
    };
    Question {
        plural: plural.to_owned(),
        namespace,
        labels: argument("labelSelector"),
        fields: argument("fieldSelector"),
        since: argument("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or_default(),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(2);
        decoded.push(char::from(u8::from_str_radix(code, 16).unwrap()));
        decoded.push_str(rest);
    }
    decoded
}

fn answer(status: StatusCode, body: &Value) -> Response<Said> {
    let mut answer = Response::new(Full::from(body.to_string()).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

fn refusal(status: u16, message: &str) -> Response<Said> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "Refused", "code": status});
    answer(StatusCode::from_u16(status).unwrap(), &body)
}
