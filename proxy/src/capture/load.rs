//! Object → kernel: the embedded ELF file, with sizes and log level patched in. Nothing is attached here.

use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned, maps::MapError, programs::ProgramError};

use super::{CaptureError, CaptureOptions, chain};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/understudy.bpf.o"));

/// Is the kernel side part of this binary?
pub(super) fn is_built() -> bool {
    !OBJECT.is_empty()
}

/// Creates the maps and relocates the programs; [`super::attach`] loads each program just before it attaches it.
pub(super) fn load(options: &CaptureOptions) -> Result<Ebpf, CaptureError> {
    if !is_built() {
        return Err(CaptureError::NotBuilt);
    }
    EbpfLoader::new()
        .map_max_entries("RULES", options.max_rules)
        .map_max_entries("NETNS", options.max_pods)
        .map_max_entries("ORIG", options.max_origins)
        .override_global(aya_log::LEVEL, &options.log_level, true)
        .load(OBJECT)
        .map_err(|error| CaptureError::Load {
            what: "the eBPF object".to_owned(),
            hint: hint(&error),
            reason: chain(&error),
        })
}

fn hint(error: &EbpfError) -> &'static str {
    let io = match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => Some(io_error),
        EbpfError::ProgramError(ProgramError::LoadError { io_error, .. }) => Some(io_error),
        _ => None,
    };
    hint_for(io.and_then(std::io::Error::raw_os_error))
}

/// What an error number of `bpf(2)` usually means.
pub(super) fn hint_for(errno: Option<i32>) -> &'static str {
    match errno {
        Some(libc::EPERM) => "; needs root, or CAP_BPF and CAP_NET_ADMIN (see `understudy doctor`)",
        Some(libc::EINVAL) => "; the kernel may be too old, 5.15 or newer is needed (see `understudy doctor`)",
        Some(libc::ENOMEM | libc::E2BIG) => "; a map is larger than the memory allows",
        _ => "",
    }
}
