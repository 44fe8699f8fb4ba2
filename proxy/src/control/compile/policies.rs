//! How the shadows of a rule behave: field by field the policy of the rule, else of its VirtualService, else of its Service, else the process's
//! settings. `headers.set`, `headers.add` and `headers.remove` are three fields: a policy that only adds one still takes away what the process
//! takes away.

use std::{collections::HashMap, sync::Arc};

use super::{Findings, world::World};
use crate::{
    control::{
        diagnostic::Reason,
        model::{PolicyTarget, ShadowPolicy, VirtualService},
    },
    route::ShadowSettings,
};

/// Policies by what they are for.
#[derive(Debug)]
pub(super) struct Policies<'a> {
    default: &'a ShadowSettings,
    by_target: HashMap<(&'a str, &'a PolicyTarget), &'a ShadowPolicy>,
}

impl<'a> Policies<'a> {
    pub(super) fn new(world: &World<'a>, default: &'a ShadowSettings, findings: &mut Findings) -> Self {
        let mut by_target: HashMap<(&'a str, &'a PolicyTarget), &'a ShadowPolicy> = HashMap::new();
        for &policy in &world.policies {
            let object = format!("ShadowPolicy {}/{}", policy.namespace, policy.name);
            for (target, location) in &policy.targets {
                if !exists(world, &policy.namespace, target) {
                    findings.broken(
                        Reason::NotFound,
                        location,
                        &object,
                        format!("there is no {}", describe(&policy.namespace, target)),
                        "",
                    );
                }
                if let Some(first) = by_target.get(&(&*policy.namespace, target)) {
                    let message =
                        format!("ShadowPolicy {}/{} is for the same target and counts", first.namespace, first.name);
                    findings.broken(Reason::Conflict, location, &object, message, "keep one of them");
                    continue;
                }
                by_target.insert((&policy.namespace, target), policy);
            }
        }
        Self { default, by_target }
    }

    /// Settings of a rule's shadows.
    pub(super) fn settings(&self, rules: &VirtualService, rule: Option<&str>, service: (&str, &str)) -> ShadowSettings {
        let mut settings = self.default.clone();
        if self.by_target.is_empty() {
            return settings;
        }
        let of = |namespace: &str, target: PolicyTarget| self.by_target.get(&(namespace, &target)).copied();
        let of_rules = |section| of(&rules.namespace, PolicyTarget::VirtualService((&*rules.name).into(), section));
        let of_service = of(service.0, PolicyTarget::Service(service.1.into()));
        let of_rule = rule.and_then(|rule| of_rules(Some(rule.into())));
        // The nearest comes last, so that what it says stays.
        for policy in [of_service, of_rules(None), of_rule].into_iter().flatten() {
            apply(policy, &mut settings);
        }
        settings
    }
}

/// What a policy says replaces what was said before.
fn apply(policy: &ShadowPolicy, settings: &mut ShadowSettings) {
    replace(&mut settings.host_suffix, policy.host_suffix.as_deref().map(Arc::from).as_ref());
    replace(&mut settings.timeout, policy.timeout.as_ref());
    replace(&mut settings.max_concurrent, policy.max_concurrent.as_ref());
    replace(&mut settings.buffer_bytes, policy.buffer_bytes.as_ref());
    replace(&mut settings.methods, policy.methods.as_ref());
    replace(&mut settings.headers.remove, policy.remove_headers.as_ref());
    replace(&mut settings.headers.set, policy.set_headers.as_ref());
    replace(&mut settings.headers.add, policy.add_headers.as_ref());
    replace(&mut settings.sampling, policy.sampling.as_ref());
    replace(&mut settings.dscp, policy.dscp.as_ref());
}

fn replace<T: Clone>(setting: &mut T, said: Option<&T>) {
    if let Some(said) = said {
        setting.clone_from(said);
    }
}

fn exists(world: &World<'_>, namespace: &str, target: &PolicyTarget) -> bool {
    match target {
        PolicyTarget::Service(name) => world.services.contains_key(&(namespace, &**name)),
        PolicyTarget::VirtualService(name, section) => world.virtual_services.iter().any(|rules| {
            *rules.namespace == *namespace
                && *rules.name == **name
                && section
                    .as_ref()
                    .is_none_or(|section| rules.rules.iter().any(|rule| rule.name.as_ref() == Some(section)))
        }),
    }
}

fn describe(namespace: &str, target: &PolicyTarget) -> String {
    match target {
        PolicyTarget::Service(name) => format!("Service {namespace}/{name}"),
        PolicyTarget::VirtualService(name, None) => format!("VirtualService {namespace}/{name}"),
        PolicyTarget::VirtualService(name, Some(section)) => {
            format!("rule `{section}` in a VirtualService {namespace}/{name}")
        }
    }
}
