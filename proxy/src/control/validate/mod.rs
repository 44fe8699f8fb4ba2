//! From wire structs to the model: every rule that one object can break by itself.
//!
//! Comes in: a decoded object and a reporter that knows its text. Goes out: a model object, or nothing and at least one error. Never:
//! other objects (whether a Service exists is `compile`'s question). The rules are those of Istio's `pkg/config/validation`, as far as
//! they touch fields that we honour.

mod actions;
mod core;
mod destination_rule;
pub mod header_ops;
mod matching;
pub mod names;
mod shadow_policy;
mod virtual_service;

use serde_yaml::Value;

use super::{
    manifest::{decode::decode, reporter::Reporter},
    model::{Kind, Object, ObjectId},
};

/// Decodes and checks one object. `None` if it must not be applied; the reporter then holds an error.
#[must_use]
pub fn object(id: &ObjectId, value: Value, cluster_domain: &str, reporter: &mut Reporter<'_>) -> Option<Object> {
    let object = match id.kind {
        Kind::Namespace => core::namespace(id, decode(id.kind, value, reporter)?, reporter).map(Object::Namespace),
        Kind::Service => core::service(id, decode(id.kind, value, reporter)?, reporter).map(Object::Service),
        Kind::Pod => core::pod(id, decode(id.kind, value, reporter)?, reporter).map(Box::new).map(Object::Pod),
        Kind::EndpointSlice => {
            core::endpoint_slice(id, decode(id.kind, value, reporter)?, reporter).map(Object::EndpointSlice)
        }
        Kind::VirtualService => virtual_service::check(id, value, cluster_domain, reporter).map(Object::VirtualService),
        Kind::DestinationRule => {
            destination_rule::check(id, decode(id.kind, value, reporter)?, cluster_domain, reporter)
                .map(Object::DestinationRule)
        }
        Kind::ShadowPolicy => shadow_policy::check(id, decode(id.kind, value, reporter)?, reporter)
            .map(Box::new)
            .map(Object::ShadowPolicy),
    };
    object.filter(|_| !reporter.broken())
}
