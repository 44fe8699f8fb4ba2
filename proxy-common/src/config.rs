//! `CFG` and `HEARTBEAT`: what the hooks need to know of the process. Two maps, because each has one writer: the control
//! side writes `CFG`, a worker's tick writes `HEARTBEAT` (a `u64`, `CLOCK_MONOTONIC` nanoseconds).

/// New connections follow their rule's failure policy although the proxy is alive. The kernel side obeys it; nothing sets it yet.
pub const PAUSED: u32 = 1;

/// Value of `CFG`, at index 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureConfig {
    /// A heartbeat older than this is a hang, nanoseconds.
    pub stale_ns: u64,
    /// [`crate::ABI`]; zero = not configured yet, every connection passes.
    pub abi: u32,
    /// `SO_MARK` bits of the proxy's own sockets.
    pub mark: u32,
    /// Which bits of the mark count.
    pub mark_mask: u32,
    /// [`PAUSED`] or nothing.
    pub flags: u32,
}

/// `SO_MARK` bit of the proxy's sockets unless configured otherwise.
///
/// Bit 12 is clear of Istio (0x539, 0x111/0xfff), Cilium (0x200/0xf00), kube-proxy (0x4000, 0x8000), Tailscale (0xff0000),
/// Calico (0xffff0000) and dae (0x8000000).
pub const DEFAULT_MARK: u32 = 0x1000;
/// Mask that belongs to [`DEFAULT_MARK`].
pub const DEFAULT_MARK_MASK: u32 = 0x1000;
/// A heartbeat older than one second is a hang.
pub const DEFAULT_STALE_NS: u64 = 1_000_000_000;
