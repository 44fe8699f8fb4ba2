//! The class of our packets on the wire.

/// A Differentiated Services code point, 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dscp(u8);

impl Dscp {
    /// The code point is left as the kernel has it.
    pub const UNCHANGED: Self = Self(0);
    /// Networks may drop these packets first (RFC 8622).
    pub const LOWER_EFFORT: Self = Self(1);

    /// `None` if it does not fit into six bits.
    #[must_use]
    pub fn new(code_point: u32) -> Option<Self> {
        u8::try_from(code_point).ok().filter(|code_point| *code_point < 64).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// The whole field of the IP header: the code point is its upper six bits (RFC 2474, 3).
    #[must_use]
    pub fn field(self) -> u32 {
        u32::from(self.0) << 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_point_has_six_bits() {
        assert_eq!(Dscp::new(63).map(Dscp::field), Some(0xfc));
        assert_eq!(Dscp::new(1), Some(Dscp::LOWER_EFFORT));
        assert_eq!(Dscp::new(64), None);
        assert_eq!(Dscp::new(256), None, "not cut to eight bits");
    }
}
