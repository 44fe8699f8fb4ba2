//! Which requests are mirrored. One draw per request (`key` says whose) serves all mirrors of its rule, so the sample of a smaller percentage lies inside that
//! of a larger one; the weighted choice of the primary uses a draw of its own, so the two are independent (in Envoy they are not).

/// The whole: 100 % in parts per million.
pub const WHOLE: u32 = 1_000_000;

/// A uniform draw that decides for all mirrors of one request.
#[derive(Clone, Copy, Debug)]
pub struct Draw(u64);

impl Draw {
    /// From 64 uniform random bits.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        Self(random)
    }

    /// Whether a mirror of `ppm` parts per million takes the request. Exact: of the 2^64 draws, `ppm` in a million say yes (within one draw).
    #[must_use]
    pub const fn takes(self, ppm: u32) -> bool {
        // The draw as a fraction of 2^64, scaled to the whole: no modulo, so no bias.
        let point = ((self.0 as u128 * WHOLE as u128) >> 64) as u32;
        point < ppm
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_takes_none_and_the_whole_takes_all() {
        for draw in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(!Draw::new(draw).takes(0));
            assert!(Draw::new(draw).takes(WHOLE));
        }
    }

    #[test]
    fn evenly_spread_draws_give_the_exact_share() {
        let step = u64::MAX / u64::from(WHOLE);
        for ppm in [1, 250_000, 999_999] {
            let taken = (0..WHOLE).filter(|i| Draw::new(u64::from(*i) * step + step / 2).takes(ppm)).count();
            assert_eq!(taken, ppm as usize);
        }
    }

    proptest! {
        #[test]
        fn samples_of_several_mirrors_are_nested(draw: u64, a in 0..=WHOLE, b in 0..=WHOLE) {
            let (small, large) = (a.min(b), a.max(b));
            prop_assert!(!Draw::new(draw).takes(small) || Draw::new(draw).takes(large));
        }
    }
}
