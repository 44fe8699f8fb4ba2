//! What is asked when the names that a watch is for have changed: what is missing, and not all of it again.
//!
//! Comes in: the watches that rules ask for, and those that there are. Goes out: watches that show as much, most of which are there already.
//! Never: many watches in the place of one, or one that shows much more than is asked for.
//!
//! A watch's selection is for ever, so one name more is another watch, and its list is everything that it selects. With each rule that
//! is applied in a namespace, every node of the cluster would list all ruled endpoints of it anew.

use std::{collections::BTreeSet, sync::Arc};

use super::watch::Watch;

/// In the place of one watch there are so many at most; one more, and they become one again.
const PIECES: usize = 3;
/// So many names that nobody asks for are shown, and as many again as are asked for, before a watch is made narrower.
const SPARE: usize = 8;

/// Watches that show what the wanted ones would.
pub(super) fn cover(wanted: BTreeSet<Watch>, there: &BTreeSet<&Watch>) -> BTreeSet<Watch> {
    wanted.into_iter().flat_map(|watch| pieces(watch, there)).collect()
}

fn pieces(watch: Watch, there: &BTreeSet<&Watch>) -> Vec<Watch> {
    if let Watch::Services { namespace, only: Some(_) } = &watch {
        let all = Watch::Services { namespace: namespace.clone(), only: None };
        return vec![if there.contains(&all) { all } else { watch }];
    }
    let Some(names) = watch.names() else { return vec![watch] };
    // In their order, those of one place stand together, and one without names before them.
    let least = watch.with_names(BTreeSet::new());
    let useful = || {
        let beside = there.range::<&Watch, _>(&least..).take_while(|other| other.is_beside(&watch));
        beside.filter_map(|other| Some((*other, other.names()?))).filter(|(_, shown)| !shown.is_disjoint(names))
    };
    let is_part =
        |shown: &BTreeSet<Arc<str>>| useful().any(|(_, more)| more.len() > shown.len() && more.is_superset(shown));
    let kept: Vec<_> = useful().filter(|(_, shown)| !is_part(shown)).collect();
    let shown: BTreeSet<_> = kept.iter().flat_map(|(_, shown)| shown.iter().cloned()).collect();
    let missing: BTreeSet<_> = names.difference(&shown).cloned().collect();
    if kept.len() + usize::from(!missing.is_empty()) > PIECES || shown.len() > 2 * names.len() + SPARE {
        return vec![watch];
    }
    let rest = (!missing.is_empty()).then(|| watch.with_names(missing));
    kept.into_iter().map(|(kept, _)| kept.clone()).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(names: &str) -> Watch {
        let names = names.split(' ').map(Arc::from).collect();
        Watch::Slices { namespace: Some("mirror".into()), services: Some(names) }
    }

    /// What is watched for these names where these watches are.
    fn covered(names: &str, there: &[&str]) -> Vec<String> {
        let there: Vec<_> = there.iter().map(|names| slices(names)).collect();
        let covered = cover([slices(names)].into(), &there.iter().collect());
        let names = |watch: &Watch| watch.names().unwrap().iter().map(|name| &**name).collect::<Vec<_>>().join(" ");
        covered.iter().map(names).collect()
    }

    /// Fails if a further rule lists again what is known.
    #[test]
    fn a_name_more_is_asked_for_alone() {
        assert_eq!(covered("a b c", &[]), ["a b c"]);
        assert_eq!(covered("a b c", &["a b"]), ["a b", "c"]);
        assert_eq!(covered("a b c d", &["a b", "c"]), ["a b", "c", "d"]);
    }

    #[test]
    fn many_pieces_become_one_and_stay_one_while_it_is_not_known_yet() {
        assert_eq!(covered("a b c d e", &["a b", "c", "d"]), ["a b c d e"]);
        assert_eq!(covered("a b c d e", &["a b", "c", "d", "a b c d e"]), ["a b c d e"]);
        // Meanwhile a rule has gone.
        assert_eq!(covered("a b", &["a b", "c", "a b c d e"]), ["a b c d e"]);
    }

    /// Fails if a rule that goes makes nodes list what stays, or if a watch never gets narrower.
    #[test]
    fn a_name_less_asks_for_nothing_until_much_is_shown_in_vain() {
        assert_eq!(covered("a", &["a b"]), ["a b"]);
        let many: Vec<_> = (10..40).map(|n| n.to_string()).collect();
        assert_eq!(covered(&many[..11].join(" "), &[&many.join(" ")]), [many.join(" ")]);
        assert_eq!(covered(&many[..10].join(" "), &[&many.join(" ")]), [many[..10].join(" ")]);
        assert_eq!(covered(&many[..10].join(" "), &[&many.join(" "), &many[..10].join(" ")]), [many[..10].join(" ")]);
    }

    /// Fails if a watch of another namespace, or for another label, is taken for one that helps.
    #[test]
    fn only_watches_of_the_same_place_count() {
        let elsewhere = Watch::Slices { namespace: Some("other".into()), services: Some(["a".into()].into()) };
        let labels = |key: &str, value: &str| Watch::Labels {
            namespace: "mirror".into(),
            key: key.into(),
            values: [value.into()].into(),
        };
        let wanted: BTreeSet<_> = [slices("a"), labels("app", "a")].into();
        let there = [elsewhere, labels("name", "a"), labels("app", "b")];
        assert_eq!(cover(wanted.clone(), &there.iter().collect()), wanted);
    }

    #[test]
    fn all_services_of_a_namespace_show_each_of_them() {
        let of = |only: Option<&str>| Watch::Services { namespace: Some("mirror".into()), only: only.map(Arc::from) };
        let (all, one) = (of(None), of(Some("a")));
        assert_eq!(cover([one.clone()].into(), &[&all].into()), [all].into());
        assert_eq!(cover([one.clone()].into(), &[&of(Some("b"))].into()), [one].into());
    }
}
