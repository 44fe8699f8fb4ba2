//! Whether a connect goes to the proxy. The cheap questions come first, and a question is asked only when the answer can matter.
//!
//! Every way out after the namespace was found enrolled, except the redirect, forgets what the socket was redirected for before: a
//! socket that is disconnected by `AF_UNSPEC` and connected again keeps its storage, and would publish an old destination.

use proxy_common::{
    ABI, FAMILY_V4, FAMILY_V6, PROTO_TCP,
    config::{CaptureConfig, PAUSED},
    flow::SocketOrigin,
    netns::{BIND_V4, BIND_V6, HAS_V4, HAS_V6, NetnsEntry},
    rule::{CLOSED, RuleEntry, RuleKey},
    stats::Counter,
};

use crate::address::{Endpoint, LOOPBACK_V4, Words, from_words, is_zero, mapped, words, words_v4};

/// State of a listening socket (`TCP_LISTEN`, include/net/tcp_states.h).
pub const LISTEN: u32 = 10;

/// What the application bound its socket to before it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing, so the kernel would choose.
    Unbound,
    /// A loopback address.
    Loopback,
    /// Another address, or a port.
    Bound,
}

impl Source {
    /// From the socket's own end.
    #[inline(always)]
    #[must_use]
    pub fn of(own: &Endpoint) -> Self {
        if own.is_loopback() {
            Self::Loopback
        } else if own.port == 0 && own.is_unspecified() {
            Self::Unbound
        } else {
            Self::Bound
        }
    }
}

/// What was found at the listener's address.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// State of the socket.
    pub state: u32,
    /// Its `SO_MARK`.
    pub mark: u32,
}

/// What the list asks of the kernel. The binary answers from maps and helpers, the tests from plain values.
pub trait Kernel {
    /// `CFG`.
    fn config(&self) -> Option<&CaptureConfig>;
    /// `NETNS` of the socket's own namespace.
    fn netns(&self) -> Option<&NetnsEntry>;
    /// `SO_MARK` and `SO_BINDTODEVICE` (zero: none) of the socket.
    fn marks(&self) -> (u32, u32);
    /// What the socket is bound to.
    fn source(&self) -> Source;
    /// `RULES`, by [`rule_key`].
    fn rule(&self, to: &Endpoint) -> Option<&RuleEntry>;
    /// How old the heartbeat is, nanoseconds; `u64::MAX` if there never was one.
    fn heartbeat_age(&self) -> u64;
    /// The TCP socket that a connection to the namespace's [`listener`] would reach.
    fn listener(&self, netns: &NetnsEntry, family: u8) -> Option<Found>;
    /// Sets `SKORIG` to [`origin`]; false if there is no room.
    fn remember(&self, netns: &NetnsEntry, to: &Endpoint, rule: &RuleEntry, source: Source) -> bool;
    /// Deletes `SKORIG`.
    fn forget(&self);
    /// Adds one to `STATS`.
    fn count(&self, counter: Counter);
    /// Tells `EVENTS`, if it has not been told much lately.
    fn report(&self, counter: Counter, rule: u32, denied: bool);
}

/// What to do with the connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Nothing: as if we were not there.
    Pass,
    /// `EPERM`.
    Deny,
    /// Go to the listener.
    Redirect(Redirect<'a>),
}

/// How to go to the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect<'a> {
    netns: &'a NetnsEntry,
    /// Bind the socket to [`Redirect::source`] first.
    pub bind: bool,
}

impl Redirect<'_> {
    /// The new destination as the socket's family writes it, and its port in network byte order.
    #[inline(always)]
    #[must_use]
    pub fn destination(&self, to: &Endpoint) -> (Words, u16) {
        let listener = listener(self.netns, to.family);
        (as_written(&listener.address, to), listener.port)
    }

    /// The pod's address as the socket's family writes it.
    #[inline(always)]
    #[must_use]
    pub fn source(&self, to: &Endpoint) -> Words {
        as_written(&pod_address(self.netns, to.family), to)
    }
}

/// Why a connect of an enrolled namespace does not go to the listener.
struct Stop {
    counter: Counter,
    /// The rule whose failure policy decides; none = pass.
    rule: Option<RuleEntry>,
}

/// The whole list.
#[inline(always)]
pub fn connect<'a, K: Kernel>(kernel: &'a K, to: &Endpoint) -> Verdict<'a> {
    let Some(config) = kernel.config() else { return Verdict::Pass };
    if config.abi != ABI {
        return Verdict::Pass;
    }
    kernel.count(Counter::Seen);
    let Some(netns) = kernel.netns() else {
        kernel.count(Counter::NotEnrolled);
        return Verdict::Pass;
    };
    match steer(kernel, config, netns, to) {
        Ok(redirect) => {
            kernel.count(Counter::Redirected);
            Verdict::Redirect(redirect)
        }
        Err(stop) => {
            kernel.forget();
            kernel.count(stop.counter);
            let Some(rule) = stop.rule else { return Verdict::Pass };
            let denied = rule.flags & CLOSED != 0;
            kernel.report(stop.counter, rule.rule, denied);
            if denied {
                kernel.count(Counter::Denied);
                return Verdict::Deny;
            }
            Verdict::Pass
        }
    }
}

#[inline(always)]
fn steer<'a, K: Kernel>(
    kernel: &'a K,
    config: &CaptureConfig,
    netns: &'a NetnsEntry,
    to: &Endpoint,
) -> Result<Redirect<'a>, Stop> {
    let pass = |counter| Stop { counter, rule: None };
    if to.is_loopback() || to.is_unspecified() {
        return Err(pass(Counter::Loopback));
    }
    let (mark, bound_device) = kernel.marks();
    if is_ours(mark, config) {
        return Err(pass(Counter::OwnMark));
    }
    if bound_device != 0 {
        return Err(pass(Counter::DeviceBound));
    }
    let Some(&rule) = kernel.rule(to) else { return Err(pass(Counter::NoRule)) };

    // From here on the rule's failure policy decides.
    let fail = |counter| Stop { counter, rule: Some(rule) };
    if config.flags & PAUSED != 0 || kernel.heartbeat_age() > config.stale_ns {
        return Err(fail(Counter::Stale));
    }
    let flag = if to.family == FAMILY_V4 { HAS_V4 } else { HAS_V6 };
    if netns.flags & flag == 0 {
        return Err(fail(Counter::NoListener));
    }
    match kernel.listener(netns, to.family) {
        Some(found) if found.state == LISTEN && is_ours(found.mark, config) => {}
        _ => return Err(fail(Counter::NoListener)),
    }
    let source = kernel.source();
    if !kernel.remember(netns, to, &rule, source) {
        return Err(fail(Counter::StoreFailed));
    }
    Ok(Redirect { netns, bind: source == Source::Unbound && binds(netns, to.family) })
}

/// Does the mark say that the socket is the proxy's? A mask of zero means that nothing is.
#[inline(always)]
#[must_use]
pub fn is_ours(mark: u32, config: &CaptureConfig) -> bool {
    config.mark_mask != 0 && mark & config.mark_mask == config.mark & config.mark_mask
}

/// What `SKORIG` keeps of a redirect.
#[inline(always)]
#[must_use]
pub fn origin(netns: &NetnsEntry, to: &Endpoint, rule: &RuleEntry, source: Source) -> SocketOrigin {
    SocketOrigin {
        address: from_words(to.address),
        // Who binds to loopback by himself also sees it by himself.
        local: if source == Source::Loopback { [0; 16] } else { from_words(pod_address(netns, to.family)) },
        rule: rule.rule,
        generation: rule.generation,
        port: to.port,
        listener_port: if to.family == FAMILY_V4 { netns.port4 } else { netns.port6 },
        family: to.family,
        socket_family: to.socket_family,
        padding: [0; 2],
    }
}

/// The key of a destination in `RULES`.
#[inline(always)]
#[must_use]
pub fn rule_key(to: &Endpoint) -> RuleKey {
    RuleKey { address: from_words(to.address), port: to.port, family: to.family, protocol: PROTO_TCP }
}

/// Where the namespace's listener of this family is.
#[inline(always)]
#[must_use]
pub fn listener(netns: &NetnsEntry, family: u8) -> Endpoint {
    if family == FAMILY_V4 {
        return Endpoint::v4(LOOPBACK_V4, netns.port4);
    }
    Endpoint { address: words(&netns.listen6), port: netns.port6, family, socket_family: family }
}

/// The pod's address of this family, zero if it has none.
#[inline(always)]
fn pod_address(netns: &NetnsEntry, family: u8) -> Words {
    if family == FAMILY_V4 { words_v4(netns.ip4) } else { words(&netns.ip6) }
}

/// Are sockets of this namespace to be bound to the pod's address?
#[inline(always)]
fn binds(netns: &NetnsEntry, family: u8) -> bool {
    let flag = if family == FAMILY_V4 { BIND_V4 } else { BIND_V6 };
    netns.flags & flag != 0 && !is_zero(&pod_address(netns, family))
}

/// An address of the family of `to`'s tables as `to`'s socket writes it.
#[inline(always)]
fn as_written(address: &Words, to: &Endpoint) -> Words {
    if to.family == FAMILY_V4 && to.socket_family == FAMILY_V6 { mapped(address) } else { *address }
}

#[cfg(test)]
mod tests;
