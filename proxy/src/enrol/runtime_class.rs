//! Pods whose connections are not made by the node's kernel, told by the name of their runtime class.
//!
//! The name is all there is to go by: what a RuntimeClass starts is in the configuration of the container runtime. A class of another name is
//! taken for one with a shared kernel, and its pod is enrolled in vain; hence the words of the usual installations.

/// Beginnings of words in names like `kata-qemu`, `gvisor`, `aws-firecracker`.
const OWN_NETWORK: [&str; 8] = ["kata", "gvisor", "runsc", "firecracker", "kubevirt", "krun", "libkrun", "urunc"];

/// Does this class have a kernel (a virtual machine) or a network stack (gVisor) of its own?
pub(super) fn is_out_of_sight(class: &str) -> bool {
    let mut words = class.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| OWN_NETWORK.iter().any(|own| word.starts_with(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_by_words_of_their_names() {
        for class in [
            "kata",
            "kata-qemu",
            "kata-clh",
            "katacontainers",
            "gvisor",
            "runsc",
            "runsc-kvm",
            "aws-firecracker",
            "kubevirt",
            "krun",
        ] {
            assert!(is_out_of_sight(class), "{class}");
        }
        for class in ["nvidia", "runc", "crun", "sysbox-runc", "spin", "my-skatalog", "youki"] {
            assert!(!is_out_of_sight(class), "{class}");
        }
    }
}
