//! The comparisons, as a table: who is asked, for what, for how long, how often.

use crate::{
    load::{Kind, Load},
    ours::{AS_IT_COMES, NO_SHEDDING},
    variant::{
        Flavour::{self, Beside, Dead, Hung, Mirrored, Plain, Slow, Tenth},
        Product, Variant,
    },
};

/// A comparison.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Its name for `--only`, and in the JSON.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) load: Load,
    pub(crate) variants: Vec<Variant>,
    /// Of each run; whole ones where wrk or h2load play.
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
    /// Arguments of our agent.
    pub(crate) args: &'static [&'static str],
}

impl Scenario {
    /// The same, shorter.
    pub(crate) fn quick(mut self) -> Self {
        self.seconds = self.seconds.min(2.0);
        self.rounds = self.rounds.min(2);
        self
    }
}

/// Every product that does any of these.
fn all(flavours: &[Flavour]) -> Vec<Variant> {
    let pairs = Product::ALL.into_iter().flat_map(|product| flavours.iter().map(move |f| Variant::new(product, *f)));
    pairs.filter(|variant| variant.exists()).collect()
}

fn only(products: &[Product], flavours: &[Flavour]) -> Vec<Variant> {
    all(flavours).into_iter().filter(|variant| products.contains(&variant.product)).collect()
}

fn saturating(
    name: &'static str,
    title: &'static str,
    kind: Kind,
    connections: u32,
    (seconds, rounds): (f64, usize),
) -> Scenario {
    let load = Load::Saturating { kind, connections };
    Scenario { name, title, load, variants: all(&[Plain, Mirrored]), seconds, rounds, args: NO_SHEDDING }
}

/// The scenario that says how much each variant can carry, and that most bars are about.
pub(crate) const CAPACITY: &str = "keepalive-64";

/// All of them, in the order in which they are played.
pub(crate) fn table() -> Vec<Scenario> {
    let h2 = [Product::Direct, Product::Understudy, Product::Envoy];
    vec![
        saturating(CAPACITY, "64 connections that stay, small bodies", Kind::Small, 64, (2.0, 5)),
        saturating("close", "a connection for each request, 64 at a time", Kind::Close, 64, (2.0, 5)),
        Scenario {
            args: AS_IT_COMES,
            ..paced(
                "latency",
                "latency at half of what the slowest carries",
                all(&[Plain, Mirrored, Beside]),
                (1.0, 13),
            )
        },
        paced(
            "faults",
            "latency with a v2 that is dead, hung or slow (Envoy: dead)",
            [only(&[Product::Understudy], &[Plain, Dead, Hung, Slow]), only(&[Product::Envoy], &[Plain, Dead])]
                .concat(),
            (1.0, 13),
        ),
        saturating("keepalive-1", "one connection that stays, small bodies", Kind::Small, 1, (1.0, 3)),
        saturating("keepalive-1000", "1,000 connections that stay, small bodies", Kind::Small, 1000, (2.0, 3)),
        saturating("get-10k", "64 connections, bodies of 10 KiB", Kind::Get10K, 64, (1.0, 3)),
        saturating("get-1m", "16 connections, bodies of 1 MiB", Kind::Get1M, 16, (1.0, 3)),
        saturating("upload-1m", "8 connections, uploads of 1 MiB", Kind::Upload1M, 8, (1.0, 3)),
        Scenario {
            variants: only(&h2, &[Plain, Mirrored]),
            ..saturating("http2", "HTTP/2, 8 connections of 16 streams", Kind::Http2 { streams: 16 }, 8, (2.0, 3))
        },
        Scenario {
            variants: only(&h2, &[Plain, Mirrored]),
            ..saturating("grpc", "unary gRPC calls, 8 connections of 16", Kind::Grpc { streams: 16 }, 8, (2.0, 3))
        },
        Scenario {
            variants: only(&h2, &[Tenth]),
            ..saturating("tenth", "one request in ten is mirrored", Kind::Small, 64, (2.0, 3))
        },
    ]
}

/// Many short runs, in turns: a disturbance of seconds then meets every variant, and not a whole run of one.
fn paced(name: &'static str, title: &'static str, variants: Vec<Variant>, (seconds, rounds): (f64, usize)) -> Scenario {
    let load = Load::Paced { share: 0.5, connections: 32 };
    Scenario { name, title, load, variants, seconds, rounds, args: AS_IT_COMES }
}
