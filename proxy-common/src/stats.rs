//! `STATS`: what the connect hook decided, counted per CPU. The counters cover connects of enrolled namespaces, and
//! [`Counter::NotEnrolled`] the others.

/// Index into `STATS`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Connect calls over TCP that the hook saw.
    Seen,
    /// Sent to the proxy's listener.
    Redirected,
    /// Passed: the namespace is not enrolled.
    NotEnrolled,
    /// Passed: loopback or unspecified destination.
    Loopback,
    /// Passed: the socket carries the proxy's mark.
    OwnMark,
    /// Passed: the socket is bound to a device.
    DeviceBound,
    /// Passed: no rule for the destination.
    NoRule,
    /// The proxy is paused or its heartbeat is stale: the rule's failure policy decided.
    Stale,
    /// No live listener of ours in the namespace: the rule's failure policy decided.
    NoListener,
    /// The original destination could not be stored: the rule's failure policy decided.
    StoreFailed,
    /// Refused with `EPERM` by a closed failure policy (counted beside the reason).
    Denied,
    /// Redirected although the socket could not be bound to the pod's address.
    BindFailed,
    /// `ORIG` could not be written: the proxy will refuse the connection.
    PublishFailed,
}

impl Counter {
    /// Every counter with the name that metrics give it.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Seen, "seen"),
        (Self::Redirected, "redirected"),
        (Self::NotEnrolled, "pass_not_enrolled"),
        (Self::Loopback, "pass_loopback"),
        (Self::OwnMark, "pass_own_mark"),
        (Self::DeviceBound, "pass_device_bound"),
        (Self::NoRule, "pass_no_rule"),
        (Self::Stale, "stale"),
        (Self::NoListener, "no_listener"),
        (Self::StoreFailed, "store_failed"),
        (Self::Denied, "denied"),
        (Self::BindFailed, "bind_failed"),
        (Self::PublishFailed, "publish_failed"),
    ];
    /// Size of the map.
    pub const COUNT: u32 = Self::ALL.len() as u32;
}
