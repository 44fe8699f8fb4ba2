//! The marker by which aya lets a type cross the kernel boundary.

#[cfg(feature = "user")]
mod user {
    use crate::{config::CaptureConfig, event::Event, flow::*, netns::NetnsEntry, rule::*};

    macro_rules! pod {
        ($($type:ty),+) => {
            $(
                // SAFETY: repr(C), Copy, only integers and arrays of them, no padding (see `layout`): every bit pattern is a value.
                unsafe impl aya::Pod for $type {}
            )+
        };
    }

    pod!(CaptureConfig, Event, FlowKey, FlowOrigin, NetnsEntry, RuleEntry, RuleKey, SocketOrigin);
}
