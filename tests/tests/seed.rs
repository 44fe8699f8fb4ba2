//! The mirroring task on a real kernel: real eBPF, real httpbin under gunicorn, real curl.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{case, harness, seed::World};

fn main() -> ExitCode {
    harness::main(&[case!(the_four_steps_show_what_the_seed_promises)])
}

/// Fails if the connect hook passes everything (step 2: v2 is asked too), if a shadow keeps its Host (step 3), if a deleted rule
/// keeps its shadows (step 4).
fn the_four_steps_show_what_the_seed_promises() -> Result<()> {
    let mut world = World::lay()?;
    world.start_agent()?;
    world.no_rule()?;
    world.default_route()?;
    world.mirror()?;
    world.delete_config()?;
    let agent = world.agent.take();
    if let Some(agent) = agent {
        ensure!(agent.stop()?.success(), "the agent did not end well at SIGTERM");
    }
    world.unsteered("Agent stopped", "both versions answer")?;
    Ok(())
}
