//! Which cgroup2 file systems are mounted, out of a mountinfo text (proc_pid_mountinfo(5)).

use std::path::PathBuf;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The mounted part of the file system: relative to the reader's cgroup namespace, `/..` for what is above it.
    pub(super) root: String,
    pub(super) point: PathBuf,
}

/// The cgroup2 mounts of a text.
pub(super) fn cgroup2(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        if tail.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = head.split(' ').skip(3);
        Some(Mount { root: unescape(fields.next()?), point: PathBuf::from(unescape(fields.next()?)) })
    };
    text.lines().filter_map(mount).collect()
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(part.get(3..).unwrap_or_default());
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";

    #[test]
    fn the_mount_is_found_by_type_also_on_a_hybrid_machine() {
        assert_eq!(cgroup2(HYBRID), [Mount { root: "/".into(), point: "/sys/fs/cgroup/unified".into() }]);
        let unified = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(cgroup2(unified), [Mount { root: "/".into(), point: "/sys/fs/cgroup".into() }]);
    }

    #[test]
    fn a_mount_point_with_a_blank_is_read_right() {
        let text = "41 31 0:38 /../.. /host\\040cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2(text), [Mount { root: "/../..".into(), point: "/host cgroup".into() }]);
        assert_eq!(unescape("a\\134b\\x"), "a\\b\\x");
    }
}
