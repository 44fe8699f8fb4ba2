//! The maps by name, each behind a handle that does what its one user needs.

use std::os::fd::AsFd;

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
};
use proxy_common::{
    config::CaptureConfig,
    netns::NetnsEntry,
    rule::{RuleEntry, RuleKey},
    stats::Counter,
};

use super::{CaptureError, Stats, chain};
use crate::net::NetnsCookie;

/// What user space uses of the object's maps.
pub(super) struct Maps {
    pub(super) netns: NetnsMap,
    pub(super) rules: HashMap<MapData, RuleKey, RuleEntry>,
    pub(super) config: ConfigMap,
    pub(super) stats: StatsMap,
    pub(super) origins: Shared,
    pub(super) heartbeat: Shared,
    pub(super) events: RingBuf<MapData>,
}

impl Maps {
    pub(super) fn take(object: &mut Ebpf) -> Result<Self, CaptureError> {
        Ok(Self {
            netns: NetnsMap(typed("NETNS", take(object, "NETNS")?)?),
            rules: typed("RULES", take(object, "RULES")?)?,
            config: ConfigMap(typed("CFG", take(object, "CFG")?)?),
            stats: StatsMap(typed("STATS", take(object, "STATS")?)?),
            origins: Shared { name: "ORIG", data: data("ORIG", take(object, "ORIG")?)? },
            heartbeat: Shared { name: "HEARTBEAT", data: data("HEARTBEAT", take(object, "HEARTBEAT")?)? },
            events: typed("EVENTS", take(object, "EVENTS")?)?,
        })
    }
}

fn take(object: &mut Ebpf, name: &'static str) -> Result<Map, CaptureError> {
    object.take_map(name).ok_or_else(|| CaptureError::Map {
        doing: "find it",
        map: name,
        reason: "the object has no such map; binary and object are of different versions, build both again".to_owned(),
    })
}

fn typed<T: TryFrom<Map, Error = MapError>>(name: &'static str, map: Map) -> Result<T, CaptureError> {
    T::try_from(map).map_err(|error| failed("open it", name, &error))
}

fn data(name: &'static str, map: Map) -> Result<MapData, CaptureError> {
    match map {
        Map::Array(data) | Map::LruHashMap(data) => Ok(data),
        _ => Err(CaptureError::Map { doing: "open it", map: name, reason: "it is of another kind".to_owned() }),
    }
}

/// An error of a map as an error of ours.
pub(super) fn failed(doing: &'static str, map: &'static str, error: &MapError) -> CaptureError {
    CaptureError::Map { doing, map, reason: chain(error) }
}

/// A map that several threads use, each by a handle of its own.
pub(super) struct Shared {
    name: &'static str,
    data: MapData,
}

impl Shared {
    /// Another handle.
    pub(super) fn handle(&self) -> Result<MapData, CaptureError> {
        let descriptor = self.data.fd().as_fd().try_clone_to_owned().map_err(MapError::IoError);
        descriptor.and_then(MapData::from_fd).map_err(|error| failed("make another handle", self.name, &error))
    }
}

/// `NETNS`.
pub(super) struct NetnsMap(HashMap<MapData, u64, NetnsEntry>);

impl NetnsMap {
    pub(super) fn insert(&mut self, cookie: NetnsCookie, entry: &NetnsEntry) -> Result<(), CaptureError> {
        self.0.insert(cookie.0, entry, 0).map_err(|error| failed("enrol a namespace", "NETNS", &error))
    }

    pub(super) fn remove(&mut self, cookie: NetnsCookie) -> Result<(), CaptureError> {
        match self.0.remove(&cookie.0) {
            Err(error) if !is_missing(&error) => Err(failed("withdraw a namespace", "NETNS", &error)),
            _ => Ok(()),
        }
    }

    pub(super) fn get(&self, cookie: NetnsCookie) -> Result<Option<NetnsEntry>, CaptureError> {
        match self.0.get(&cookie.0, 0) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed("read a namespace", "NETNS", &error)),
        }
    }
}

/// `CFG`.
pub(super) struct ConfigMap(Array<MapData, CaptureConfig>);

impl ConfigMap {
    pub(super) fn set(&mut self, config: CaptureConfig) -> Result<(), CaptureError> {
        self.0.set(0, config, 0).map_err(|error| failed("write it", "CFG", &error))
    }
}

/// `STATS`.
pub(super) struct StatsMap(PerCpuArray<MapData, u64>);

impl StatsMap {
    pub(super) fn totals(&self) -> Result<Stats, CaptureError> {
        let mut totals = [0; Counter::COUNT as usize];
        for (index, total) in (0..Counter::COUNT).zip(&mut totals) {
            let values = self.0.get(&index, 0).map_err(|error| failed("read it", "STATS", &error))?;
            *total = values.iter().sum();
        }
        Ok(totals)
    }
}

/// The entry is not there (which aya tells in three ways).
pub(super) fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(error) => error.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}

/// The map is full.
pub(super) fn is_full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::E2BIG))
}
