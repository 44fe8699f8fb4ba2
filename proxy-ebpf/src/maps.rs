//! Every map. Keys and values are types of `proxy-common`; sizes are what the loader finds unless it is told otherwise.
//!
//! | map | kind | written by | read by | when full |
//! | --- | --- | --- | --- | --- |
//! | `NETNS` | hash, namespace cookie → listener | user: enrolment | `connect4|6` | user side gets `E2BIG` |
//! | `RULES` | hash, destination → policy | user: sync of the table | `connect4|6` | user side gets `E2BIG` |
//! | `SKORIG` | socket storage | `connect4|6` | `sock_ops`, `get*name4|6` | `StoreFailed`: the rule's failure policy |
//! | `ORIG` | LRU hash, accepted connection → original destination | `sock_ops` | user: accept (takes it out) | the oldest entry goes |
//! | `CFG` | array of one | user: capture | `connect4|6` | – |
//! | `HEARTBEAT` | array of one | user: a worker's tick | `connect4|6` | – |
//! | `STATS` | per-CPU array, one per counter | all programs | user: metrics | – |
//! | `REPORTED` | per-CPU array, one per counter | `count` | `count` | – |
//! | `EVENTS` | ring buffer | `count` | user: log | the event is lost |

use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage},
    macros::btf_map,
};
use proxy_common::{
    config::CaptureConfig,
    event::Event,
    flow::{FlowKey, FlowOrigin, SocketOrigin},
    netns::NetnsEntry,
    rule::{RuleEntry, RuleKey},
    stats::Counter,
};

#[btf_map]
pub(crate) static NETNS: HashMap<u64, NetnsEntry, 8192> = HashMap::new();

#[btf_map]
pub(crate) static RULES: HashMap<RuleKey, RuleEntry, 65536> = HashMap::new();

#[btf_map]
pub(crate) static SKORIG: SkStorage<SocketOrigin> = SkStorage::new();

#[btf_map]
pub(crate) static ORIG: LruHashMap<FlowKey, FlowOrigin, 65536> = LruHashMap::new();

#[btf_map]
pub(crate) static CFG: Array<CaptureConfig, 1> = Array::new();

#[btf_map]
pub(crate) static HEARTBEAT: Array<u64, 1> = Array::new();

#[btf_map]
pub(crate) static STATS: PerCpuArray<u64, { Counter::COUNT as usize }> = PerCpuArray::new();

#[btf_map]
pub(crate) static REPORTED: PerCpuArray<u64, { Counter::COUNT as usize }> = PerCpuArray::new();

#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, { 256 * 1024 }> = RingBuf::new();
