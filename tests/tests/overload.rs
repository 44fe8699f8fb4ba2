//! When the process gets no CPU, shadows go first and primaries last.

use std::{fs, process::ExitCode, thread, time::Duration};

use anyhow::{Result, ensure};
use integration::{
    Theatre, Wire, case, harness,
    theatre::{GET, MIRROR, NEEDS, Setting, from_v1, whole},
    wait,
};
use nix::sys::signal::Signal;

fn main() -> ExitCode {
    harness::main(&[case!(a_stall_sheds_shadows_and_no_primary).needs(NEEDS), case!(zero_never_sheds).needs(NEEDS)])
}

/// Above the default limit of 100 ms; how much longer it really is does not matter.
const STALL: Duration = Duration::from_millis(400);
/// Connections with a request each; several for each worker.
const CLIENTS: usize = 16;

/// One request on every connection while no thread of the agent runs, as a cgroup's quota or a host without CPU would have it.
fn stall(theatre: &mut Theatre, wires: &mut [Wire]) -> Result<()> {
    let tasks = format!("/proc/{}/task", theatre.agent.pid());
    theatre.agent.process().signal(Signal::SIGSTOP)?;
    wait::until("every thread has stopped", || {
        let states = fs::read_dir(&tasks)?.map(|task| Ok(fs::read_to_string(task?.path().join("stat"))?));
        let states: Vec<String> = states.collect::<Result<_>>()?;
        Ok(states.iter().all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))).then_some(()))
    })?;
    wires.iter_mut().try_for_each(|wire| wire.send(GET))?;
    thread::sleep(STALL);
    theatre.agent.process().signal(Signal::SIGCONT)?;
    wires.iter_mut().try_for_each(|wire| from_v1(&wire.answer()?))
}

fn connections(theatre: &Theatre) -> Result<Vec<Wire>> {
    (0..CLIENTS)
        .map(|_| {
            let mut wire = theatre.dial()?;
            from_v1(&wire.exchange(GET)?)?;
            Ok(wire)
        })
        .collect()
}

/// Fails if the stall is only seen by the probe that comes after the requests, if a primary goes with its shadow, or if the shedding never
/// ends.
fn a_stall_sheds_shadows_and_no_primary() -> Result<()> {
    let mut theatre = Setting::new(MIRROR).args(&["--shadow-shed-lag", "100ms"]).start()?;
    let mut wires = connections(&theatre)?;
    for round in 0..3 {
        let before = theatre.agent.settled()?;
        stall(&mut theatre, &mut wires)?;
        let after = theatre.agent.settled()?;
        let shed = whole(after.outcome("shed_overload")) - whole(before.outcome("shed_overload"));
        ensure!(shed == CLIENTS, "round {round}: {shed} of {CLIENTS} shadows were shed");
        let lag = after.sum("understudy_event_loop_lag_seconds", &[]);
        ensure!(lag >= 0.1, "the gauge says {lag} s");
    }
    let answered = whole(theatre.agent.metrics()?.outcome("answered"));
    wait::until("shadows are taken again", || {
        theatre.ask_v1()?;
        Ok((whole(theatre.agent.settled()?.outcome("answered")) > answered).then_some(()))
    })?;
    let (view, asked) = (theatre.agent.settled()?, theatre.v1.recorder.count());
    let (candidates, shed) = (whole(view.candidates()), whole(view.outcome("shed_overload")));
    ensure!(candidates == asked, "v1 got {asked} requests, {candidates} are counted");
    ensure!(theatre.v2.recorder.count() == asked - shed, "a shadow that was shed came to v2");
    println!("{shed} of {candidates} shadows shed, every primary answered");
    Ok(())
}

/// Fails if 0 is taken for a limit.
fn zero_never_sheds() -> Result<()> {
    let mut theatre = Setting::new(MIRROR).args(&["--shadow-shed-lag", "0"]).start()?;
    let mut wires = connections(&theatre)?;
    stall(&mut theatre, &mut wires)?;
    theatre.outcomes(&[("answered", 2 * CLIENTS)])?;
    Ok(())
}
