//! `SO_MARK`: how the connect hook knows our own sockets.

use std::{fmt, str::FromStr};

use proxy_common::config::{DEFAULT_MARK, DEFAULT_MARK_MASK};

/// Bits of `SO_MARK` that say "this socket is the proxy's".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The bits to set.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

/// A mark that cannot tell our sockets from others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// Not `VALUE` or `VALUE/MASK`.
    #[error("`{0}` is not a mark; write VALUE or VALUE/MASK, for example 0x1000/0x1000")]
    Syntax(String),
    /// No bit is left.
    #[error("mark {0} has no bit inside its mask; every socket, or none, would count as ours")]
    Empty(Mark),
}

/// Marks of other software, as value and mask: a socket must not seem to be theirs, nor theirs ours.
const TAKEN: [(u32, u32, &str); 6] = [
    (0x539, 0xffff_ffff, "Istio's ztunnel"),
    (0x111, 0xfff, "Istio"),
    (0x200, 0xf00, "Cilium"),
    (0x4000, 0x4000, "kube-proxy"),
    (0x8000, 0x8000, "kube-proxy"),
    (0x0800_0000, 0x0800_0000, "dae"),
];

impl Mark {
    /// Checks that the mark can say something.
    ///
    /// # Errors
    /// If no bit of the value is inside the mask.
    pub fn new(value: u32, mask: u32) -> Result<Self, MarkError> {
        let mark = Self { value: value & mask, mask };
        if mark.value == 0 { Err(MarkError::Empty(Self { value, mask })) } else { Ok(mark) }
    }

    /// Does a socket with this `SO_MARK` belong to us?
    #[must_use]
    pub fn matches(&self, mark: u32) -> bool {
        self.mask != 0 && mark & self.mask == self.value & self.mask
    }

    /// Whose marks this one could be taken for, for a warning.
    #[must_use]
    pub fn clash(&self) -> Option<&'static str> {
        // Ours on a socket must not look like theirs, and theirs must not look like ours.
        TAKEN
            .iter()
            .find(|(value, mask, _)| self.value & mask == *value || self.matches(*value))
            .map(|(.., whose)| *whose)
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self { value: DEFAULT_MARK, mask: DEFAULT_MARK_MASK }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

impl FromStr for Mark {
    type Err = MarkError;

    fn from_str(text: &str) -> Result<Self, MarkError> {
        let number = |part: &str| {
            let part = part.trim();
            part.strip_prefix("0x").map_or_else(|| part.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
        };
        let syntax = || MarkError::Syntax(text.to_owned());
        let (value, mask) = match text.split_once('/') {
            Some((value, mask)) => (number(value).ok_or_else(syntax)?, number(mask).ok_or_else(syntax)?),
            None => number(text).map(|value| (value, value)).ok_or_else(syntax)?,
        };
        Self::new(value, mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_value_with_or_without_a_mask() {
        assert_eq!("0x1000".parse(), Ok(Mark { value: 0x1000, mask: 0x1000 }));
        assert_eq!("4096/0xf000".parse(), Ok(Mark { value: 0x1000, mask: 0xf000 }));
        assert!(matches!("bit twelve".parse::<Mark>(), Err(MarkError::Syntax(_))));
        assert!(matches!("0".parse::<Mark>(), Err(MarkError::Empty(_))));
        assert!(matches!("0x1000/0x2000".parse::<Mark>(), Err(MarkError::Empty(_))));
    }

    #[test]
    fn the_default_clashes_with_nobody_and_the_known_ones_do() {
        assert_eq!(Mark::default().clash(), None);
        for text in ["0x539/0xffff", "0x200/0xf00", "0x4000", "0x8000"] {
            assert!(text.parse::<Mark>().unwrap().clash().is_some(), "{text}");
        }
    }

    #[test]
    fn only_the_bits_of_the_mask_count() {
        let mark = Mark { value: 0x1000, mask: 0x3000 };
        assert!(mark.matches(0x1fff) && !mark.matches(0x3000) && !mark.matches(0));
    }
}
