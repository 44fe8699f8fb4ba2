//! Beside Istio's own definitions: theirs are used as they are, conditions included, and neither they nor a rule go when the agent goes.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use integration::{
    cluster::{
        Definitions,
        cast::{HOST, NAMESPACE, NEAR},
    },
    paths,
};

use crate::{
    scene::{NotHere, Scene},
    wrong_rule,
};

/// Fails if a rule of Istio's own kinds does not work or gets no condition, or if an uninstall takes a rule with it.
pub(crate) fn play(scene: &Scene) -> Result<()> {
    let kubectl = &scene.cluster.kubectl;
    let _definitions = if Definitions::are_istio_s(kubectl) {
        scene.show("Istio's definitions are in this cluster");
        None
    } else {
        let file = paths::istio_definitions();
        let Ok(text) = fs::read_to_string(&file) else {
            bail!(NotHere(format!("no {}; `cargo xtask test` fetches it", file.display())));
        };
        if scene.is_installed() {
            // Ours would be in the way.
            scene.installation()?.remove(kubectl)?;
        }
        let definitions = Definitions::apply(kubectl, &text)?;
        scene.show(format!("Istio's definitions of istio.io/api {} in the cluster", paths::ISTIO_API));
        Some(definitions)
    };
    let cast = scene.cast()?;
    let took = cast.captured(NEAR)?;
    scene.show(format!("a rule of Istio's kind mirrors, {} ms after it was asked for", took.as_millis()));
    wrong_rule::play(scene)?;
    let installation = scene.installation()?;
    installation.remove(kubectl)?;
    ensure!(Definitions::are_istio_s(kubectl), "Istio's definitions went with us");
    let rule = kubectl.run(&["get", "virtualservice", "-n", NAMESPACE, "httpbin", "-o", "name"]);
    rule.context("the rule went with us")?;
    cast.ask(NEAR, &format!("http://{HOST}/status/200"))?;
    ensure!(cast.listeners(NEAR)? == 0, "the removal leaves a listener");
    scene.show("uninstalled: definitions and rules are still there, nothing of us");
    Ok(())
}
