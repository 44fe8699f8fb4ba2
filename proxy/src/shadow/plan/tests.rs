use std::time::Duration;

use http::{Method, Request};
use prometheus_client::metrics::gauge::Gauge;

use super::*;
use crate::{
    net::addr::{ClientAddr, EndpointAddr, OriginalDst},
    observe::{
        access_log::{AccessLog, PrimaryLine, RequestIds},
        metrics::{Metrics, MirrorLabels, RuleLabels},
    },
    route::{Destination, Methods, ShadowSettings},
    settings::{AccessLogSettings, AccessLogTarget, LogFormat},
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
        let rule = RuleLabels { namespace: "mirror".into(), service: "httpbin".into(), rule: "r".into() };
        let labels = MirrorLabels { rule, mirror: 0 };
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
            metrics: self.metrics.mirror(&labels, &"httpbin.mirror/v2".into()),
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
    let identity = Identity { request: RequestIds::new(0).next(), trace: None };
    Candidate { is_shadow: false, not_mirrorable: false, is_overload: false, head, chances, identity, tie: None }
}

fn plan_one(world: &World, mirror: &Arc<Mirror>, candidate: Candidate<'_>) -> (Shadows, Vec<Sink>) {
    plan(std::slice::from_ref(mirror), candidate, &SizeHint::new(), &world.limits)
}

/// Fails if one of the reasons has no line in the access log, or two.
#[test]
fn each_reason_is_counted_and_logged_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let target = Some(AccessLogTarget::File(path.clone()));
    let log = AccessLog::open(&AccessLogSettings { target, format: LogFormat::Text }).unwrap();
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
        let id = RequestIds::new(0).next();
        let tie = log.request(id, &get).unwrap();
        let (shadows, sinks) = plan_one(&world, &mirror, Candidate { tie: Some(&tie), ..candidate });
        assert!(shadows.is_empty() && sinks.is_empty(), "{outcome}");
        assert_eq!(world.count(outcome), 1, "{outcome}");
        tie.primary(&primary(&tie));
        log.flush(Duration::from_secs(60));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.matches(&format!("{id} shadow \"GET / HTTP/1.1\" - 0 0 0.000ms \"-\" {outcome} ")).count(),
            1,
            "{text}"
        );
    }
    // It was never sent, so it took no time.
    assert!(world.metrics.render().contains("shadow_duration_seconds_count{namespace=\"mirror\",service=\"httpbin\",rule=\"r\",mirror=\"0\",destination=\"httpbin.mirror/v2\"} 0\n"));
}

fn primary(tie: &Tie) -> PrimaryLine<'_> {
    PrimaryLine {
        id: tie.id(),
        pod: "mirror/sleep-0",
        client: ClientAddr(([10, 244, 1, 10], 51234).into()),
        original: OriginalDst(([10, 96, 0, 10], 8000).into()),
        request: tie.request(),
        authority: b"httpbin",
        rule: tie.rule(),
        destination: None,
        endpoint: None,
        status: Some(200),
        received: 0,
        sent: 0,
        duration: Duration::from_millis(1),
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
