//! Istio's percentages as parts per million.
//!
//! Comes in: the three spellings of a mirror's percentage, already checked to be within 0 and 100. Goes out: parts per million, where 0
//! means "compiled away". The arithmetic is `MirrorPercent` and `MirrorPercentByPolicy` of Istio's
//! `pilot/pkg/networking/core/route/route.go`.

/// Every request.
pub const ALL: u32 = 1_000_000;

/// `value` percent. Cut off, not rounded, as Istio does: 0.57 becomes 5699, and 0.00009 becomes 0.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "cutting off is what Istio does; the value is within 0 and 100"
)]
pub fn ppm(value: f64) -> u32 {
    ((value * 10_000.0) as u32).min(ALL)
}

/// Sample of `mirror`: `percentage` is `Some(value)` if `mirrorPercentage` is there (an empty one counts as 0) and then beats
/// `percent`; without both everything is mirrored.
#[must_use]
pub fn mirror(percentage: Option<f64>, percent: Option<u32>) -> u32 {
    match (percentage, percent) {
        (Some(value), _) => ppm(value),
        (None, Some(percent)) => percent.min(100) * (ALL / 100),
        (None, None) => ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_percentage_mirrors_everything() {
        assert_eq!(mirror(None, None), ALL);
    }

    #[test]
    fn the_precise_percentage_wins_even_when_it_is_zero() {
        assert_eq!(mirror(Some(0.0), Some(100)), 0);
        assert_eq!(mirror(Some(12.5), Some(100)), 125_000);
    }

    #[test]
    fn the_integer_percentage_counts_alone() {
        assert_eq!(mirror(None, Some(0)), 0);
        assert_eq!(mirror(None, Some(1)), 10_000);
        assert_eq!(mirror(None, Some(100)), ALL);
    }

    #[test]
    fn fractions_are_cut_off_as_istio_does() {
        assert_eq!(ppm(0.57), 5699);
        assert_eq!(ppm(0.00009), 0);
        assert_eq!(ppm(0.0001), 1);
        assert_eq!(ppm(50.0), 500_000);
        assert_eq!(ppm(100.0), ALL);
    }

    /// Istio cuts off `value * 10000` in floating point, which makes 612 of the two-decimal percentages one part per million too small.
    #[test]
    fn as_many_two_decimal_percentages_are_cut_as_in_istio() {
        let cut = (0..=10_000_u32).filter(|&hundredths| ppm(f64::from(hundredths) / 100.0) != hundredths * 100).count();
        assert_eq!(cut, 612);
    }
}
