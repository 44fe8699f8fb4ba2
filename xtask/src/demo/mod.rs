//! The demo: the steps of Istio's mirroring task in the toy world, each shown with both access logs side by side.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use integration::{
    leftovers,
    seed::{Report, VIP, World},
};

mod page;

use page::Page;

/// Lays the world, plays the steps, prints what they showed.
pub(crate) fn play(keep: bool) -> Result<ExitCode> {
    leftovers::install()?;
    let page = Page::new();
    page.heading("The world: one node without a way out; behind it the pods sleep, httpbin v1, and httpbin v2 twice");
    let mut world = World::lay().context("cannot lay the toy world")?;
    page.world(&world);
    world.start_agent().context("understudy does not start")?;
    page.line("understudy run: ready, its hooks are attached, the sleep pod is enrolled");

    let steps: [fn(&World) -> Result<Report>; 4] =
        [World::no_rule, World::default_route, World::mirror, World::delete_config];
    for (number, step) in steps.into_iter().enumerate() {
        match step(&world) {
            Ok(report) => page.step(number + 1, &report),
            Err(error) => {
                page.failure(&world);
                return Err(
                    error.context(format!("step {} did not show what Istio's mirroring task promises", number + 1))
                );
            }
        }
    }
    let agent = world.agent.as_ref().context("the agent is gone")?;
    page.metrics(&agent.settled()?);
    if keep {
        world.manifests_again()?;
        page.by_hand(&world);
        leftovers::wait_for_signal();
        println!("\nremoving the world");
    }
    if let Some(agent) = world.agent.take() {
        let status = agent.stop()?;
        anyhow::ensure!(status.success(), "understudy did not end well at SIGTERM: {status}");
    }
    drop(world);
    page.line(&format!(
        "All four steps showed what Istio's mirroring task promises (service {VIP}). Nothing of the world is left."
    ));
    Ok(ExitCode::SUCCESS)
}
