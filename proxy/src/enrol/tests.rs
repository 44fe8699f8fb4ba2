use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, atomic::AtomicU64},
};

use super::*;
use crate::{control::plan::Sandbox, enrol::find::Seen, net::Listeners};

/// Pods whose listeners are on our own loopback; the cookie is what the test says. A pod named `absent` cannot be opened.
#[derive(Default)]
struct Local {
    cookies: Mutex<HashMap<String, u64>>,
    next: AtomicU64,
    opened: Arc<AtomicU32>,
    node: Arc<Processes>,
}

/// What a scan of the node finds.
#[derive(Default)]
struct Processes {
    /// Paths to the namespaces of a pod's processes, by its UID.
    netns: Mutex<HashMap<&'static str, Vec<PathBuf>>>,
    /// What the pod's namespace has for addresses.
    ips: Mutex<Vec<IpAddr>>,
    /// Which UIDs each scan was for.
    scans: Mutex<Vec<Vec<String>>>,
}

impl Reach for Local {
    async fn find(&self, uids: HashSet<Arc<str>>) -> Found {
        let mut names: Vec<_> = uids.iter().map(|uid| uid.to_string()).collect();
        names.sort();
        self.node.scans.lock().unwrap().push(names);
        let netns = self.node.netns.lock().unwrap();
        let seen = |uid: &Arc<str>| {
            let open = |path: &PathBuf| Netns::open(path).ok().map(Arc::new);
            let netns: Vec<_> = netns.get(&**uid)?.iter().filter_map(open).collect();
            Some((Arc::clone(uid), Seen { netns, other: None }))
        };
        Found { pods: uids.iter().filter_map(seen).collect(), failure: None }
    }

    async fn open(&self, plan: &PodPlan, found: &Found) -> Result<Opened, Refusal> {
        let (netns, ips) = match &plan.sandbox {
            Sandbox::At(path) if &*plan.name == "absent" => {
                return Err(Refusal::ForeignAddress { path: path.clone(), ips: plan.ips.clone() });
            }
            Sandbox::At(path) => (Arc::new(Netns::open(path).unwrap()), plan.ips.clone()),
            Sandbox::OfUid | Sandbox::OfStaticUid(_) => {
                let seen = plan
                    .cgroup_uid()
                    .and_then(|uid| found.pods.get(uid))
                    .and_then(|seen| seen.netns.first())
                    .ok_or(Refusal::NotFound)?;
                (Arc::clone(seen), self.node.ips.lock().unwrap().clone())
            }
        };
        self.opened.fetch_add(1, Ordering::Relaxed);
        let next = || self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let cookie = *self.cookies.lock().unwrap().entry(plan.uid.to_string()).or_insert_with(next);
        Ok(Opened {
            netns,
            cookie: NetnsCookie(cookie),
            ips,
            listeners: Listeners { v4: Some(TcpListener::bind("127.0.0.1:0").unwrap()), v6: None },
        })
    }
}

/// The kernel's map, and the order of what happens.
#[derive(Default)]
struct Log {
    entries: Mutex<HashMap<u64, NetnsEntry>>,
    events: Mutex<Vec<String>>,
    served: Mutex<Vec<(Arc<EnrolledPod>, TcpListener)>>,
    full: Mutex<bool>,
}

impl NetnsTable for Log {
    fn put(&self, cookie: NetnsCookie, entry: &NetnsEntry) -> Result<(), CaptureError> {
        if *self.full.lock().unwrap() {
            return Err(CaptureError::Map { doing: "enrol a namespace", map: "NETNS", reason: "full".to_owned() });
        }
        self.events.lock().unwrap().push(format!("put {cookie}"));
        self.entries.lock().unwrap().insert(cookie.0, *entry);
        Ok(())
    }

    fn delete(&self, cookie: NetnsCookie) -> Result<(), CaptureError> {
        let draining =
            self.served.lock().unwrap().iter().any(|(pod, _)| pod.cookie == cookie && pod.drain.is_cancelled());
        self.events.lock().unwrap().push(format!("delete {cookie} draining={draining}"));
        self.entries.lock().unwrap().remove(&cookie.0);
        Ok(())
    }

    fn get(&self, cookie: NetnsCookie) -> Result<Option<NetnsEntry>, CaptureError> {
        Ok(self.entries.lock().unwrap().get(&cookie.0).copied())
    }
}

impl Serve for Log {
    fn serve(&self, pod: Arc<EnrolledPod>, listener: TcpListener) {
        self.events.lock().unwrap().push(format!("serve {}", pod.cookie));
        self.served.lock().unwrap().push((pod, listener));
    }
}

struct World {
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    opened: Arc<AtomicU32>,
    node: Arc<Processes>,
    enrolment: Enrolment<Local>,
}

fn world() -> World {
    let (log, metrics, reach) = (Arc::new(Log::default()), Arc::new(Metrics::new()), Local::default());
    let (opened, node) = (Arc::clone(&reach.opened), Arc::clone(&reach.node));
    let enrolment = Enrolment::new(
        reach,
        Arc::clone(&log) as Arc<dyn NetnsTable>,
        Arc::clone(&log) as Arc<dyn Serve>,
        Arc::clone(&metrics),
    );
    World { log, metrics, opened, node, enrolment }
}

impl World {
    fn events(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.events.lock().unwrap())
    }

    fn figures(&self) -> (i64, i64, u64) {
        (self.metrics.enrolled_desired.get(), self.metrics.enrolled_actual.get(), self.metrics.reconcile_repairs.get())
    }

    fn state(&self, name: &str) -> Result<NetnsCookie, String> {
        let status = self.enrolment.status().load_full();
        status.iter().find(|status| &*status.name == name).unwrap().state.clone()
    }
}

fn pod(name: &str, uid: &str) -> PodPlan {
    PodPlan {
        namespace: Arc::from("mirror"),
        name: Arc::from(name),
        uid: Arc::from(uid),
        sandbox: Sandbox::At(PathBuf::from("/proc/self/ns/net")),
        runtime_class: None,
        ips: vec!["10.0.0.2".parse().unwrap()],
    }
}

/// Mutation that breaks it: entering the namespace before its listener is served, or draining before the entry is deleted.
#[tokio::test]
async fn the_listener_is_served_before_the_hook_knows_and_drains_after_the_hook_forgot() {
    let mut world = world();
    world.enrolment.apply(vec![pod("sleep", "a")]).await;
    assert_eq!(world.events(), ["serve 1", "put 1"]);
    assert_eq!((world.figures(), world.state("sleep")), ((1, 1, 0), Ok(NetnsCookie(1))));
    let entry = world.log.entries.lock().unwrap()[&1];
    let port = world.log.served.lock().unwrap()[0].1.local_addr().unwrap().port();
    assert_eq!(u16::from_be(entry.port4), port);

    world.enrolment.withdraw_all().await;
    assert_eq!(world.events(), ["delete 1 draining=false"]);
    assert!(world.log.served.lock().unwrap()[0].0.drain.is_cancelled());
    assert_eq!(world.figures(), (0, 0, 0));
}

#[tokio::test]
async fn applying_the_same_pods_again_does_nothing() {
    let mut world = world();
    for _ in 0..3 {
        world.enrolment.apply(vec![pod("sleep", "a")]).await;
        world.enrolment.reconcile().await;
    }
    assert_eq!(world.opened.load(Ordering::Relaxed), 1);
    assert_eq!(world.figures(), (1, 1, 0));
}

#[tokio::test]
async fn a_pod_with_a_new_identity_is_withdrawn_and_enrolled_anew() {
    let mut world = world();
    world.enrolment.apply(vec![pod("sleep", "a")]).await;
    world.enrolment.apply(vec![pod("sleep", "b")]).await;
    assert_eq!(world.events(), ["serve 1", "put 1", "delete 1 draining=false", "serve 2", "put 2"]);
    assert_eq!(world.figures(), (1, 1, 0), "that is no repair");
}

#[tokio::test]
async fn an_entry_that_vanished_or_changed_is_written_again_without_a_new_listener() {
    let mut world = world();
    world.enrolment.apply(vec![pod("sleep", "a")]).await;
    world.log.entries.lock().unwrap().clear();
    world.enrolment.reconcile().await;
    world.log.entries.lock().unwrap().get_mut(&1).unwrap().port4 = 1;
    world.enrolment.reconcile().await;
    assert_eq!(world.events(), ["serve 1", "put 1", "put 1", "put 1"]);
    assert_eq!(world.figures(), (1, 1, 2));
}

#[tokio::test]
async fn a_pod_whose_accept_loop_ended_is_enrolled_anew() {
    let mut world = world();
    world.enrolment.apply(vec![pod("sleep", "a")]).await;
    world.log.served.lock().unwrap()[0].0.drain.cancel();
    world.enrolment.reconcile().await;
    assert_eq!(world.events(), ["serve 1", "put 1", "delete 1 draining=true", "serve 1", "put 1"]);
    assert_eq!(world.figures(), (1, 1, 1));
}

#[tokio::test]
async fn a_pod_whose_listener_was_closed_by_force_is_enrolled_anew() {
    let mut world = world();
    world.enrolment.apply(vec![pod("sleep", "a")]).await;
    // What `ss --kill` does: the descriptors stay, the socket listens no more.
    let listener = world.log.served.lock().unwrap()[0].1.try_clone().unwrap();
    socket2::Socket::from(listener).shutdown(std::net::Shutdown::Both).unwrap();
    world.enrolment.reconcile().await;
    assert_eq!(world.figures(), (1, 1, 1));
    assert_eq!(world.opened.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_pod_that_cannot_be_enrolled_keeps_its_reason_and_is_tried_again() {
    let mut world = world();
    world.enrolment.apply(vec![pod("absent", "a"), pod("sleep", "b")]).await;
    assert_eq!(world.figures(), (2, 1, 0));
    assert!(world.state("absent").unwrap_err().contains("10.0.0.2"));

    *world.log.full.lock().unwrap() = true;
    world.enrolment.apply(vec![pod("late", "c")]).await;
    assert!(world.state("late").unwrap_err().contains("full"));
    assert!(world.log.served.lock().unwrap().last().unwrap().0.drain.is_cancelled(), "nobody serves it in vain");
    *world.log.full.lock().unwrap() = false;
    world.enrolment.reconcile().await;
    assert_eq!(world.state("late"), Ok(NetnsCookie(2)));
    assert_eq!(world.figures(), (1, 1, 0), "a first success is no repair");
}

#[tokio::test]
async fn two_pods_cannot_share_a_namespace() {
    let mut world = world();
    world.enrolment.apply(vec![pod("one", "same"), pod("two", "same")]).await;
    assert_eq!(world.figures(), (2, 1, 0));
    assert!(world.state("two").unwrap_err().contains("already enrolled as pod mirror/one"));
}

/// A pod of a cluster, with addresses if the API has said them.
fn cluster_pod(name: &str, uid: &str, ips: &[&str]) -> PodPlan {
    let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    PodPlan { sandbox: Sandbox::OfUid, ips, ..pod(name, uid) }
}

/// Files that name namespaces, which a test can take away like processes that end.
struct Ways(tempfile::TempDir);

impl Ways {
    fn to(&self, name: &str, netns: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::os::unix::fs::symlink(format!("/proc/self/ns/{netns}"), &path).unwrap();
        path
    }
}

impl World {
    fn scans(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.node.scans.lock().unwrap())
    }

    fn processes(&self, uid: &'static str, ways: &[&PathBuf]) {
        self.node.netns.lock().unwrap().insert(uid, ways.iter().map(|path| (*path).clone()).collect());
    }
}

fn clustered() -> (World, Ways) {
    let (world, ways) = (world(), Ways(tempfile::tempdir().unwrap()));
    *world.node.ips.lock().unwrap() = vec!["10.0.0.2".parse().unwrap()];
    (world, ways)
}

/// Mutation that breaks it: a scan for each pod; scanning although nobody is missing.
#[tokio::test]
async fn one_scan_looks_for_all_missing_pods_and_none_if_none_is_missing() {
    let (mut world, ways) = clustered();
    let new = world.enrolment.apply(vec![cluster_pod("one", "a", &[]), cluster_pod("two", "b", &[])]).await;
    assert!(new, "both are to come");
    world.processes("a", &[&ways.to("1", "net")]);
    assert!(world.enrolment.look().await, "two still is");
    world.processes("b", &[&ways.to("2", "net")]);
    assert!(!world.enrolment.look().await);
    assert_eq!(world.scans(), [vec!["a", "b"], vec!["a", "b"], vec!["b"]]);
    world.enrolment.look().await;
    world.enrolment.reconcile().await;
    world.enrolment.apply(vec![cluster_pod("one", "a", &[]), cluster_pod("two", "b", &[])]).await;
    assert_eq!((world.scans().len(), world.figures()), (0, (2, 2, 0)));
}

/// Mutation that breaks it: looking for every missing pod at each change of the configuration.
#[tokio::test]
async fn a_pod_that_does_not_come_is_not_looked_for_whenever_something_else_changes() {
    let (mut world, _ways) = clustered();
    let stuck = || cluster_pod("stuck", "a", &[]);
    assert!(world.enrolment.apply(vec![stuck()]).await);
    assert!(!world.enrolment.apply(vec![stuck()]).await);
    assert!(world.enrolment.apply(vec![stuck(), cluster_pod("new", "b", &[])]).await);
    assert!(world.enrolment.apply(vec![cluster_pod("stuck", "a", &["10.0.0.2"])]).await, "there is news of it");
    assert_eq!(world.scans(), [vec!["a"], vec!["b"], vec!["a"]]);
    assert!(world.state("stuck").unwrap_err().contains("no process"));
}

/// Mutation that breaks it: enrolling anew whenever the plan is another one.
#[tokio::test]
async fn an_address_that_the_api_says_later_changes_nothing_if_the_namespace_has_it() {
    let (mut world, ways) = clustered();
    world.processes("a", &[&ways.to("1", "net")]);
    world.enrolment.apply(vec![cluster_pod("early", "a", &[])]).await;
    assert_eq!(world.events(), ["serve 1", "put 1"]);
    for ips in [&["10.0.0.2"][..], &["10.0.0.2"], &[]] {
        world.enrolment.apply(vec![cluster_pod("early", "a", ips)]).await;
        assert!(world.events().is_empty(), "{ips:?}");
    }
    // Another address: whatever we took for the pod is not it.
    *world.node.ips.lock().unwrap() = vec!["10.0.0.3".parse().unwrap()];
    world.enrolment.apply(vec![cluster_pod("early", "a", &["10.0.0.3"])]).await;
    assert_eq!(world.events(), ["delete 1 draining=false", "serve 1", "put 1"]);
}

/// Mutation that breaks it: withdrawing as soon as the path leads nowhere.
#[tokio::test]
async fn a_pod_whose_first_process_ended_stays_enrolled_by_another() {
    let (mut world, ways) = clustered();
    let (first, second) = (ways.to("1", "net"), ways.to("2", "net"));
    world.processes("a", &[&first, &second]);
    world.enrolment.apply(vec![cluster_pod("pod", "a", &[])]).await;
    std::fs::remove_file(&first).unwrap();
    world.enrolment.reconcile().await;
    assert_eq!((world.events().join(", "), world.figures()), ("serve 1, put 1".to_owned(), (1, 1, 0)));
    assert_eq!(world.scans().len(), 2);
    world.enrolment.reconcile().await;
    assert_eq!(world.scans().len(), 0, "the second process is the way now");
    std::fs::remove_file(&second).unwrap();
    assert!(world.enrolment.look().await);
    assert_eq!(world.events(), ["delete 1 draining=false"]);
    assert_eq!(world.figures(), (1, 0, 0), "a pod that ended is no repair");
}

/// T10. Mutation that breaks it: comparing UIDs instead of namespaces.
#[tokio::test]
async fn a_new_sandbox_of_the_same_pod_is_enrolled_anew() {
    let (mut world, ways) = clustered();
    let old = ways.to("1", "net");
    world.processes("a", &[&old]);
    world.enrolment.apply(vec![cluster_pod("pod", "a", &[])]).await;
    std::fs::remove_file(&old).unwrap();
    // Some other namespace file; the listeners of these tests are on our own loopback anyway.
    world.processes("a", &[&ways.to("2", "uts")]);
    assert!(!world.enrolment.look().await);
    assert_eq!(world.events(), ["serve 1", "put 1", "delete 1 draining=false", "serve 1", "put 1"]);
    assert_eq!(world.scans().len(), 2, "one scan is enough to find that it went and where to");
}

/// The node knows a static pod by the hash of its manifest. Mutation that breaks it: looking for the mirror pod's own UID, at the first look
/// or after the first process has ended.
#[tokio::test]
async fn a_static_pod_is_looked_for_by_the_uid_that_the_node_knows() {
    let (mut world, ways) = clustered();
    let (first, second) = (ways.to("1", "net"), ways.to("2", "net"));
    world.processes("hash", &[&first, &second]);
    let plan =
        || PodPlan { sandbox: Sandbox::OfStaticUid("hash".into()), ..cluster_pod("etcd", "mirror", &["10.0.0.2"]) };
    world.enrolment.apply(vec![plan()]).await;
    std::fs::remove_file(&first).unwrap();
    world.enrolment.reconcile().await;
    world.enrolment.apply(vec![plan()]).await;
    assert_eq!((world.events().join(", "), world.figures()), ("serve 1, put 1".to_owned(), (1, 1, 0)));
    assert_eq!(world.scans(), [vec!["hash"], vec!["hash"]]);
    let other = PodPlan { sandbox: Sandbox::OfStaticUid("other".into()), ..plan() };
    assert!(world.enrolment.apply(vec![other]).await, "its manifest is another now");
    assert_eq!(world.events(), ["delete 1 draining=false"]);
}
