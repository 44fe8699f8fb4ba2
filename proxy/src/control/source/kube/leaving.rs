//! Kinds that are being deleted, with every object of them.
//!
//! Comes in: what is heard of rules. Goes out: the same, later if it must wait. Never: a part of an end.
//!
//! When definitions are deleted (an uninstall), the API server deletes their objects one by one and kind by kind: a VirtualService would
//! outlive the DestinationRule whose subsets it names, and answer 503 for its last moment. So what is told of rules waits until all of
//! these kinds are gone, and then counts at once: the rules of before, then none.

use std::collections::BTreeSet;

use super::{listen::Heard, watch::Watch};

/// What waits for an end.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Whose definitions are being deleted.
    kinds: BTreeSet<Watch>,
    held: Vec<(Watch, Heard)>,
}

impl Leaving {
    /// Takes what was heard, and gives back what counts now, in the order in which it was heard.
    pub(super) fn pass(&mut self, watch: Watch, heard: Heard) -> Vec<(Watch, Heard)> {
        match heard {
            Heard::Leaving(true) => {
                self.kinds.insert(watch);
                Vec::new()
            }
            Heard::Leaving(false) => {
                self.kinds.remove(&watch);
                if self.kinds.is_empty() { std::mem::take(&mut self.held) } else { Vec::new() }
            }
            // Why a kind cannot be watched changes nothing of its objects.
            Heard::Failed(_) => vec![(watch, heard)],
            _ if !self.kinds.is_empty() && matches!(watch, Watch::Custom(_)) => {
                self.held.push((watch, heard));
                Vec::new()
            }
            _ => vec![(watch, heard)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::source::kube::watch::Custom;

    const RULES: Watch = Watch::Custom(Custom::VirtualServices);
    const SUBSETS: Watch = Watch::Custom(Custom::DestinationRules);

    fn gone() -> Heard {
        Heard::Gone("a".into())
    }

    /// Fails if the end of one kind is told while another is still being deleted, or if what is no rule waits too.
    #[test]
    fn ends_wait_for_the_last_of_them_and_keep_their_order() {
        let mut leaving = Leaving::default();
        assert_eq!(leaving.pass(SUBSETS, gone()), [(SUBSETS, gone())]);
        for kind in [SUBSETS, RULES] {
            assert!(leaving.pass(kind, Heard::Leaving(true)).is_empty());
        }
        assert!(leaving.pass(SUBSETS, gone()).is_empty());
        assert!(leaving.pass(SUBSETS, Heard::Leaving(false)).is_empty());
        assert!(leaving.pass(SUBSETS, Heard::Absent).is_empty());
        assert_eq!(leaving.pass(Watch::Namespaces, gone()), [(Watch::Namespaces, gone())]);
        let failed = Heard::Failed("403".into());
        assert_eq!(leaving.pass(RULES, failed.clone()), [(RULES, failed)]);
        assert!(leaving.pass(RULES, gone()).is_empty());
        let told = leaving.pass(RULES, Heard::Leaving(false));
        assert_eq!(told, [(SUBSETS, gone()), (SUBSETS, Heard::Absent), (RULES, gone())]);
        assert_eq!(leaving.pass(RULES, gone()), [(RULES, gone())]);
    }
}
