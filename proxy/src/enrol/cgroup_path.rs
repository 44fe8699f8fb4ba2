//! Which pod a cgroup belongs to, by its path.
//!
//! Comes in: the text of `/proc/PID/cgroup`. Goes out: the UID of a pod. Never: a look at the machine.
//!
//! The kubelet names a pod's cgroup in one of two ways, in cgroup v1, hybrid and v2 alike:
//!
//! | cgroup driver | path |
//! | --- | --- |
//! | systemd | `…/kubepods-burstable-pod<UID with _ for ->.slice/…` |
//! | cgroupfs | `…/kubepods/burstable/pod<UID>/…` |
//!
//! Something may stand before it (`/kubelet.slice/kubelet-kubepods.slice/…` in kind, `/docker/ID/…`), and a container's cgroup stands below
//! it, in the runtime's form (`cri-containerd-ID.scope`, `crio-ID.scope`, `docker-ID.scope`, `ID`). Whoever reads in a cgroup namespace of
//! his own sees paths relative to it, like `/../../kubepods-besteffort-pod….slice/…`.
//!
//! A static pod's UID is a hash without dashes; the API shows its mirror pod under another UID, with the hash in the annotation
//! `kubernetes.io/config.mirror`.

use std::borrow::Cow;

/// A process that CRI-O keeps beside each container, in the pod's cgroup but in the network of the host.
const CONMON: &str = "crio-conmon-";

/// UID of the pod that a process belongs to, with dashes as the API writes it. `text` is its `/proc/PID/cgroup`, a line for each hierarchy.
///
/// `None` for a process of no pod, for a runtime's own process in a pod's cgroup, and if two hierarchies name two pods.
pub(super) fn pod_of(text: &str) -> Option<Cow<'_, str>> {
    // 4:memory:/kubepods/… and 0::/kubepods/…
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut found = None;
    for path in paths {
        if path.contains(CONMON) {
            return None;
        }
        match (pod_of_path(path), &found) {
            (Some(uid), None) => found = Some(uid),
            (Some(uid), Some(other)) if uid != *other => return None,
            _ => {}
        }
    }
    found
}

/// The outermost pod: what is below a pod's cgroup was made by the pod, which may choose any name.
fn pod_of_path(path: &str) -> Option<Cow<'_, str>> {
    // What is above our own cgroup namespace is not shown, `kubepods` may be in it.
    let mut below_kubepods = path.starts_with("/..");
    for part in path.split('/') {
        // A runtime that does not know of the systemd driver writes `SLICE:PREFIX:ID` as one name.
        if let Some(slice) = part.split(':').next().and_then(|name| name.strip_suffix(".slice")) {
            if let Some((_, uid)) = slice.split_once("-pod").filter(|(before, _)| is_kubepods(before)) {
                return is_uid(uid).then(|| uid.replace('_', "-").into());
            }
        } else if let Some(uid) = part.strip_prefix("pod").filter(|uid| below_kubepods && is_uid(uid)) {
            return Some(uid.into());
        }
        below_kubepods |= part == "kubepods";
    }
    None
}

/// `kubepods`, `kubepods-burstable`, `kubelet-kubepods-besteffort`.
fn is_kubepods(slice: &str) -> bool {
    slice.split('-').any(|word| word == "kubepods")
}

/// A UUID, or a static pod's hash.
fn is_uid(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "b7cc9dfb-9ee6-4fae-bbfc-3ff7118b24e9";
    const ID: &str = "763474620c678e49290e9c7c01cc882f6be152ccb8d4cb6ec438b984ef6e73d2";

    /// The UID in the path's own form for each `{}`, the container's id for each `#`.
    fn path(form: &str) -> String {
        let uid = if form.contains(".slice") { UID.replace('-', "_") } else { UID.to_owned() };
        form.replace("{}", &uid).replace('#', ID)
    }

    fn found(text: &str) -> Option<String> {
        pod_of(text).map(Cow::into_owned)
    }

    /// Mutation that breaks it: taking `_` for a part of the UID; asking for `kubepods` at the start of the path.
    #[test]
    fn every_driver_runtime_and_layout_names_the_pod() {
        for form in [
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-#.scope",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice/crio-#.scope",
            "0::/kubepods.slice/kubepods-pod{}.slice/docker-#.scope",
            "0::/kubepods.slice/kubepods-pod{}.slice/crio-#.scope/container",
            "0::/kubepods/burstable/pod{}/#",
            "0::/kubepods/pod{}/crio-#",
            "0::/kubepods/besteffort/pod{}/#/init.scope",
            // kind, both drivers, and a node that sees the whole of the machine's tree
            "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{}.slice/cri-containerd-#.scope",
            "0::/kubelet/kubepods/besteffort/pod{}/#",
            "0::/docker/#/kubelet/kubepods/pod{}/#",
            "0::/system.slice/docker-#.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{}.slice/cri-containerd-#.scope",
            // v1, one of whose hierarchies stops at the pod
            "9:name=systemd:/kubepods/besteffort/pod{}/#\n8:pids:/kubepods/besteffort/pod{}/#\n5:devices:/kubepods/besteffort/pod{}",
            "4:cpu,cpuacct:/kubepods/burstable/pod{}/#",
            // hybrid
            "5:devices:/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{}.slice\n6:freezer:/\n0::/",
            // containerd that takes the systemd driver's names for cgroupfs ones
            "3:memory:/system.slice/containerd.service/kubepods-burstable-pod{}.slice:cri-containerd:#",
        ] {
            assert_eq!(found(&path(form)).as_deref(), Some(UID), "{form}");
        }
    }

    /// Mutation that breaks it: asking for `kubepods` above a relative path too.
    #[test]
    fn a_reader_in_a_cgroup_namespace_of_its_own_finds_the_pods_of_others() {
        for form in [
            "0::/../../../kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice/cri-containerd-#.scope",
            "0::/../../kubepods-burstable-pod{}.slice/cri-containerd-#.scope",
            "0::/../../pod{}/#",
            "0::/../../../besteffort/pod{}/#",
        ] {
            assert_eq!(found(&path(form)).as_deref(), Some(UID), "{form}");
        }
        // Our own pod: it is not named, and is not looked for.
        assert_eq!(found("0::/"), None);
        assert_eq!(found(&path("0::/../cri-containerd-#.scope")), None);
    }

    #[test]
    fn what_is_no_pod_is_none() {
        for text in [
            "",
            "0::/init.scope",
            "0::/system.slice/containerd.service",
            "0::/kubepods.slice/kubepods-burstable.slice",
            "0::/user.slice/podman-1.scope",
            "0::/system.slice/pod-of-beans.slice",
            "0::/machine/podcast",
            "0::/kubepods",
            "nonsense",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    /// conmon lives in the network of the host. Mutation that breaks it: leaving the check out.
    #[test]
    fn cri_os_monitor_is_not_of_the_pod() {
        for form in [
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/crio-conmon-#.scope",
            "8:pids:/kubepods/burstable/pod{}/crio-conmon-#\n0::/",
        ] {
            assert_eq!(found(&path(form)), None, "{form}");
        }
    }

    #[test]
    fn a_static_pods_hash_is_its_uid() {
        let hash = "0123456789abcdef0123456789abcdef";
        let text =
            format!("0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{hash}.slice/crio-{ID}.scope");
        assert_eq!(found(&text).as_deref(), Some(hash));
        assert_eq!(found(&format!("0::/kubepods/burstable/pod{hash}/{ID}")).as_deref(), Some(hash));
    }

    /// A pod with a cgroup tree of its own may name its children as it likes. Mutation that breaks it: taking the innermost name.
    #[test]
    fn a_pod_cannot_pose_as_another_by_what_it_makes_below_its_own_cgroup() {
        let other = "/kubepods/podc3f79c4b-2427-4bc6-80ce-cbe91704dda3";
        let text = path("0::/kubepods/pod{}/#") + other;
        assert_eq!(found(&text).as_deref(), Some(UID));
        // Two hierarchies that disagree name nobody.
        assert_eq!(found(&(path("4:memory:/kubepods/pod{}/#\n0::") + other)), None);
    }
}
