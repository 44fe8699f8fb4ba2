//! Minutes of full load while v2's fault changes every few seconds, and what is left of it afterwards: nothing.
//!
//! A fault comes in two ways in turns: the rule's mirror is pointed at a v2 that has it (a new generation of the table while requests are under
//! way), or the v2 that is mirrored to gets it (connections that are open meet it).

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use integration::{
    fault_matrix::{Fault, Usage, World, row::list, usage::Watch, world::outcomes_between},
    load::{Load, Manner, Report},
    theatre::whole,
};
use serde_json::json;

use crate::{Phase, rounds::LIMITS, state::State};

/// Idle connections go within the final wait; all else is as it is by default, but for the black hole.
pub(crate) const ARGS: [&str; 4] = ["--connect-timeout", "2s", "--upstream-idle-timeout", "5s"];
/// As many as keep two CPUs busy.
const LOAD: Load = Load { connections: 24, streams: 8, pace: None, requests: None, small: false };
const STEP: Duration = Duration::from_secs(5);
/// In the warm-up every fault is met in both ways, so that what is allocated once is allocated.
const WARM_UP: Duration = Duration::from_secs(2);
const WARM_UP_TURNS: usize = 2;
/// How much more memory there may be in the end.
const MEMORY: f64 = 1.05;

/// What happened in the steps of one fault.
struct Lap {
    fault: Fault,
    report: Report,
    highest: Usage,
    /// Most memory in each of its steps, KiB: whether it grows from turn to turn.
    memory: Vec<u64>,
    time: Duration,
}

/// Soaks.
pub(crate) fn endure(world: &World, faults: &[Fault], minutes: f64) -> Result<Phase> {
    let idle = Usage::of(world.agent.pid())?;
    println!(
        "\nsoak: {minutes} minutes, {} connections of HTTP/1.1 and {} streams of HTTP/2 as fast as they are answered, another fault every {} s",
        LOAD.connections,
        LOAD.streams,
        STEP.as_secs()
    );
    laps(world, faults, WARM_UP, WARM_UP_TURNS, Duration::ZERO)?;
    let start = State::at_rest(world, idle.fds)?;
    println!("before: {}", start.line());
    let (before, primaries) = (world.agent.metrics()?, world.v1.requests());
    let laps = laps(world, faults, STEP, 1, Duration::from_secs_f64(minutes * 60.0))?;
    let end = State::at_rest(world, idle.fds)?;
    let after = world.agent.settled()?;

    println!(
        "{:<22} {:>7} {:>9} {:>6} {:>8} {:>9} {:>9} {:>9} {:>9} {:>6} {:>11}",
        "v2",
        "seconds",
        "requests",
        "wrong",
        "req/s",
        "p50 µs",
        "p99 µs",
        "upl. p50",
        "upl. p99",
        "files",
        "memory MiB"
    );
    let mut total = Report::new()?;
    for lap in &laps {
        println!("{}", lap.line());
        total.add(&lap.report)?;
    }
    let turns = laps.iter().map(|lap| lap.memory.len()).max().unwrap_or(0);
    let by_turn = (0..turns).map(|turn| laps.iter().filter_map(|lap| lap.memory.get(turn)).max().copied().unwrap_or(0));
    let by_turn: Vec<_> = by_turn.map(|kib| format!("{:.1}", kib as f64 / 1024.0)).collect();
    println!("most memory in each turn through the faults, MiB: {}", by_turn.join(", "));
    let outcomes = outcomes_between(&before, &after);
    println!("outcomes: {}", list(&outcomes));
    println!("after:  {}", end.line());
    let candidates = whole(after.candidates()) - whole(before.candidates());
    let arrived = world.v1.requests() - primaries;
    let ended: u64 = outcomes.iter().map(|(_, count)| count).sum();
    println!(
        "{} requests ({} MiB uploaded), {} answers wrong; v1 saw {arrived}; {candidates} candidates, {ended} outcomes; memory {:+.1} %",
        total.requests,
        total.uploaded >> 20,
        total.wrong,
        (end.usage.rss as f64 / start.usage.rss as f64 - 1.0) * 100.0
    );

    let mut broken = Vec::new();
    let mut promise = |kept: bool, broke: String| {
        if !kept {
            broken.push(format!("soak: {broke}"))
        }
    };
    promise(total.wrong == 0, total.all_right().err().map(|error| error.to_string()).unwrap_or_default());
    promise(arrived == total.requests, format!("{} requests, but v1 saw {arrived}", total.requests));
    promise(candidates as u64 == total.requests, format!("{} requests, but {candidates} candidates", total.requests));
    promise(ended == candidates as u64, format!("{candidates} candidates, but {ended} outcomes"));
    promise(end.usage.fds <= idle.fds, format!("{} files are open, {} at the start", end.usage.fds, idle.fds));
    promise(end.tasks <= start.tasks, format!("{} tasks have not ended, {} at the start", end.tasks, start.tasks));
    promise(end.origins == 0, format!("{} entries are left in ORIG", end.origins));
    promise(end.netns == start.netns, format!("{} entries in NETNS, {} at the start", end.netns, start.netns));
    promise(end.client.alive() == 0, format!("sockets are left in the client's pod: {}", end.client));
    promise(end.v2.alive() == 0, format!("sockets are left in v2's pod: {}", end.v2));
    promise(end.under_way == 0.0, format!("gauges of what goes on are at {}", end.under_way));
    promise(
        end.usage.rss as f64 <= start.usage.rss as f64 * MEMORY,
        format!("{} KiB of memory, {} at the start: more than {MEMORY} times as much", end.usage.rss, start.usage.rss),
    );
    let broken_bodies: u64 = world.v2.iter().map(|(_, server)| server.broken()).sum();
    promise(broken_bodies == 0, format!("v2 got {broken_bodies} uploads with wrong bytes"));
    let numbers = json!({
        "before": start.json(), "after": end.json(), "requests": total.requests, "wrong": total.wrong,
        "uploaded_bytes": total.uploaded, "candidates": candidates,
        "outcomes": outcomes.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect::<serde_json::Map<_, _>>(),
        "faults": laps.iter().map(Lap::json).collect::<Vec<_>>(),
    });
    Ok(Phase { numbers, broken })
}

/// So many turns through the faults at least, and more until the time is over; the load goes on from the first to the last.
fn laps(world: &World, faults: &[Fault], step: Duration, turns: usize, time: Duration) -> Result<Vec<Lap>> {
    let mut laps: Vec<Lap> = Vec::new();
    let (start, mut steps) = (Instant::now(), 0);
    let running = world.start_load(&LOAD)?;
    for turn in 0.. {
        for &fault in faults {
            if turn >= turns && start.elapsed() >= time {
                running.stop();
                // What ended after the last step's look is the last step's.
                let rest = running.finish()?;
                laps.last_mut().map_or(Ok(()), |lap| lap.report.add(&rest))?;
                return Ok(laps);
            }
            let watch = Watch::over(world.agent.pid());
            let begun = Instant::now();
            come(world, fault, steps % 2 == 1)?;
            steps += 1;
            thread::sleep(step);
            let (report, highest, time) = (running.take()?, watch.highest(), begun.elapsed());
            match laps.iter_mut().find(|lap| lap.fault == fault) {
                Some(lap) => {
                    lap.report.add(&report)?;
                    lap.highest = lap.highest.max(highest);
                    lap.memory.push(highest.rss);
                    lap.time += time;
                }
                None => laps.push(Lap { fault, report, highest, memory: vec![highest.rss], time }),
            }
        }
    }
    Ok(laps)
}

/// Brings a fault into force, in one of the two ways. Nothing is waited for: requests are under way all the time.
fn come(world: &World, fault: Fault, in_place: bool) -> Result<()> {
    let Some(healthy) = world.server(Fault::Healthy) else { return Ok(()) };
    match fault.manner() {
        Some(manner) if in_place => {
            world.switch(Fault::Healthy, LIMITS)?;
            healthy.behave(manner);
        }
        _ => {
            healthy.behave(Manner::Answers);
            world.switch(fault, LIMITS)?;
        }
    }
    Ok(())
}

impl Lap {
    fn line(&self) -> String {
        let Self { fault, report, highest, time, .. } = self;
        let quantile = |histogram: &hdrhistogram::Histogram<u64>, quantile| histogram.value_at_quantile(quantile);
        format!(
            "{:<22} {:>7.0} {:>9} {:>6} {:>8.0} {:>9} {:>9} {:>9} {:>9} {:>6} {:>11.1}",
            fault.name(),
            time.as_secs_f64(),
            report.requests,
            report.wrong,
            report.requests as f64 / time.as_secs_f64(),
            quantile(&report.small, 0.5),
            quantile(&report.small, 0.99),
            quantile(&report.uploads, 0.5),
            quantile(&report.uploads, 0.99),
            highest.fds,
            highest.rss as f64 / 1024.0
        )
    }

    fn json(&self) -> serde_json::Value {
        let quantile = |histogram: &hdrhistogram::Histogram<u64>, quantile| histogram.value_at_quantile(quantile);
        json!({
            "fault": self.fault.name(), "seconds": self.time.as_secs_f64(), "requests": self.report.requests, "wrong": self.report.wrong,
            "small_p50_us": quantile(&self.report.small, 0.5), "small_p99_us": quantile(&self.report.small, 0.99),
            "upload_p50_us": quantile(&self.report.uploads, 0.5), "upload_p99_us": quantile(&self.report.uploads, 0.99),
            "highest_fds": self.highest.fds, "highest_rss_kib": self.memory,
        })
    }
}
