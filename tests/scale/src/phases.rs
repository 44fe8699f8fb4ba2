//! The phases of a run, in order: an empty configuration, rules that come while the agent runs, a fresh start, silence, churn, rules that are
//! applied, more nodes.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use integration::{Agent, Node, wait};

use crate::{
    Options,
    api::Api,
    apply::Applied,
    control_plane::{self, ControlPlane},
    meter::{self, Requests},
    population::{self, Size},
    report::{Report, Section, Unit},
    stage::{self, NAMESPACE, NODE, Played, Stage},
    window::Gauge,
};

/// How long the whole cluster may take to be known.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two changes, so that each is one by itself: the agent takes those that come within 20 ms together.
const APART: Duration = Duration::from_millis(100);
/// What came may have to be digested.
const DIGESTION: Duration = Duration::from_secs(2);

/// What all phases know.
struct Run<'a> {
    options: &'a Options,
    node: &'a Node,
    plane: &'a ControlPlane,
    api: &'a Api,
    stage: Stage,
    requests: Requests,
    /// Bytes per second that come when nothing happens.
    idle: f64,
}

/// Plays all of them.
///
/// # Errors
/// With the first thing that goes wrong.
pub(crate) fn all(options: &Options, node: &Node, plane: &ControlPlane, api: &Api, report: &mut Report) -> Result<()> {
    let size = &options.size;
    let start = Instant::now();
    stage::install(api)?;
    size.fill(api)?;
    println!("\nthe cluster is there ({:.0} s)", start.elapsed().as_secs_f32());
    let stage = Stage::lay(node, api, size)?;
    let requests = Requests::from_now(plane.audit_log());
    let mut run = Run { options, node, plane, api, stage, requests, idle: 0.0 };

    let agent = run.without_rules(report)?;
    run.rules_come(&agent, report)?;
    drop(agent);
    let agent = run.start(report)?;
    run.silence(&agent, report)?;
    run.elsewhere(&agent, report)?;
    run.replaced(&agent, "endpoints", "one agent", report)?;
    run.edited(&agent, report)?;
    run.applied(&agent, report)?;
    let others = run.more(&agent, report)?;
    if !others.is_empty() {
        run.replaced(&agent, "endpoints_with_more_agents", "all agents", report)?;
    }
    drop((others, agent));
    Ok(())
}

impl Run<'_> {
    fn size(&self) -> &Size {
        &self.options.size
    }

    /// Starts the agent without what a former one kept, and waits until it is ready.
    fn agent(&self) -> Result<(Agent, Duration)> {
        let state = self.node.dir().join("state");
        if state.exists() {
            fs::remove_dir_all(&state)?;
        }
        let begun = Instant::now();
        let agent = self.stage.agent(self.node, self.plane, NODE).start()?;
        let ready = begun.elapsed();
        let enrolled = agent.metrics()?.sum("understudy_enrolled_actual", &[]);
        ensure!(enrolled == self.stage.pods() as f64, "{enrolled} of {} pods are enrolled", self.stage.pods());
        Ok((agent, ready))
    }

    /// Bytes that have come over the link so far, whoever asked.
    fn received(&self) -> Result<u64> {
        meter::received(self.stage.init(), self.plane.pod.host_interface())
    }

    /// The cluster has many objects, and none of them is a rule.
    fn without_rules(&mut self, report: &mut Report) -> Result<Agent> {
        let before = self.received()?;
        let (agent, ready) = self.agent()?;
        thread::sleep(DIGESTION);
        let mut section = Section::new("no_rules", "no rules yet");
        section.add("ready", "start to ready", ready.as_secs_f64() * 1e3, Unit::Millis);
        section.add("received", "bytes received", (self.received()? - before) as f64, Unit::Bytes);
        self.connections(&agent, &mut section)?;
        add_memory(&agent, &mut section)?;
        report.add(section);
        self.requests.take()?;
        Ok(agent)
    }

    /// All rules come at once.
    fn rules_come(&mut self, agent: &Agent, report: &mut Report) -> Result<()> {
        let before = meter::memory(agent.pid())?;
        let window = Gauge::new(agent, self.plane).begin()?;
        let generation = agent.metrics()?.generation();
        let begun = Instant::now();
        self.size().rule(self.api)?;
        let written = begun.elapsed();
        wait::until_or("all rules are in force", PATIENCE, || {
            Ok(agent.log().contains(&format!("destinations={}", self.size().rules)).then_some(()))
        })?;
        let in_force = begun.elapsed();
        thread::sleep(DIGESTION);
        let used = window.end()?;
        let rules = self.size().rules;
        let mut section = Section::new("rules_come", format!("{rules} rules come while it runs"));
        section
            .add("written", "time in which they were written", written.as_secs_f64(), Unit::Seconds)
            .add("in_force", "until all were in force", in_force.as_secs_f64(), Unit::Seconds)
            .add("generations", "generations", agent.metrics()?.generation() - generation, Unit::Count)
            .add("received", "bytes received", used.received as f64, Unit::Bytes)
            .add("agent_cpu", "agent: CPU", used.agent.as_secs_f64(), Unit::Seconds);
        add_requests(&mut self.requests, &mut section)?;
        add_memory(agent, &mut section)?;
        let grown = meter::memory(agent.pid())?.resident.saturating_sub(before.resident) * 1024;
        section.add("resident_per_rule", "resident memory per rule", grown as f64 / rules.max(1) as f64, Unit::Bytes);
        report.add(section);
        Ok(())
    }

    /// A start into a cluster with rules, as after an upgrade of the node.
    fn start(&mut self, report: &mut Report) -> Result<Agent> {
        // What the former agent's connections had left over.
        thread::sleep(DIGESTION);
        self.requests.take()?;
        let before = self.received()?;
        let server = meter::cpu(self.plane.pid())?;
        let (agent, ready) = self.agent()?;
        let cpu = meter::cpu(agent.pid())?;
        thread::sleep(DIGESTION);
        let server = meter::cpu(self.plane.pid())?.saturating_sub(server);
        let mut section = Section::new("start", "a fresh start with all rules");
        section
            .add("ready", "start to ready", ready.as_secs_f64() * 1e3, Unit::Millis)
            .add("agent_cpu", "agent: CPU until then", cpu.as_secs_f64() * 1e3, Unit::Millis)
            .add("server_cpu", "API server: CPU", server.as_secs_f64() * 1e3, Unit::Millis)
            .add("received", "bytes received", (self.received()? - before) as f64, Unit::Bytes);
        self.connections(&agent, &mut section)?;
        add_requests(&mut self.requests, &mut section)?;
        add_memory(&agent, &mut section)?;
        report.add(section);
        Ok(agent)
    }

    /// Nothing happens. What comes all the same (bookmarks, the Lease) is taken off the other phases' bytes.
    fn silence(&mut self, agent: &Agent, report: &mut Report) -> Result<()> {
        // Whoever holds the Lease looks at every rule once, to see whether there is something to be said at it.
        wait::until_or("the agent has nothing more to ask", PATIENCE, || {
            thread::sleep(Duration::from_secs(5));
            Ok(self.requests.take()?.keys().all(|what| what.contains("leases")).then_some(()))
        })?;
        let window = Gauge::new(agent, self.plane).begin()?;
        thread::sleep(Duration::from_secs(self.options.idle.max(1)));
        let used = window.end()?;
        let seconds = used.time.as_secs_f64();
        self.idle = used.received as f64 / seconds;
        let mut section = Section::new("idle", format!("nothing happens for {seconds:.0} s"));
        section.add("received_per_minute", "bytes received per minute", self.idle * 60.0, Unit::Bytes).add(
            "agent_cpu",
            "agent: CPU",
            used.agent.as_secs_f64() / seconds * 100.0,
            Unit::Percent,
        );
        add_memory(agent, &mut section)?;
        report.add(section);
        Ok(())
    }

    /// Pods of other nodes and of services without a rule come, run and go: half of them in namespaces that have rules of other services.
    fn elsewhere(&mut self, agent: &Agent, report: &mut Report) -> Result<()> {
        let (size, events) = (self.size(), self.options.events);
        let unruled = size.services - size.rules;
        ensure!(unruled > 0, "there is no service without a rule");
        let before = agent.metrics()?.generation();
        let pods: Vec<_> =
            (0..events).map(|number| size.resident(size.rules + number % unruled).successor(size, number)).collect();
        let window = Gauge::new(agent, self.plane).begin()?;
        for pod in &pods {
            for ask in [pod.create(), pod.run(), pod.delete()] {
                self.api.ask(ask)?;
            }
        }
        for number in 0..events {
            let service = size.rules + number % unruled;
            let (namespace, name) = size.service(service);
            let mut residents = size.residents_of(service);
            self.api.ask(population::endpoints(&namespace, &name, &residents[1..]))?;
            residents.rotate_left(1);
            self.api.ask(population::endpoints(&namespace, &name, &residents))?;
        }
        thread::sleep(DIGESTION);
        let used = window.end()?;
        let mut section = Section::new(
            "elsewhere",
            "pods of services without a rule come, run and go on other nodes, endpoints change",
        );
        used.per(events, "pod", self.idle, &mut section);
        section.add("generations", "generations", agent.metrics()?.generation() - before, Unit::Count);
        report.add(section);
        Ok(())
    }

    /// Pods of ruled services are replaced by others: one rollout after the other.
    fn replaced(&mut self, agent: &Agent, key: &'static str, whose: &str, report: &mut Report) -> Result<()> {
        let (size, events) = (self.size(), self.options.events.min(self.size().rules));
        let before = agent.metrics()?.generation();
        let idle = self.idle;
        let window = Gauge::new(agent, self.plane).begin()?;
        for number in 0..events {
            let (namespace, name) = size.service(number);
            let mut residents = size.residents_of(number);
            let old = residents[0].clone();
            let new = old.successor(size, number);
            self.api.ask(new.create())?;
            self.api.ask(new.run())?;
            residents[0] = new.clone();
            self.api.ask(population::endpoints(&namespace, &name, &residents))?;
            thread::sleep(APART / 2);
            // And back again, so that the cluster is what it was.
            residents[0] = old;
            self.api.ask(population::endpoints(&namespace, &name, &residents))?;
            self.api.ask(new.delete())?;
            thread::sleep(APART / 2);
        }
        thread::sleep(DIGESTION);
        let used = window.end()?;
        let mut section =
            Section::new(key, format!("pods of ruled services come and go, and are endpoints meanwhile ({whose})"));
        used.per(events, "pod", idle, &mut section);
        section.add("generations", "generations", agent.metrics()?.generation() - before, Unit::Count);
        report.add(section);
        Ok(())
    }

    /// Rules say another share.
    fn edited(&mut self, agent: &Agent, report: &mut Report) -> Result<()> {
        let (size, events) = (self.size(), self.options.events);
        let before = agent.metrics()?.generation();
        let window = Gauge::new(agent, self.plane).begin()?;
        for number in 0..events {
            let percent = if (number / size.rules.max(1)).is_multiple_of(2) { 50 } else { 100 };
            self.api.ask(size.edit(number % size.rules, percent))?;
            thread::sleep(APART);
        }
        thread::sleep(DIGESTION);
        let used = window.end()?;
        let mut section = Section::new("edits", "rules are edited");
        used.per(events, "edit", self.idle, &mut section);
        section.add("generations", "generations", agent.metrics()?.generation() - before, Unit::Count);
        report.add(section);
        Ok(())
    }

    /// From `kubectl apply` to the first shadow, in a namespace without other rules and in one with others.
    fn applied(&mut self, agent: &Agent, report: &mut Report) -> Result<()> {
        let times = self.options.applies;
        let others = self.size().rules.div_ceil(self.size().namespaces);
        let alone = Played::new(NAMESPACE, 0);
        self.stage.play(self.node, self.api, &alone)?;
        // Each is for another service: that the agent has just known this one shall not help.
        let beside = (1..=times).map(|number| Played::new(&self.size().namespace(0), number)).collect::<Vec<_>>();
        beside.iter().try_for_each(|played| self.stage.play(self.node, self.api, played))?;
        for (key, words, services) in [
            ("apply_first", "the first rule of its namespace is applied and deleted".to_owned(), vec![alone; times]),
            ("apply_beside", format!("a rule beside {others} others of its namespace is applied and deleted"), beside),
        ] {
            thread::sleep(DIGESTION);
            let window = Gauge::new(agent, self.plane).begin()?;
            let mut applied = Applied::new()?;
            services.iter().try_for_each(|played| applied.once(&self.stage, self.api, played))?;
            let used = window.end()?;
            let mut section = Section::new(key, words);
            section
                .times("first_shadow", "API server's answer to first shadow", &applied.answered)
                .times("first_shadow_from_request", "request to first shadow", &applied.asked)
                .times("last_shadow", "request to delete to last shadow", &applied.deleted)
                .add("client_requests", "requests of the client, all answered", applied.requests as f64, Unit::Count);
            let each = used.beyond(self.idle) / times.max(1) as f64;
            section.add("each", "bytes per rule applied and deleted", each, Unit::Bytes);
            report.add(section);
        }
        Ok(())
    }

    /// What each further node costs the API server.
    fn more(&mut self, agent: &Agent, report: &mut Report) -> Result<Vec<Agent>> {
        let count = self.options.agents;
        if count == 0 {
            return Ok(Vec::new());
        }
        let before = live(self.api)?;
        let resident = meter::memory(self.plane.pid())?.resident;
        let connections = meter::connections(agent.pid(), control_plane::PORT)?;
        let window = Gauge::new(agent, self.plane).begin()?;
        let mut agents = (1..)
            .take(count)
            .map(|number: u16| {
                let name = self.size().node(number.into());
                self.stage.agent(self.node, self.plane, &name).beside(&name, number * 2).spawn()
            })
            .collect::<Result<Vec<_>>>()?;
        agents.iter_mut().try_for_each(Agent::wait_ready)?;
        let ready = window.end()?;
        thread::sleep(DIGESTION);
        let used = window.end()?;
        let now = live(self.api)?;
        let each = |value: f64| value / count as f64;
        let mut section = Section::new("more_agents", format!("{count} more agents start at once"));
        section
            .add("ready", "until the last is ready", ready.time.as_secs_f64(), Unit::Seconds)
            .add("received", "bytes received, per agent", each(used.received as f64), Unit::Bytes)
            .add("server_cpu", "API server: CPU, per agent", each(used.server.as_secs_f64()) * 1e3, Unit::Millis)
            .add(
                "connections",
                "connections, per agent",
                each(meter::connections(agent.pid(), control_plane::PORT)? as f64 - connections as f64),
                Unit::Count,
            )
            .add(
                "goroutines",
                "API server: goroutines, per agent",
                each(now.goroutines - before.goroutines),
                Unit::Count,
            )
            .add("server_live", "API server: live memory, per agent", each(now.memory - before.memory), Unit::Bytes)
            .add(
                "server_resident",
                "API server: resident memory, per agent (with what the start left)",
                each((meter::memory(self.plane.pid())?.resident as f64 - resident as f64) * 1024.0),
                Unit::Bytes,
            );
        report.add(section);
        Ok(agents)
    }

    fn connections(&self, agent: &Agent, section: &mut Section) -> Result<()> {
        let connections = meter::connections(agent.pid(), control_plane::PORT)?;
        section.add("connections", "connections to the API server", connections as f64, Unit::Count);
        Ok(())
    }
}

fn add_memory(agent: &Agent, section: &mut Section) -> Result<()> {
    let memory = meter::memory(agent.pid())?;
    section.add("resident", "agent: resident memory", memory.resident as f64 * 1024.0, Unit::Bytes).add(
        "anonymous",
        "agent: of it anonymous",
        memory.anonymous as f64 * 1024.0,
        Unit::Bytes,
    );
    Ok(())
}

fn add_requests(requests: &mut Requests, section: &mut Section) -> Result<()> {
    for (what, count) in requests.take()? {
        section.add(&what.replace(' ', "_"), &format!("requests: {what}"), count as f64, Unit::Count);
    }
    Ok(())
}

/// What the API server holds, after a collection of its garbage.
struct Live {
    memory: f64,
    goroutines: f64,
}

fn live(api: &Api) -> Result<Live> {
    // Twice: what lies in pools outlives the first.
    for _ in 0..2 {
        api.get("/debug/pprof/heap?gc=1&debug=1").context("no profile of the API server's heap")?;
    }
    let metrics = api.metrics()?;
    let of = |name: &str| metrics.sum(name, &[]);
    Ok(Live {
        memory: of("go_memstats_heap_alloc_bytes") + of("go_memstats_stack_inuse_bytes"),
        goroutines: of("go_goroutines"),
    })
}
