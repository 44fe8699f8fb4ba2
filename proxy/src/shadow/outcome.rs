//! How a shadow ended. For every mirror: candidates = sum over outcomes, once all have ended.

/// How a shadow ended, apart from [`Ended::Answered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No whole answer within the shadow's own timeout.
    Timeout,
    /// No endpoint accepted the connection.
    ConnectFailed,
    /// The connection broke before the answer was complete.
    Reset,
    /// The subset has no endpoint.
    NoEndpoint,
    /// Unknown Service or subset.
    UnknownDestination,
    /// Too many shadows of this mirror under way.
    ShedConcurrency,
    /// The node's budget of unsent shadow bytes is spent.
    ShedMemory,
    /// The node is short of CPU.
    ShedOverload,
    /// More unsent body than one shadow may hold.
    TooSlow,
    /// The client went away before its request was complete.
    Cancelled,
    /// Not in the sample.
    SampledOut,
    /// The policy excludes the method.
    MethodExcluded,
    /// CONNECT, an upgrade, or a request that we answered ourselves.
    NotMirrorable,
    /// The request is a shadow itself.
    Loop,
    /// The process ended first.
    Draining,
}

impl Outcome {
    /// Every outcome with its label value.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::Timeout, "timeout"),
        (Self::ConnectFailed, "connect_failed"),
        (Self::Reset, "reset"),
        (Self::NoEndpoint, "no_endpoint"),
        (Self::UnknownDestination, "unknown_destination"),
        (Self::ShedConcurrency, "shed_concurrency"),
        (Self::ShedMemory, "shed_memory"),
        (Self::ShedOverload, "shed_overload"),
        (Self::TooSlow, "too_slow"),
        (Self::Cancelled, "cancelled"),
        (Self::SampledOut, "sampled_out"),
        (Self::MethodExcluded, "method_excluded"),
        (Self::NotMirrorable, "not_mirrorable"),
        (Self::Loop, "loop"),
        (Self::Draining, "draining"),
    ];

    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// The end of a shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A final answer came, whole or as much of it as its bound let us read; the status code.
    Answered(u16),
    /// Anything else.
    Without(Outcome),
}
