//! How the shadows of a rule behave: the default, changed by the policy that is nearest to the rule.

use std::collections::HashMap;

use super::{Findings, world::World};
use crate::{
    control::model::{PolicyTarget, ShadowPolicy, VirtualService},
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
                    findings.warning(
                        location,
                        &object,
                        format!("there is no {}", describe(&policy.namespace, target)),
                        "",
                    );
                }
                if let Some(first) = by_target.get(&(&*policy.namespace, target)) {
                    let message =
                        format!("ShadowPolicy {}/{} is for the same target and counts", first.namespace, first.name);
                    findings.warning(location, &object, message, "keep one of them");
                    continue;
                }
                by_target.insert((&policy.namespace, target), policy);
            }
        }
        Self { default, by_target }
    }

    /// Settings of a rule's shadows: the policy of the rule, else of its VirtualService, else of its Service.
    pub(super) fn settings(&self, rules: &VirtualService, rule: Option<&str>, service: (&str, &str)) -> ShadowSettings {
        if self.by_target.is_empty() {
            return self.default.clone();
        }
        let of = |namespace: &str, target: PolicyTarget| self.by_target.get(&(namespace, &target)).copied();
        let section = rule.and_then(|rule| {
            of(&rules.namespace, PolicyTarget::VirtualService((&*rules.name).into(), Some(rule.into())))
        });
        let policy = section
            .or_else(|| of(&rules.namespace, PolicyTarget::VirtualService((&*rules.name).into(), None)))
            .or_else(|| of(service.0, PolicyTarget::Service(service.1.into())));
        let mut settings = self.default.clone();
        if let Some(policy) = policy {
            if let Some(suffix) = &policy.host_suffix {
                settings.host_suffix = suffix.as_ref().into();
            }
            settings.timeout = policy.timeout.unwrap_or(settings.timeout);
            settings.max_concurrent = policy.max_concurrent.unwrap_or(settings.max_concurrent);
            settings.buffer_bytes = policy.buffer_bytes.unwrap_or(settings.buffer_bytes);
        }
        settings
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
