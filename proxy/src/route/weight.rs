//! Weighted choice.

/// Items with weights; never empty, total weight above zero.
#[derive(Clone, Debug)]
pub struct Weighted<T> {
    /// Upper bound of each item's slice of `0..total`.
    items: Vec<(u64, T)>,
}

impl<T> Weighted<T> {
    /// Keeps the items with a weight above zero; a single item counts whatever its weight (Istio: "a single destination gets
    /// all traffic", `pilot/pkg/networking/core/route/route.go`). `None` if nothing is left.
    #[must_use]
    pub fn new(items: Vec<(u32, T)>) -> Option<Self> {
        let single = items.len() == 1;
        let mut total = 0;
        let items: Vec<_> = items
            .into_iter()
            .filter_map(|(weight, item)| {
                let weight = if single { weight.max(1) } else { weight };
                total += u64::from(weight);
                (weight > 0).then_some((total, item))
            })
            .collect();
        (!items.is_empty()).then_some(Self { items })
    }

    /// The item that a uniform 64-bit draw falls on.
    #[must_use]
    pub fn pick(&self, draw: u64) -> &T {
        let total = self.items.last().map_or(1, |(bound, _)| *bound);
        let point = draw % total;
        let index = self.items.partition_point(|(bound, _)| *bound <= point);
        &self.items[index].1
    }

    /// Every item with its weight.
    pub fn with_weights(&self) -> impl Iterator<Item = (u64, &T)> {
        let before = [0].into_iter().chain(self.items.iter().map(|(bound, _)| *bound));
        self.items.iter().zip(before).map(|((bound, item), before)| (bound - before, item))
    }

    /// Every item.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_of_the_total_falls_on_exactly_its_slice() {
        let weighted = Weighted::new(vec![(1, 'a'), (0, 'b'), (3, 'c')]).unwrap();
        let picked: String = (0..8).map(|draw| *weighted.pick(draw)).collect();
        assert_eq!(picked, "acccaccc");
    }

    #[test]
    fn weights_are_remembered() {
        let weighted = Weighted::new(vec![(1, 'a'), (0, 'b'), (3, 'c')]).unwrap();
        assert_eq!(weighted.with_weights().collect::<Vec<_>>(), [(1, &'a'), (3, &'c')]);
    }

    #[test]
    fn a_single_destination_needs_no_weight() {
        assert_eq!(*Weighted::new(vec![(0, 'a')]).unwrap().pick(7), 'a');
    }

    #[test]
    fn nothing_is_left_of_zero_weights() {
        assert!(Weighted::new(vec![(0, 'a'), (0, 'b')]).is_none());
        assert!(Weighted::<char>::new(vec![]).is_none());
    }
}
