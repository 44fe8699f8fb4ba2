//! Room for descriptors: each pod costs a namespace and two listeners, each connection at least two sockets.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// `RLIMIT_NOFILE` as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What counts.
    pub soft: rlim_t,
    /// How far the soft limit can be raised without privilege.
    pub hard: rlim_t,
}

impl OpenFiles {
    /// Descriptors that may be in use when a shadow gets one: nine tenths. The last tenth is for clients and primaries.
    #[must_use]
    pub fn for_shadows(self) -> u32 {
        u32::try_from(self.soft / 10 * 9).unwrap_or(u32::MAX)
    }
}

/// What we ask for where we may raise the hard limit (`fs.nr_open` is 1048576 unless someone changed it).
const WANTED: rlim_t = 1_048_576;

/// Raises the soft limit to the hard one, and both to [`WANTED`] where that is allowed. A refusal is no error: what is in force afterwards is
/// returned.
#[must_use]
pub fn raise() -> OpenFiles {
    let before = current();
    if before.hard < WANTED && setrlimit(Resource::RLIMIT_NOFILE, WANTED, WANTED).is_ok() {
        return current();
    }
    if before.soft < before.hard {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, before.hard, before.hard);
    }
    current()
}

/// What is in force.
#[must_use]
pub fn current() -> OpenFiles {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    OpenFiles { soft, hard }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_kept_from_shadows() {
        let limit = |soft| OpenFiles { soft, hard: soft }.for_shadows();
        assert_eq!((limit(1024), limit(1_048_576), limit(rlim_t::MAX)), (918, 943_713, u32::MAX));
    }

    #[test]
    fn raising_never_lowers_and_reaches_the_hard_limit() {
        let before = current();
        let after = raise();
        assert!(after.soft >= before.soft && after.hard >= before.hard);
        assert_eq!(after.soft, after.hard);
        assert_eq!(after, current());
    }
}
