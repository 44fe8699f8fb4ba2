//! Before anything is measured: does each contestant do what its row will say? A rival that is configured wrongly proves nothing.

use anyhow::{Context as _, Result, ensure};

use crate::{
    cost::Meter,
    load::{Ask, GENTLE, Load},
    pace::Pace,
    rounds::Contestant,
    variant::Carrier,
    world::{HTTP2, Service, World},
};

/// Copies that may be under way when v2 is asked, or that a proxy's statistics of a tenth may vary by.
const SLACK: f64 = 0.05;

/// Asks through the contestant and looks at who got what.
///
/// # Errors
/// With what it does otherwise.
pub(crate) fn check(world: &World, one: Contestant<'_>) -> Result<()> {
    looked_at(world, one).with_context(|| format!("{} is not what it should be", one.name()))
}

fn looked_at(world: &World, one: Contestant<'_>) -> Result<()> {
    let (v1, v2, before) = (world.v1.requests()?, world.v2.requests()?, Meter::read(one.variant.pid())?);
    let (requests, failed) = few(one)?;
    let cost = before.until(Meter::read(one.variant.pid())?);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (v1, v2) = (world.v1.requests()?.saturating_sub(v1 + 1), world.v2.requests()?.saturating_sub(v2 + 1));
    ensure!(failed == 0, "{failed} of {requests} requests failed");
    ensure!(requests > 50, "{requests} requests in a second");
    let requests = requests as f64;
    ensure!((v1 as f64 / requests - 1.0).abs() < SLACK, "the client sent {requests} requests and v1 got {v1}");
    let wanted = match one.service {
        Service::Plain | Service::Plain2 | Service::Dead => 0.0,
        Service::Mirrored | Service::Mirrored2 => 1.0,
        Service::Tenth => 0.1,
    };
    ensure!((v2 as f64 / requests - wanted).abs() < SLACK, "of {requests} requests, v2 got {v2}, not {wanted} of each");
    let passes = cost.process > 0.001;
    ensure!(passes == (one.variant.carrier != Carrier::Direct), "its process used {:.3} s of CPU", cost.process);
    Ok(())
}

/// So few requests that nobody has a reason to shed a copy.
fn few(one: Contestant<'_>) -> Result<(u64, u64)> {
    let (connections, client) = (2, &one.variant.client);
    if one.service.target() == HTTP2 {
        let done = Load { ask: Ask::Http2, connections, seconds: 1 }.gently(client, one.service)?;
        return Ok((done.requests, done.failed));
    }
    let done = Pace { rate: GENTLE * connections as f64, connections, seconds: 1.0 }.run(client, one.service)?;
    Ok((done.requests, done.failed))
}
