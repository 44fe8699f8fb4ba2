use super::*;

const WORLD: &str = include_str!("../../../../tests/fixtures/manifests/world.yaml");
const DEFAULT_ROUTE: &str = include_str!("../../../../tests/fixtures/manifests/valid/seed-default-route.yaml");
const MIRROR: &str = include_str!("../../../../tests/fixtures/manifests/valid/seed-mirror.yaml");

fn controller() -> (Controller, Arc<Store>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let store = Arc::new(Store::new(Arc::clone(&metrics)));
    (Controller::new(Settings::default(), Arc::clone(&metrics), Arc::clone(&store)), store, metrics)
}

fn texts(files: &[(&str, &str)]) -> Vec<ManifestText> {
    files.iter().map(|(path, text)| ManifestText { path: (*path).into(), text: Ok((*text).into()) }).collect()
}

fn mirrors(table: &Table) -> Option<usize> {
    Some(table.virtual_host("mirror", 8000, "httpbin")?.rules[0].mirrors.len())
}

#[test]
fn a_first_configuration_with_errors_is_refused_whole() {
    let (mut controller, store, _) = controller();
    let broken = MIRROR.replace("mirror_percent: 100", "mirror_percent: 101");
    let rejected = controller.start(&texts(&[("w", WORLD), ("r", &broken)])).unwrap_err();
    assert!(
        rejected.diagnostics[0]
            .to_string()
            .starts_with("r:18:21: error: VirtualService mirror/httpbin: `mirror_percent` is 101")
    );
    assert!(store.in_force().is_none());
    assert_eq!(store.table().generation, 0);
}

#[test]
fn a_file_that_is_unreadable_at_first_is_an_error_with_its_name() {
    let (mut controller, ..) = controller();
    let text = ManifestText { path: "dir/a.yaml".into(), text: Err("Permission denied".into()) };
    let rejected = controller.start(&[text]).unwrap_err();
    assert_eq!(
        rejected.diagnostics[0].to_string(),
        "dir/a.yaml: error: cannot be read: Permission denied (make it readable, or remove it)"
    );
}

#[test]
fn a_broken_object_keeps_its_last_good_state_while_the_rest_goes_on() {
    let (mut controller, store, metrics) = controller();
    controller.start(&texts(&[("w", WORLD), ("r", DEFAULT_ROUTE)])).unwrap();
    // The VirtualService is broken; the DestinationRule loses v1, and that is in force.
    let broken = MIRROR.replace("mirror_percent: 100", "mirror_percent: x").replace("- name: v1", "- name: v3");
    let applied = controller.reload(&texts(&[("w", WORLD), ("r", &broken)]));
    assert_eq!(applied.verdict, Verdict::Partial);
    assert_eq!(applied.table.generation, 2);
    assert_eq!(mirrors(&store.table()), Some(0), "the rule of before, without a mirror");
    assert_eq!(applied.stale.iter().map(ToString::to_string).collect::<Vec<_>>(), ["VirtualService mirror/httpbin"]);
    assert_eq!(metrics.stale_objects.get(), 1);
    assert!(
        applied
            .diagnostics
            .iter()
            .any(|finding| finding.message.contains("no DestinationRule defines the subset `v1`"))
    );

    let applied = controller.reload(&texts(&[("w", WORLD), ("r", MIRROR)]));
    assert_eq!((applied.verdict, mirrors(&store.table())), (Verdict::Applied, Some(1)));
    assert_eq!((metrics.stale_objects.get(), applied.table.generation), (0, 3));
}

#[test]
fn a_change_of_which_nothing_works_is_no_generation() {
    let (mut controller, store, metrics) = controller();
    let first = controller.start(&texts(&[("w", WORLD), ("r", MIRROR)])).unwrap();
    let applied = controller.reload(&texts(&[("w", WORLD), ("r", "a: [")]));
    assert_eq!(applied.verdict, Verdict::Rejected);
    assert!(Arc::ptr_eq(&applied.table, &first.table) && Arc::ptr_eq(&store.table(), &first.table));
    assert!(applied.diagnostics[0].is_error());
    assert_eq!(metrics.stale_objects.get(), 2);
    assert!(metrics.render().contains("understudy_config_reloads_total{verdict=\"rejected\"} 1"));
}

#[test]
fn a_removed_file_takes_its_rules_away_at_once() {
    let (mut controller, store, _) = controller();
    controller.start(&texts(&[("w", WORLD), ("r", MIRROR)])).unwrap();
    let applied = controller.reload(&texts(&[("w", WORLD)]));
    assert_eq!(applied.verdict, Verdict::Applied);
    assert_eq!(mirrors(&store.table()), None);
    assert!(applied.capture.ports.is_empty());
}

/// Load balancing and metrics must not start anew with every reload.
#[test]
fn endpoints_and_counters_live_on_through_a_reload() {
    let (mut controller, store, _) = controller();
    controller.start(&texts(&[("w", WORLD), ("r", MIRROR)])).unwrap();
    let handles = |table: &Table| {
        let rule = &table.virtual_host("mirror", 8000, "httpbin").unwrap().rules[0];
        let endpoint = Arc::clone(&rule.target(0).endpoints.as_ref().unwrap()[0]);
        (endpoint, Arc::clone(&rule.metrics), Arc::clone(&rule.mirrors[0].metrics))
    };
    let before = handles(&store.table());
    controller.reload(&texts(&[("w", WORLD), ("r", &MIRROR.replace("weight: 100", "weight: 1"))]));
    let after = handles(&store.table());
    assert!(Arc::ptr_eq(&before.0, &after.0) && Arc::ptr_eq(&before.1, &after.1) && Arc::ptr_eq(&before.2, &after.2));

    // The same address, but another pod: nothing is known of its load.
    controller.reload(&texts(&[("w", &WORLD.replace("httpbin-v1-0", "httpbin-v1-1")), ("r", MIRROR)]));
    assert!(!Arc::ptr_eq(&before.0, &handles(&store.table()).0));
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let (mut controller, ..) = controller();
    controller.start(&texts(&[("w", WORLD), ("r", DEFAULT_ROUTE)])).unwrap();
    let reading = |controller: &Controller, path: &str| Arc::clone(&controller.read[path].1);
    let before = (reading(&controller, "w"), reading(&controller, "r"));
    controller.reload(&texts(&[("w", WORLD), ("r", MIRROR)]));
    assert!(Arc::ptr_eq(&before.0, &reading(&controller, "w")));
    assert!(!Arc::ptr_eq(&before.1, &reading(&controller, "r")));
}

#[test]
fn errors_come_before_warnings_and_notes() {
    let warning = "{apiVersion: v1, kind: Secret, metadata: {name: x}}";
    let found = Controller::check(&Settings::default(), &texts(&[("a", warning), ("b", "x: [")]));
    assert_eq!(found.iter().map(|finding| &*finding.location.path).collect::<Vec<_>>(), ["b", "a"]);
}
