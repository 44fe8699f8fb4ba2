//! What a set of manifests becomes. Every test reads the dump, which shows all that the data path sees.

mod endpoints;
mod hosts;
mod policies;
mod rules;
mod static_pods;

use std::sync::Arc;

use serde_json::Value;

use crate::{
    control::{Applied, Controller, ManifestText, Settings, Store, diagnostic::Diagnostic, dump::Dump},
    observe::metrics::Metrics,
};

const WORLD: &str = include_str!("../../../../tests/fixtures/manifests/world.yaml");
const DEFAULT_ROUTE: &str = include_str!("../../../../tests/fixtures/manifests/valid/seed-default-route.yaml");
const MIRROR: &str = include_str!("../../../../tests/fixtures/manifests/valid/seed-mirror.yaml");

fn load(texts: &[&str]) -> Arc<Applied> {
    load_in("cluster.local", texts)
}

fn load_in(cluster_domain: &str, texts: &[&str]) -> Arc<Applied> {
    load_with(Settings { cluster_domain: cluster_domain.into(), ..Settings::default() }, texts)
}

fn load_with(settings: Settings, texts: &[&str]) -> Arc<Applied> {
    let metrics = Arc::new(Metrics::new());
    let store = Arc::new(Store::new(Arc::clone(&metrics)));
    let manifest =
        |(number, text): (usize, &&str)| ManifestText { path: format!("{number}").into(), text: Ok((*text).into()) };
    let texts: Vec<_> = texts.iter().enumerate().map(manifest).collect();
    Controller::new(settings, metrics, store)
        .start(&texts)
        .unwrap_or_else(|rejected| panic!("{:#?}", rejected.diagnostics))
}

fn dump(texts: &[&str]) -> Value {
    serde_json::to_value(Dump::of(&load(texts))).unwrap()
}

/// A Service in `mirror` without endpoints.
fn service(name: &str, spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: mirror}}, spec: {spec}}}\n---\n")
}

/// A VirtualService in a namespace, with one rule that sends `host` to itself.
fn rules(namespace: &str, name: &str, host: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}, namespace: {namespace}}}, \
         spec: {{hosts: ['{host}'], http: [{{route: [{{destination: {{host: httpbin.mirror.svc.cluster.local}}}}]}}]}}}}\n---\n"
    )
}

fn messages(applied: &Applied) -> Vec<String> {
    applied.diagnostics.iter().map(|Diagnostic { message, .. }| message.clone()).collect()
}

fn addresses(applied: &Applied) -> Vec<String> {
    applied.capture.ports.keys().map(ToString::to_string).collect()
}
