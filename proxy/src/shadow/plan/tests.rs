use http::{Method, Request};
use prometheus_client::metrics::gauge::Gauge;

use super::*;
use crate::{
    net::addr::EndpointAddr,
    observe::metrics::{Metrics, MirrorLabels},
    route::{Destination, Methods, ShadowSettings},
    shadow::sample::WHOLE,
};

struct World {
    metrics: Metrics,
    limits: Limits,
}

impl World {
    fn new() -> Self {
        Self {
            metrics: Metrics::new(),
            limits: Limits {
                budget: Budget::new(1 << 20, Gauge::default()),
                active: Gauge::default(),
                under_way: UnderWay::default(),
            },
        }
    }

    fn mirror(&self, sample_ppm: u32, max_concurrent: u32, endpoints: Result<usize, Unroutable>) -> Arc<Mirror> {
        let labels =
            MirrorLabels { namespace: "mirror".into(), service: "httpbin".into(), rule: "r".into(), mirror: 0 };
        let endpoint = |port| {
            let address = EndpointAddr(([10, 0, 0, 1], port as u16).into());
            Arc::new(Endpoint::new(address, "mirror/v2".into()))
        };
        Arc::new(Mirror {
            index: 0,
            destination: Destination {
                label: "httpbin.mirror/v2".into(),
                endpoints: endpoints.map(|count| (0..count).map(endpoint).collect()),
            },
            sample_ppm,
            settings: ShadowSettings { max_concurrent, ..ShadowSettings::default() },
            metrics: self.metrics.mirror(&labels, "httpbin.mirror/v2"),
        })
    }

    /// How often an outcome was counted.
    fn count(&self, outcome: &str) -> u64 {
        let wanted = format!("outcome=\"{outcome}\"");
        let text = self.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with("understudy_shadow_requests_total"));
        lines
            .filter(|line| line.contains(&wanted))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}

fn head(method: Method) -> Parts {
    Request::builder().method(method).body(()).unwrap().into_parts().0
}

fn candidate(head: &Parts) -> Candidate<'_> {
    let chances = Chances { request: 0, connection: 0, source: [10, 244, 1, 10].into() };
    Candidate { is_shadow: false, not_mirrorable: false, is_overload: false, head, chances }
}

fn plan_one(world: &World, mirror: &Arc<Mirror>, candidate: Candidate<'_>) -> (Shadows, Vec<Sink>) {
    plan(std::slice::from_ref(mirror), candidate, &SizeHint::new(), &world.limits)
}

#[test]
fn each_reason_is_counted_under_its_own_name() {
    let world = World::new();
    let good = world.mirror(WHOLE, 128, Ok(1));
    let get = head(Method::GET);
    let ordinary = || candidate(&get);
    let unlucky = Chances { request: u64::MAX, ..ordinary().chances };
    let mut reads = world.mirror(WHOLE, 128, Ok(1));
    Arc::get_mut(&mut reads).unwrap().settings.methods = Methods::Only([Method::HEAD].into());
    for (mirror, candidate, outcome) in [
        (good.clone(), Candidate { is_shadow: true, ..ordinary() }, "loop"),
        (good.clone(), Candidate { not_mirrorable: true, ..ordinary() }, "not_mirrorable"),
        (world.mirror(1, 128, Ok(1)), Candidate { chances: unlucky, ..ordinary() }, "sampled_out"),
        (reads, ordinary(), "method_excluded"),
        (world.mirror(WHOLE, 128, Ok(0)), ordinary(), "no_endpoint"),
        (world.mirror(WHOLE, 128, Err(Unroutable::UnknownSubset)), ordinary(), "unknown_destination"),
        (good.clone(), Candidate { is_overload: true, ..ordinary() }, "shed_overload"),
        (world.mirror(WHOLE, 0, Ok(1)), ordinary(), "shed_concurrency"),
    ] {
        let (shadows, sinks) = plan_one(&world, &mirror, candidate);
        assert!(shadows.is_empty() && sinks.is_empty(), "{outcome}");
        assert_eq!(world.count(outcome), 1, "{outcome}");
    }
}

#[test]
fn a_request_that_ends_before_its_head_is_written_cancels_its_shadows() {
    let world = World::new();
    let mirror = world.mirror(WHOLE, 1, Ok(1));
    let get = head(Method::GET);
    let ordinary = || candidate(&get);
    drop(plan_one(&world, &mirror, ordinary()));
    assert_eq!(world.count("cancelled"), 1);
    // Its place is free again.
    let (mut shadows, _sinks) = plan_one(&world, &mirror, ordinary());
    shadows.not_mirrorable();
    assert_eq!((world.count("not_mirrorable"), world.count("shed_concurrency")), (1, 0));
}

#[test]
fn the_limit_counts_only_shadows_under_way() {
    let world = World::new();
    let mirror = world.mirror(WHOLE, 2, Ok(1));
    let get = head(Method::GET);
    let ordinary = || candidate(&get);
    let held = [plan_one(&world, &mirror, ordinary()), plan_one(&world, &mirror, ordinary())];
    assert!(plan_one(&world, &mirror, ordinary()).0.is_empty());
    drop(held);
    assert!(!plan_one(&world, &mirror, ordinary()).0.is_empty());
}
