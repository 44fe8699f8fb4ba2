//! What a ShadowPolicy changes about shadows, on the wire: methods, fields, samples, the class of packets; and that it changes nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use integration::{
    Pod, Recorded, Theatre, case, harness,
    theatre::{MIRROR, NEEDS, PORT, ROUTE, Setting, from_v1, service},
};
use socket2::{Domain, Protocol, Socket, Type};

fn main() -> ExitCode {
    harness::main(&[
        case!(only_the_policys_methods_are_mirrored).needs(NEEDS),
        case!(fields_are_changed_exactly_once_and_only_for_v2).needs(NEEDS),
        case!(what_traces_a_request_is_the_same_at_v2).needs(NEEDS),
        case!(the_host_of_a_shadow_in_both_suffix_modes).needs(NEEDS),
        case!(fields_come_from_the_nearest_policy_else_from_the_process).needs(NEEDS),
        case!(a_header_or_cookie_gives_the_same_sample_at_every_agent).needs(NEEDS),
        case!(a_connection_is_in_the_sample_or_not).needs(NEEDS),
        case!(a_pod_is_in_the_sample_or_not).needs(NEEDS),
        case!(packets_of_shadows_have_their_policys_class).needs(NEEDS),
        case!(a_mirror_may_be_the_primarys_own_destination).needs(NEEDS),
        case!(a_mirror_may_be_in_another_namespace).needs(NEEDS),
    ])
}

const RULES: &str = "group: networking.istio.io, kind: VirtualService, name: httpbin";
const SERVICE: &str = "kind: Service, name: httpbin";

fn policy(name: &str, target: &str, spec: &str) -> String {
    format!(
        "apiVersion: understudy.dev/v1alpha1\nkind: ShadowPolicy\nmetadata: {{name: {name}, namespace: mirror}}\n\
         spec:\n  targetRefs: [{{{target}}}]\n{spec}"
    )
}

/// The usual rule under a policy for its VirtualService.
fn under(spec: &str) -> Setting {
    Setting::new(MIRROR).objects(policy("p", RULES, spec))
}

/// Values of a field in their order, with the letter case of its name.
fn fields(request: &Recorded, name: &str) -> Vec<(String, String)> {
    let head = request.head_text();
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let named = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(field, value)| (field.to_owned(), value.to_owned())).collect()
}

fn get(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: httpbin:8000\r\n{more}\r\n").into_bytes()
}

/// Fails if the method is not asked, or if the body of an excluded request is still fed to somebody.
fn only_the_policys_methods_are_mirrored() -> Result<()> {
    let theatre = under("  methods: [GET, PURGE]\n").start()?;
    let mut wire = theatre.dial()?;
    for method in ["GET", "POST", "PURGE", "DELETE", "OPTIONS", "PUT"] {
        let body = if matches!(method, "POST" | "PUT") { "Content-Length: 5\r\n\r\nhello" } else { "\r\n" };
        from_v1(&wire.exchange(format!("{method} / HTTP/1.1\r\nHost: httpbin\r\n{body}").as_bytes())?)?;
    }
    theatre.outcomes(&[("answered", 2), ("method_excluded", 4)])?;
    // Shadows of successive requests may overtake each other.
    let mut methods: Vec<_> = theatre.v2.recorder.requests().iter().map(Recorded::request_line).collect();
    methods.sort();
    ensure!(methods == ["GET / HTTP/1.1", "PURGE / HTTP/1.1"], "{methods:?}");
    ensure!(theatre.v1.recorder.count() == 6);
    Ok(())
}

/// Envoy appends twice to the shadow of a request without a body. Fails if operations are applied more or less than once to a shadow (with
/// and without a body), if they reach the primary, or if they cost another field its letter case or its place.
fn fields_are_changed_exactly_once_and_only_for_v2() -> Result<()> {
    let spec = "  headers:\n    add: {x-added: more, X-New: \"1\"}\n    set: {x-set: new}\n    remove: [authorization, Cookie]\n";
    let theatre = under(spec).start()?;
    let mut wire = theatre.dial()?;
    let more =
        "AuthoriZation: Basic x\r\nX-KeeP: 1\r\nX-Added: own\r\ncookie: a\r\nCookie: b\r\nX-Set: old\r\nX-LasT: 1\r\n";
    let chunked =
        format!("PUT / HTTP/1.1\r\nHost: httpbin\r\n{more}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    let requests = [
        get("/", more),
        format!("POST / HTTP/1.1\r\nHost: httpbin\r\n{more}Content-Length: 5\r\n\r\nhello").into_bytes(),
        chunked.into_bytes(),
    ];
    for (number, request) in requests.iter().enumerate() {
        from_v1(&wire.exchange(request)?)?;
        let shadow = theatre.v2.recorder.wait_for(number + 1)?.remove(number);
        let primary = theatre.v1.recorder.requests().remove(number);
        let sent = String::from_utf8_lossy(request).into_owned();
        let sent_head = sent.split_once("\r\n\r\n").context("a head")?.0;
        ensure!(primary.head_text() == format!("{sent_head}\r\n\r\n"), "v1 saw {:?}", primary.head_text());
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        ensure!(
            fields(&shadow, "x-added") == [text("X-Added", "own"), text("x-added", "more")],
            "{}",
            shadow.head_text()
        );
        ensure!(fields(&shadow, "x-new") == [text("x-new", "1")], "{}", shadow.head_text());
        ensure!(fields(&shadow, "x-set") == [text("X-Set", "new")], "{}", shadow.head_text());
        for credential in ["authorization", "cookie"] {
            ensure!(fields(&shadow, credential).is_empty(), "v2 got {credential}: {}", shadow.head_text());
        }
        let order: Vec<_> =
            shadow.head_text().lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect();
        let place = |name: &str| order.iter().position(|field| field == name);
        ensure!(place("X-KeeP") < place("X-LasT") && place("X-KeeP").is_some(), "order or letter case: {order:?}");
        ensure!(shadow.body == primary.body, "v2 got another body");
    }
    theatre.outcomes(&[("answered", 3)])?;
    Ok(())
}

/// H7 to H9 and H12. Fails if the proxy writes itself into the request, as Envoy does (X-Forwarded-For, a span of its own).
fn what_traces_a_request_is_the_same_at_v2() -> Result<()> {
    let theatre = Theatre::mirroring()?;
    let traced = [
        ("X-Forwarded-For", "192.0.2.1, 192.0.2.2"),
        ("X-Request-Id", "6d0e9b1e-0000-4000-8000-000000000001"),
        ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("B3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"),
        ("Grpc-Timeout", "10S"),
        ("Forwarded", "for=192.0.2.1"),
    ];
    let more: String = traced.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    from_v1(&theatre.ask(&get("/", &more))?)?;
    theatre.outcomes(&[("answered", 1)])?;
    let (primary, shadow) = (&theatre.v1.recorder.requests()[0], &theatre.v2.recorder.requests()[0]);
    for (name, value) in traced {
        let expected = [(name.to_owned(), value.to_owned())];
        ensure!(fields(primary, name) == expected, "v1: {}", primary.head_text());
        ensure!(fields(shadow, name) == expected, "v2: {}", shadow.head_text());
    }
    let count = |request: &Recorded| request.head_text().lines().count();
    ensure!(count(shadow) == count(primary) + 1, "more than the marker was added: {}", shadow.head_text());
    ensure!(fields(primary, "x-understudy-shadow").is_empty(), "v1 is told of a shadow");
    Ok(())
}

/// H1 to H5 as far as a client can name the service so (brackets are in the unit tests of `shadow::host`).
fn the_host_of_a_shadow_in_both_suffix_modes() -> Result<()> {
    let hosts = [
        ("httpbin", "httpbin-shadow"),
        ("httpbin:8000", "httpbin-shadow:8000"),
        ("httpbin:", "httpbin-shadow:"),
        ("10.96.0.10", "10.96.0.10-shadow"),
        ("10.96.0.10:8000", "10.96.0.10-shadow:8000"),
        ("HttpBin.mirror.svc.cluster.local.", "HttpBin.mirror.svc.cluster.local.-shadow"),
    ];
    for suffix in ["-shadow", ""] {
        let theatre = under(&format!("  hostSuffix: \"{suffix}\"\n")).start()?;
        let mut wire = theatre.dial()?;
        for (number, (host, with_suffix)) in hosts.iter().enumerate() {
            from_v1(&wire.exchange(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?)?;
            let shadow = theatre.v2.recorder.wait_for(number + 1)?.remove(number);
            let expected = if suffix.is_empty() { *host } else { *with_suffix };
            ensure!(shadow.header("host").as_deref() == Some(expected), "{host}: {}", shadow.head_text());
            ensure!(theatre.v1.recorder.requests()[number].header("host").as_deref() == Some(*host));
        }
        theatre.outcomes(&[("answered", hosts.len())])?;
    }
    Ok(())
}

/// Fails if a policy replaces the next one as a whole, if a flag is not handed to the table, or if a change waits for a new connection.
fn fields_come_from_the_nearest_policy_else_from_the_process() -> Result<()> {
    let named = MIRROR.replace("  - route", "  - name: main\n    route");
    let theatre = Setting::new(&named)
        .args(&["--shadow-remove-headers", "Authorization,x-secret", "--shadow-host-suffix", "-process"])
        .args(&["--shadow-methods", "GET,HEAD", "--shadow-sampling", "sourceIP", "--shadow-dscp", "8"])
        .objects(policy("service", SERVICE, "  hostSuffix: -service\n  headers: {set: {x-by: service}}\n"))
        .start()?;
    let mut wire = theatre.dial()?;
    let mut seen = 0;
    let mut ask = |number: &str| -> Result<Recorded> {
        from_v1(&wire.exchange(&get(number, "Authorization: a\r\nX-Secret: s\r\n"))?)?;
        seen += 1;
        Ok(theatre.v2.recorder.wait_for(seen)?.remove(seen - 1))
    };
    let looks = |shadow: &Recorded, host: &str, by: Option<&str>, secrets: usize| -> Result<()> {
        let count = fields(shadow, "authorization").len() + fields(shadow, "x-secret").len();
        let found = (shadow.header("host"), shadow.header("x-by"), count);
        ensure!(found == (Some(host.to_owned()), by.map(str::to_owned), secrets), "{}", shadow.head_text());
        Ok(())
    };
    looks(&ask("/service")?, "httpbin-service:8000", Some("service"), 0)?;
    let apply = |name: &str, text: String| theatre.agent.changed(|| theatre.manifests.apply(name, &text));
    apply("rules.yaml", policy("rules", RULES, "  hostSuffix: -rules\n"))?;
    looks(&ask("/rules")?, "httpbin-rules:8000", Some("service"), 0)?;
    let rule = format!("{RULES}, sectionName: main");
    apply("rule.yaml", policy("rule", &rule, "  headers: {set: {}, remove: [x-other]}\n"))?;
    looks(&ask("/rule")?, "httpbin-rules:8000", None, 2)?;
    for file in ["rule.yaml", "rules.yaml"] {
        theatre.agent.changed(|| theatre.manifests.delete(file))?;
    }
    looks(&ask("/again")?, "httpbin-service:8000", Some("service"), 0)?;
    from_v1(&theatre.ask(b"DELETE / HTTP/1.1\r\nHost: httpbin\r\n\r\n")?)?;
    theatre.outcomes(&[("answered", 4), ("method_excluded", 1)])?;
    Ok(())
}

const USERS: usize = 300;

/// Which users are mirrored; each sends two requests over two connections.
fn sampled_users(by: &str, field: impl Fn(usize) -> String) -> Result<BTreeSet<String>> {
    let half = format!("{ROUTE}    mirror: {{host: httpbin, subset: v2}}\n    mirrorPercentage: {{value: 40.0}}\n");
    let theatre =
        Setting::new(&half).objects(policy("p", RULES, &format!("  sampling: {{by: \"{by}\"}}\n"))).start()?;
    let mut wires = [theatre.dial()?, theatre.dial()?];
    for user in 0..USERS {
        for wire in &mut wires {
            from_v1(&wire.exchange(&get(&format!("/{user}"), &field(user)))?)?;
        }
    }
    let view = theatre.agent.settled()?;
    let answered = integration::theatre::whole(view.outcome("answered"));
    theatre.outcomes(&[("answered", answered), ("sampled_out", 2 * USERS - answered)])?;
    let mut counts = BTreeMap::<String, usize>::new();
    for request in theatre.v2.recorder.requests() {
        *counts.entry(request.request_line()).or_default() += 1;
    }
    ensure!(counts.values().all(|count| *count == 2), "users are torn apart: {counts:?}");
    ensure!(counts.len() * 2 == answered, "{} users, {answered} shadows", counts.len());
    Ok(counts.into_keys().collect())
}

/// Two agents that know nothing of each other. Fails if the draw depends on the process, the connection, the worker, the request, or on
/// anything but the value; two agents that draw by chance agree about 300 users once in 10^70 times.
fn a_header_or_cookie_gives_the_same_sample_at_every_agent() -> Result<()> {
    let header = |user: usize| format!("X-User: user-{user}\r\n");
    let cookie = |user: usize| format!("Cookie: theme=dark; SID=user-{user}\r\n");
    let by_header = sampled_users("header:x-user", header)?;
    // 300 draws of probability 0.4: outside of this once in 10^12 times, if the hash were by chance.
    ensure!((62..=178).contains(&by_header.len()), "{} of {USERS} users at 40 %", by_header.len());
    ensure!(by_header == sampled_users("header:X-User", header)?, "another agent has another sample");
    let by_cookie = sampled_users("cookie:SID", cookie)?;
    ensure!(by_cookie == sampled_users("cookie:SID", cookie)?, "another agent has another sample");
    ensure!(by_cookie != by_header, "the kind of key does not count");
    Ok(())
}

/// Fails if each request draws for itself (then 64 connections of eight requests agree once in 10^130 times), or if one draw serves all.
fn a_connection_is_in_the_sample_or_not() -> Result<()> {
    let half = format!("{ROUTE}    mirror: {{host: httpbin, subset: v2}}\n    mirrorPercentage: {{value: 50.0}}\n");
    let theatre = Setting::new(&half).objects(policy("p", RULES, "  sampling: {by: connection}\n")).start()?;
    for connection in 0..64 {
        let mut wire = theatre.dial()?;
        for _ in 0..8 {
            from_v1(&wire.exchange(&get(&format!("/{connection}"), ""))?)?;
        }
    }
    let view = theatre.agent.settled()?;
    let answered = integration::theatre::whole(view.outcome("answered"));
    theatre.outcomes(&[("answered", answered), ("sampled_out", 64 * 8 - answered)])?;
    let mut counts = BTreeMap::<String, usize>::new();
    for request in theatre.v2.recorder.requests() {
        *counts.entry(request.request_line()).or_default() += 1;
    }
    ensure!(counts.values().all(|count| *count == 8), "connections are torn apart: {counts:?}");
    ensure!((1..64).contains(&counts.len()), "{} of 64 connections at 50 %", counts.len());
    Ok(())
}

/// Fails if the address that counts is not the pod's, or if its port counts too. Which pods are in a sample is in the unit tests of
/// `shadow::key`; here all requests of the one client must agree, at every percentage, and a larger one must not lose what a smaller one has.
fn a_pod_is_in_the_sample_or_not() -> Result<()> {
    let rule = |percent: u32| {
        format!("{ROUTE}    mirror: {{host: httpbin, subset: v2}}\n    mirrorPercentage: {{value: {percent}.0}}\n")
    };
    let theatre = Setting::new(&rule(1)).objects(policy("p", RULES, "  sampling: {by: sourceIP}\n")).start()?;
    let (mut mirrored, mut asked) = (0, 0);
    let mut was_in = false;
    for percent in [10, 30, 50, 70, 90, 100] {
        theatre.rule(&rule(percent))?;
        for _ in 0..40 {
            theatre.ask_v1()?;
        }
        asked += 40;
        let view = theatre.agent.settled()?;
        let answered = integration::theatre::whole(view.outcome("answered"));
        let is_in = match answered - mirrored {
            0 => false,
            40 => true,
            some => anyhow::bail!("{some} of 40 requests of one pod at {percent} %"),
        };
        ensure!(is_in || !was_in, "a larger sample has lost the pod");
        (was_in, mirrored) = (is_in, answered);
        theatre.outcomes(&[("answered", answered), ("sampled_out", asked - answered)])?;
    }
    ensure!(was_in, "the whole is not the whole");
    Ok(())
}

/// Reads every TCP packet that comes into a pod: for each source port the values of the field that the code point is in.
struct Sniffer {
    seen: Arc<Mutex<BTreeMap<u16, BTreeSet<u8>>>>,
    closing: Arc<AtomicBool>,
    reading: Option<JoinHandle<()>>,
}

impl Sniffer {
    fn start(pod: &Pod) -> Result<Self> {
        let mut socket = pod.run(|| Ok(Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (seen, closing) = (Arc::<Mutex<BTreeMap<u16, BTreeSet<u8>>>>::default(), Arc::<AtomicBool>::default());
        let (sees, closes) = (Arc::clone(&seen), Arc::clone(&closing));
        let reading = thread::spawn(move || {
            let mut packet = vec![0; 65536];
            while !closes.load(Ordering::Acquire) {
                let Ok(length) = socket.read(&mut packet) else { continue };
                let Some(header) = packet.first().map(|first| usize::from(first & 15) * 4) else { continue };
                let Some(ports) = packet[..length].get(header..header + 4) else { continue };
                let (from, to) = (u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]]));
                if to == PORT {
                    let mut seen = sees.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.entry(from).or_default().insert(packet[1]);
                }
            }
        });
        Ok(Self { seen, closing, reading: Some(reading) })
    }

    /// The field's values on the connections from these ports.
    fn of(&self, ports: &BTreeSet<u16>) -> BTreeSet<u8> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        ports.iter().flat_map(|port| seen.get(port).cloned().unwrap_or_default()).collect()
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        if let Some(thread) = self.reading.take() {
            let _ = thread.join();
        }
    }
}

/// Fails if the code point is one for the process, if the field is shifted wrongly, if primaries have it, or if shadows of two classes share
/// a connection.
fn packets_of_shadows_have_their_policys_class() -> Result<()> {
    let rule = |name: &str, extra: &str| {
        format!(
            "  - name: {name}\n{extra}    route: [{{destination: {{host: httpbin, subset: v1}}}}]\n    mirror: {{host: httpbin, subset: v2}}\n"
        )
    };
    let matching = |name: &str| rule(name, &format!("    match: [{{uri: {{exact: /{name}}}}}]\n"));
    let section = |name: &str| format!("{RULES}, sectionName: {name}");
    let theatre = Setting::new(&[matching("bulk"), matching("plain"), rule("default", "")].concat())
        .objects(policy("bulk", &section("bulk"), "  dscp: 8\n"))
        .objects(policy("plain", &section("plain"), "  dscp: 0\n"))
        .start()?;
    let sniffers = [Sniffer::start(&theatre.v1.pod)?, Sniffer::start(&theatre.v2.pod)?];
    let mut wire = theatre.dial()?;
    for number in 1..=4 {
        for path in ["/bulk", "/plain", "/default"] {
            from_v1(&wire.exchange(&get(path, ""))?)?;
        }
        theatre.v2.recorder.wait_for(3 * number)?;
        theatre.agent.settled()?;
    }
    theatre.outcomes(&[("answered", 12)])?;
    // Lower Effort is 1, and the code point is the upper six bits of its field.
    for (path, field) in [("/bulk", 8 << 2), ("/plain", 0), ("/default", 1 << 2)] {
        let requests = theatre.v2.recorder.requests();
        let own = requests.iter().filter(|request| request.request_line() == format!("GET {path} HTTP/1.1"));
        let ports: BTreeSet<u16> = own.map(|request| request.peer.port()).collect();
        integration::wait::until("a packet of each connection", || {
            Ok((!sniffers[1].of(&ports).is_empty()).then_some(()))
        })?;
        ensure!(sniffers[1].of(&ports) == BTreeSet::from([field]), "{path}: {:?}", sniffers[1].of(&ports));
    }
    let ports = theatre.v1.recorder.peers().iter().map(std::net::SocketAddr::port).collect();
    ensure!(sniffers[0].of(&ports) == BTreeSet::from([0]), "primaries: {:?}", sniffers[0].of(&ports));
    Ok(())
}

/// M2. Fails if primary and shadow share a connection or a count.
fn a_mirror_may_be_the_primarys_own_destination() -> Result<()> {
    let theatre = Setting::new(&format!("{ROUTE}    mirror: {{host: httpbin, subset: v1}}\n")).start()?;
    let mut wire = theatre.dial()?;
    for _ in 0..5 {
        from_v1(&wire.exchange(b"POST / HTTP/1.1\r\nHost: httpbin\r\nContent-Length: 5\r\n\r\nhello")?)?;
    }
    theatre.outcomes(&[("answered", 5)])?;
    let requests = theatre.v1.recorder.requests();
    let (shadows, primaries): (Vec<_>, Vec<_>) =
        requests.iter().partition(|request| request.header("host").as_deref() == Some("httpbin-shadow"));
    ensure!((shadows.len(), primaries.len()) == (5, 5), "{} shadows, {} primaries", shadows.len(), primaries.len());
    ensure!(requests.iter().all(|request| request.body == b"hello"), "another body");
    let connections = |of: &[&Recorded]| of.iter().map(|request| request.connection).collect::<BTreeSet<_>>();
    ensure!(connections(&shadows).is_disjoint(&connections(&primaries)), "a connection is shared");
    Ok(())
}

/// M4. Fails if a full name is looked up in the rule's namespace.
fn a_mirror_may_be_in_another_namespace() -> Result<()> {
    let mirror = format!("{ROUTE}    mirror: {{host: rehearsal.other.svc.cluster.local}}\n");
    let vip = "10.96.0.40:8000".parse()?;
    let elsewhere = service("rehearsal", vip, Some("http"), PORT).replace("namespace: mirror", "namespace: other");
    let theatre = Setting::new(&mirror).objects(elsewhere).start()?;
    theatre.ask_v1()?;
    theatre.outcomes(&[("no_endpoint", 1)])?;
    let slice = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: rehearsal-1\n  namespace: other\n\
         \x20 labels: {{kubernetes.io/service-name: rehearsal}}\naddressType: IPv4\nports: [{{name: http, port: {PORT}, protocol: TCP}}]\n\
         endpoints: [{{addresses: [{}], conditions: {{ready: true}}}}]\n",
        theatre.v2.pod.v4()
    );
    theatre.agent.changed(|| theatre.manifests.apply("slice.yaml", &slice))?;
    theatre.ask_v1()?;
    let shadow = theatre.v2.recorder.wait_for(1)?.remove(0);
    ensure!(shadow.header("host").as_deref() == Some("httpbin-shadow:8000"), "{}", shadow.head_text());
    theatre.outcomes(&[("no_endpoint", 1), ("answered", 1)])?;
    Ok(())
}
