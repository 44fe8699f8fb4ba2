//! An API server for tests that has Leases, rules and Events, refuses what comes with an old version, and writes down who wrote what.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::sleep;
use tower_test::mock;

/// A request that changes something.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Write {
    /// Who.
    pub(super) who: String,
    /// What: `PATCH /apis/…/status`.
    pub(super) what: String,
    pub(super) body: Value,
}

#[derive(Default)]
struct State {
    /// By path.
    objects: BTreeMap<String, Value>,
    version: u64,
    writes: Vec<Write>,
    reads: Vec<String>,
    /// Every request is answered so.
    refusing: Option<u16>,
    /// Requests with this in their path are answered so.
    refusing_of: Option<(String, u16)>,
    /// Every answer takes so long.
    slow: Duration,
    /// Most objects of one page of a list; 0 = all.
    page: usize,
}

/// The server, in the hands of the test.
#[derive(Clone, Default)]
pub(super) struct Fake(Rc<RefCell<State>>);

pub(super) const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/understudy-system/leases/understudy-reporter";

/// The path of a rule.
pub(super) fn rule(name: &str) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/mirror/virtualservices/{name}")
}

impl Fake {
    /// A client of it, whose requests are known by a name. Answers are given by tasks of this `LocalSet`.
    pub(super) fn client(&self, who: &'static str) -> kube::Client {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Full<Bytes>>>();
        let fake = self.clone();
        tokio::task::spawn_local(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let fake = fake.clone();
                tokio::task::spawn_local(async move {
                    let slow = fake.0.borrow().slow;
                    if !slow.is_zero() {
                        sleep(slow).await;
                    }
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                    let body = serde_json::from_slice(&body).unwrap_or_default();
                    answer.send_response(fake.0.borrow_mut().answer(who, &head.method, &head.uri, body));
                });
            }
        });
        kube::Client::new(service, "default")
    }

    /// Puts an object there, as somebody else would.
    pub(super) fn put(&self, path: &str, object: Value) {
        self.0.borrow_mut().store(path, object);
    }

    /// What is there.
    pub(super) fn get(&self, path: &str) -> Value {
        self.0.borrow().objects.get(path).cloned().unwrap_or_default()
    }

    /// A VirtualService without status.
    pub(super) fn put_rule(&self, name: &str) {
        self.put(&rule(name), json!({"metadata": {"name": name, "namespace": "mirror", "generation": 1}}));
    }

    /// Answers every request so; `None`: well again.
    pub(super) fn refuse(&self, status: Option<u16>) {
        self.0.borrow_mut().refusing = status;
    }

    /// Answers requests with this in their path so.
    pub(super) fn refuse_of(&self, part: &str, status: u16) {
        self.0.borrow_mut().refusing_of = Some((part.to_owned(), status));
    }

    /// Every answer takes so long.
    pub(super) fn slow(&self, time: Duration) {
        self.0.borrow_mut().slow = time;
    }

    /// Lists come in pages of so many objects.
    pub(super) fn pages_of(&self, number: usize) {
        self.0.borrow_mut().page = number;
    }

    /// Writes since the last call.
    pub(super) fn writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.0.borrow_mut().writes)
    }

    /// Who wrote conditions since the last call, and at which objects. Leases and Events are left out.
    pub(super) fn conditions(&self) -> Vec<(String, String)> {
        let name =
            |write: &Write| write.what.strip_suffix("/status")?.rsplit_once('/').map(|(_, name)| name.to_owned());
        self.writes().into_iter().filter_map(|write| Some((write.who.clone(), name(&write)?))).collect()
    }

    /// Paths that were read since the last call.
    pub(super) fn reads(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().reads)
    }
}

impl State {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn answer(&mut self, who: &str, method: &Method, uri: &Uri, body: Value) -> Response<Full<Bytes>> {
        let path = uri.path();
        if *method == Method::GET {
            self.reads.push(path.to_owned());
        } else {
            self.writes.push(Write { who: who.to_owned(), what: format!("{method} {path}"), body: body.clone() });
        }
        if let Some(status) = self.refusing {
            return refusal(status);
        }
        if let Some((part, status)) = &self.refusing_of
            && path.contains(part)
        {
            return refusal(*status);
        }
        match method.as_str() {
            "GET" => self.read(path, uri.query().unwrap_or_default()),
            // Nothing is made of Events.
            "POST" if path.contains("/events") => said(&body),
            "POST" => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
                if self.objects.contains_key(&path) { refusal(409) } else { said(&self.store(&path, body)) }
            }
            "PUT" | "PATCH" => self.change(path, &body),
            _ => refusal(405),
        }
    }

    fn read(&self, path: &str, query: &str) -> Response<Full<Bytes>> {
        if let Some(object) = self.objects.get(path) {
            return said(object);
        }
        let parts: Vec<_> = path.split('/').collect();
        let [_, "apis", group, version, ref rest @ ..] = parts[..] else { return refusal(404) };
        let of_version = format!("/apis/{group}/{version}/");
        if group.contains("istio") && !self.objects.keys().any(|path| path.starts_with(&of_version)) {
            return Response::builder().status(404).body(Full::from("404 page not found")).unwrap();
        }
        // `/apis/GROUP/VERSION/PLURAL`: those of every namespace.
        let [plural] = rest else { return refusal(404) };
        let is_one = |path: &String| path.starts_with(&of_version) && path.contains(&format!("/{plural}/"));
        let items: Vec<_> = self.objects.iter().filter(|(path, _)| is_one(path)).map(|(_, object)| object).collect();
        // The token is the number of the objects before.
        let token = query.split('&').find_map(|pair| pair.strip_prefix("continue=")?.parse().ok());
        let from = token.unwrap_or(0_usize).min(items.len());
        let to = if self.page == 0 { items.len() } else { (from + self.page).min(items.len()) };
        let token = if to < items.len() { to.to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": "1", "continue": token});
        said(&json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items[from..to]}))
    }

    fn change(&mut self, path: &str, body: &Value) -> Response<Full<Bytes>> {
        let of = path.strip_suffix("/status");
        let path = of.unwrap_or(path);
        let Some(before) = self.objects.get(path) else { return refusal(404) };
        let version = &body["metadata"]["resourceVersion"];
        if !version.is_null() && *version != before["metadata"]["resourceVersion"] {
            return refusal(409);
        }
        let after = if of.is_some() {
            let mut object = before.clone();
            object["status"] = body["status"].clone();
            object
        } else {
            body.clone()
        };
        said(&self.store(path, after))
    }
}

fn said(object: &Value) -> Response<Full<Bytes>> {
    Response::new(Full::from(object.to_string()))
}

fn refusal(status: u16) -> Response<Full<Bytes>> {
    let reason = match status {
        404 => "NotFound",
        409 => "Conflict",
        _ => "Refused",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "refused", "reason": reason, "code": status});
    let mut answer = said(&body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}
