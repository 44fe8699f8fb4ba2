//! Layouts, asserted at compile time for the host and for the BPF target alike: a field that moves is a build error.

use core::mem::{align_of, offset_of, size_of};

use crate::{config::CaptureConfig, event::Event, flow::*, netns::NetnsEntry, rule::*};

macro_rules! layout {
    ($type:ty, size $size:literal, align $align:literal, $($field:ident @ $offset:literal),+ $(,)?) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(align_of::<$type>() == $align);
            $(assert!(offset_of!($type, $field) == $offset);)+
        };
    };
}

layout!(NetnsEntry, size 48, align 4, ip6 @ 0, listen6 @ 16, ip4 @ 32, flags @ 36, port4 @ 40, port6 @ 42, generation @ 44);
layout!(RuleKey, size 20, align 2, address @ 0, port @ 16, family @ 18, protocol @ 19);
layout!(RuleEntry, size 12, align 4, rule @ 0, flags @ 4, generation @ 8);
layout!(SocketOrigin, size 48, align 4, address @ 0, local @ 16, rule @ 32, generation @ 36, port @ 40, listener_port @ 42,
    family @ 44, socket_family @ 45, padding @ 46);
layout!(FlowKey, size 32, align 8, cookie @ 0, source @ 8, source_port @ 24, listener_port @ 26, family @ 28, padding @ 29);
layout!(FlowOrigin, size 32, align 8, address @ 0, connected_ns @ 16, rule @ 24, port @ 28, family @ 30, padding @ 31);
layout!(CaptureConfig, size 24, align 8, stale_ns @ 0, abi @ 8, mark @ 12, mark_mask @ 16, flags @ 20);
layout!(Event, size 40, align 8, cookie @ 0, address @ 8, counter @ 24, rule @ 28, port @ 32, family @ 34, denied @ 35, padding @ 36);
