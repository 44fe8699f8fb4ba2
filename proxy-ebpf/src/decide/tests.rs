use std::cell::{Cell, RefCell};

use proxy_common::{Address, address_v4};

use super::*;

const VIP: [u8; 4] = [10, 96, 0, 10];
const POD: [u8; 4] = [10, 0, 0, 2];
const POD6: &str = "fd00::2";
const VIP6: &str = "fd96::10";
const PORT: u16 = 8000;
const MARK: u32 = 0x1000;

fn bytes6(text: &str) -> Address {
    text.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

fn ip6(text: &str) -> Words {
    words(&bytes6(text))
}

/// A kernel in which everything is right for a redirect; each test spoils one thing.
struct Fake {
    config: CaptureConfig,
    netns: Option<NetnsEntry>,
    mark: u32,
    bound_device: u32,
    own: Endpoint,
    rules: Vec<(RuleKey, RuleEntry)>,
    age: u64,
    found: Option<Found>,
    room: bool,
    stored: RefCell<Option<SocketOrigin>>,
    forgotten: Cell<u32>,
    counted: RefCell<Vec<Counter>>,
    reported: RefCell<Vec<(Counter, u32, bool)>>,
    asked: RefCell<Vec<&'static str>>,
    looked_at: Cell<Option<Endpoint>>,
}

impl Fake {
    fn new() -> Self {
        let rule = RuleEntry { rule: 7, flags: 0, generation: 3 };
        Self {
            config: CaptureConfig { stale_ns: 1000, abi: ABI, mark: MARK, mark_mask: MARK, flags: 0 },
            netns: Some(NetnsEntry {
                ip6: bytes6(POD6),
                listen6: bytes6("::1"),
                ip4: POD,
                flags: HAS_V4 | HAS_V6 | BIND_V4 | BIND_V6,
                port4: 4004,
                port6: 4006,
                generation: 1,
            }),
            mark: 0,
            bound_device: 0,
            own: Endpoint::v4([0; 4], 0),
            rules: vec![(RuleKey::v4(VIP, PORT), rule), (RuleKey::v6(bytes6(VIP6), PORT), rule)],
            age: 10,
            found: Some(Found { state: LISTEN, mark: MARK }),
            room: true,
            stored: RefCell::default(),
            forgotten: Cell::default(),
            counted: RefCell::default(),
            reported: RefCell::default(),
            asked: RefCell::default(),
            looked_at: Cell::default(),
        }
    }

    fn closed(mut self) -> Self {
        for (_, rule) in &mut self.rules {
            rule.flags = CLOSED;
        }
        self
    }

    fn counted(&self) -> Vec<Counter> {
        self.counted.borrow().clone()
    }

    fn asked(&self, what: &'static str) -> bool {
        self.asked.borrow().contains(&what)
    }
}

impl Kernel for Fake {
    fn config(&self) -> Option<&CaptureConfig> {
        Some(&self.config)
    }
    fn netns(&self) -> Option<&NetnsEntry> {
        self.asked.borrow_mut().push("netns");
        self.netns.as_ref()
    }
    fn marks(&self) -> (u32, u32) {
        (self.mark, self.bound_device)
    }
    fn source(&self) -> Source {
        Source::of(&self.own)
    }
    fn rule(&self, to: &Endpoint) -> Option<&RuleEntry> {
        self.asked.borrow_mut().push("rule");
        self.rules.iter().find(|(known, _)| *known == rule_key(to)).map(|(_, rule)| rule)
    }
    fn heartbeat_age(&self) -> u64 {
        self.asked.borrow_mut().push("heartbeat");
        self.age
    }
    fn listener(&self, netns: &NetnsEntry, family: u8) -> Option<Found> {
        self.asked.borrow_mut().push("listener");
        self.looked_at.set(Some(listener(netns, family)));
        self.found
    }
    fn remember(&self, netns: &NetnsEntry, to: &Endpoint, rule: &RuleEntry, source: Source) -> bool {
        self.asked.borrow_mut().push("remember");
        if self.room {
            *self.stored.borrow_mut() = Some(origin(netns, to, rule, source));
        }
        self.room
    }
    fn forget(&self) {
        self.forgotten.set(self.forgotten.get() + 1);
    }
    fn count(&self, counter: Counter) {
        self.counted.borrow_mut().push(counter);
    }
    fn report(&self, counter: Counter, rule: u32, denied: bool) {
        self.reported.borrow_mut().push((counter, rule, denied));
    }
}

fn vip() -> Endpoint {
    Endpoint::v4(VIP, PORT)
}

/// Where a redirected socket is bound and goes.
#[derive(Debug, PartialEq, Eq)]
struct Gone {
    to: Words,
    port: u16,
    bind: Option<Words>,
}

fn redirected(kernel: &Fake, to: &Endpoint) -> Gone {
    let verdict = connect(kernel, to);
    let Verdict::Redirect(redirect) = verdict else { panic!("not redirected: {verdict:?}") };
    let (address, port) = redirect.destination(to);
    Gone { to: address, port, bind: redirect.bind.then(|| redirect.source(to)) }
}

#[test]
fn a_ruled_destination_goes_to_the_pods_own_listener_from_the_pods_address() {
    let kernel = Fake::new();
    let redirect = redirected(&kernel, &vip());
    let loopback = words_v4(LOOPBACK_V4);
    assert_eq!(redirect, Gone { to: loopback, port: 4004, bind: Some(words_v4(POD)) });
    assert_eq!(kernel.looked_at.get().unwrap(), Endpoint::v4(LOOPBACK_V4, 4004));
    assert_eq!(kernel.counted(), [Counter::Seen, Counter::Redirected]);
    assert_eq!(kernel.forgotten.get(), 0);
    let stored = kernel.stored.borrow().unwrap();
    assert_eq!((stored.address, stored.port, stored.family), (address_v4(VIP), PORT, FAMILY_V4));
    assert_eq!((stored.local, stored.listener_port, stored.rule, stored.generation), (address_v4(POD), 4004, 7, 3));
}

#[test]
fn a_mapped_destination_uses_the_v4_tables_and_is_written_mapped() {
    let kernel = Fake::new();
    let redirect = redirected(&kernel, &Endpoint::v6(mapped(&words_v4(VIP)), PORT));
    assert_eq!(redirect.to, mapped(&words_v4(LOOPBACK_V4)));
    assert_eq!((redirect.port, redirect.bind), (4004, Some(mapped(&words_v4(POD)))));
    let stored = kernel.stored.borrow().unwrap();
    assert_eq!((stored.address, stored.family, stored.socket_family), (address_v4(VIP), FAMILY_V4, FAMILY_V6));
}

#[test]
fn an_ipv6_destination_goes_to_the_ipv6_listener() {
    let kernel = Fake::new();
    let redirect = redirected(&kernel, &Endpoint::v6(ip6(VIP6), PORT));
    assert_eq!(redirect, Gone { to: ip6("::1"), port: 4006, bind: Some(ip6(POD6)) });

    let mut kernel = Fake::new();
    if let Some(netns) = &mut kernel.netns {
        netns.listen6 = bytes6(POD6);
    }
    assert_eq!(redirected(&kernel, &Endpoint::v6(ip6(VIP6), PORT)).to, ip6(POD6), "a pod without ::1");
}

#[test]
fn before_the_process_has_configured_it_the_hook_does_nothing_at_all() {
    for abi in [0, ABI + 1] {
        let mut kernel = Fake::new().closed();
        kernel.config.abi = abi;
        assert_eq!(connect(&kernel, &vip()), Verdict::Pass);
        assert!(kernel.counted().is_empty() && kernel.asked.borrow().is_empty());
    }
}

#[test]
fn a_namespace_that_is_not_enrolled_passes_before_anything_else_is_asked() {
    let mut kernel = Fake::new().closed();
    kernel.netns = None;
    assert_eq!(connect(&kernel, &vip()), Verdict::Pass);
    assert_eq!(kernel.counted(), [Counter::Seen, Counter::NotEnrolled]);
    assert!(!kernel.asked("rule"));
}

/// Every pass of an enrolled namespace: what is spoiled, what is counted, what must not have been asked any more.
#[test]
fn every_pass_of_an_enrolled_namespace_forgets_the_old_destination() {
    type Spoil = fn(&mut Fake) -> Endpoint;
    let cases: [(Spoil, Counter, &'static str); 7] = [
        (|_| Endpoint::v4([127, 0, 0, 1], PORT), Counter::Loopback, "rule"),
        (|_| Endpoint::v4([0; 4], PORT), Counter::Loopback, "rule"),
        (|_| Endpoint::v6(ip6("::1"), PORT), Counter::Loopback, "rule"),
        (|_| Endpoint::v6(ip6("::ffff:127.0.0.1"), PORT), Counter::Loopback, "rule"),
        (
            |k| {
                k.mark = MARK | 0x1;
                vip()
            },
            Counter::OwnMark,
            "rule",
        ),
        (
            |k| {
                k.bound_device = 2;
                vip()
            },
            Counter::DeviceBound,
            "rule",
        ),
        (|_| Endpoint::v4(VIP, PORT + 1), Counter::NoRule, "heartbeat"),
    ];
    for (spoil, counter, not_asked) in cases {
        let mut kernel = Fake::new().closed();
        let to = spoil(&mut kernel);
        assert_eq!(connect(&kernel, &to), Verdict::Pass, "{counter:?}");
        assert_eq!(kernel.counted(), [Counter::Seen, counter]);
        assert_eq!(kernel.forgotten.get(), 1, "{counter:?} must delete SKORIG");
        assert!(!kernel.asked(not_asked), "{counter:?} must not ask for {not_asked}");
        assert!(kernel.reported.borrow().is_empty(), "{counter:?} is everyday business");
    }
}

/// The four failures, each under both policies.
#[test]
fn a_failure_follows_the_rules_policy_and_forgets_the_old_destination() {
    type Spoil = fn(&mut Fake);
    let cases: [(Spoil, Counter); 7] = [
        (|k| k.age = 1001, Counter::Stale),
        (|k| k.config.flags = PAUSED, Counter::Stale),
        (|k| k.found = None, Counter::NoListener),
        (|k| k.found = Some(Found { state: 1, mark: MARK }), Counter::NoListener),
        (|k| k.found = Some(Found { state: LISTEN, mark: 0 }), Counter::NoListener),
        (|k| k.netns.as_mut().unwrap().flags = HAS_V6, Counter::NoListener),
        (|k| k.room = false, Counter::StoreFailed),
    ];
    for (spoil, counter) in cases {
        let mut open = Fake::new();
        spoil(&mut open);
        assert_eq!(connect(&open, &vip()), Verdict::Pass, "{counter:?}");
        assert_eq!(open.counted(), [Counter::Seen, counter]);
        assert_eq!(*open.reported.borrow(), [(counter, 7, false)]);
        assert_eq!(open.forgotten.get(), 1);

        let mut closed = Fake::new().closed();
        spoil(&mut closed);
        assert_eq!(connect(&closed, &vip()), Verdict::Deny, "{counter:?}");
        assert_eq!(closed.counted(), [Counter::Seen, counter, Counter::Denied]);
        assert_eq!(*closed.reported.borrow(), [(counter, 7, true)]);
        assert_eq!(closed.forgotten.get(), 1);
    }
}

#[test]
fn a_heartbeat_of_exactly_the_limit_still_counts() {
    let mut kernel = Fake::new();
    kernel.age = 1000;
    redirected(&kernel, &vip());
}

#[test]
fn a_hang_is_noticed_before_the_listener_is_looked_up() {
    let mut kernel = Fake::new();
    kernel.age = u64::MAX;
    connect(&kernel, &vip());
    assert!(!kernel.asked("listener"));
}

#[test]
fn a_zero_mask_makes_no_socket_ours() {
    let config = CaptureConfig { mark: 0, mark_mask: 0, ..Fake::new().config };
    assert!(!is_ours(0, &config));
    let config = CaptureConfig { mark: 0x200, mark_mask: 0xf00, ..config };
    assert!(is_ours(0x1200, &config) && !is_ours(0x300, &config));
}

#[test]
fn a_socket_that_the_application_bound_is_not_bound_again() {
    for source in [Endpoint::v4([0; 4], 1234), Endpoint::v4(POD, 0), Endpoint::v4(POD, 1234)] {
        let mut kernel = Fake::new();
        kernel.own = source;
        assert_eq!(redirected(&kernel, &vip()).bind, None, "{source:?}");
        assert_eq!(kernel.stored.borrow().unwrap().local, address_v4(POD));
    }
    let mut kernel = Fake::new();
    kernel.own = Endpoint::v4([127, 0, 0, 1], 1234);
    redirected(&kernel, &vip());
    assert_eq!(kernel.stored.borrow().unwrap().local, [0; 16], "its own loopback address stays visible");
}

#[test]
fn without_the_bind_flag_or_an_address_nothing_is_bound() {
    let mut kernel = Fake::new();
    kernel.netns.as_mut().unwrap().flags = HAS_V4;
    assert_eq!(redirected(&kernel, &vip()).bind, None);
    let mut kernel = Fake::new();
    kernel.netns.as_mut().unwrap().ip4 = [0; 4];
    assert_eq!(redirected(&kernel, &vip()).bind, None);
}
