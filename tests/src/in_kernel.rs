//! What an agent has in the kernel: its links, programs and maps by number, found through its descriptors.
//!
//! Numbers are not used again, so that what is gone stays gone, and other agents on the same kernel do not matter.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, bail};
use aya::{
    maps::{Array, HashMap, Map, MapData, MapInfo, loaded_maps},
    programs::{loaded_links, loaded_programs},
};
use nix::unistd::Pid;
use proxy_common::{
    flow::{FlowKey, FlowOrigin},
    netns::NetnsEntry,
};

use crate::wait;

/// Numbers of everything that a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InKernel {
    /// Attachments.
    pub links: BTreeSet<u32>,
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
}

impl InKernel {
    /// What a running process holds.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: Pid) -> Result<Self> {
        let mut found = Self::default();
        let dir = format!("/proc/{pid}/fdinfo");
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {dir}"))? {
            // A descriptor that was closed meanwhile.
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            let is_link = text.contains("link_id:");
            for line in text.lines() {
                let Some((key, value)) = line.split_once(':') else { continue };
                let Ok(id) = value.trim().parse() else { continue };
                match key {
                    "link_id" => found.links.insert(id),
                    "prog_id" => found.programs.insert(id),
                    // A link's or program's own description names no map.
                    "map_id" if !is_link => found.maps.insert(id),
                    _ => continue,
                };
            }
        }
        Ok(found)
    }

    /// Those of them that are still there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn alive(&self) -> Result<Self> {
        let mut alive = Self::default();
        // One that goes away between two questions is an error of the question.
        alive.links.extend(loaded_links().filter_map(|link| Some(link.ok()?.id())));
        alive.programs.extend(loaded_programs().filter_map(|program| Some(program.ok()?.id())));
        alive.maps.extend(loaded_maps().filter_map(|map| Some(map.ok()?.id())));
        let both = |a: &BTreeSet<u32>, b: &BTreeSet<u32>| a.intersection(b).copied().collect();
        Ok(Self {
            links: both(&self.links, &alive.links),
            programs: both(&self.programs, &alive.programs),
            maps: both(&self.maps, &alive.maps),
        })
    }

    /// Waits until nothing of it is left (the kernel frees programs and maps a little after their last user has gone).
    ///
    /// # Errors
    /// With what stays.
    pub fn gone(&self) -> Result<()> {
        let mut left = self.clone();
        let outcome = wait::until("nothing of the agent is left in the kernel", || {
            left = self.alive()?;
            Ok((left == Self::default()).then_some(()))
        });
        outcome.with_context(|| format!("left: {left:?}"))
    }

    fn map(&self, name: &str) -> Result<Map> {
        for id in &self.maps {
            // Descriptors of other kinds of maps (aya's own probes) may be gone by now.
            let Ok(info) = MapInfo::from_id(*id) else { continue };
            if info.name_as_str() == Some(name) {
                return Ok(Map::from_map_data(MapData::from_id(*id)?)?);
            }
        }
        bail!("the agent has no map {name}")
    }

    /// `NETNS`: the enrolled namespaces.
    ///
    /// # Errors
    /// When there is no such map.
    pub fn netns(&self) -> Result<HashMap<MapData, u64, NetnsEntry>> {
        Ok(HashMap::try_from(self.map("NETNS")?)?)
    }

    /// The one namespace that is enrolled.
    ///
    /// # Errors
    /// When it is not exactly one.
    pub fn only_netns(&self) -> Result<(u64, NetnsEntry)> {
        let entries = self.netns()?.iter().collect::<Result<Vec<_>, _>>()?;
        let [only] = entries[..] else { bail!("{} namespaces are enrolled, not one", entries.len()) };
        Ok(only)
    }

    /// `ORIG`: redirected connections that the agent has not accepted yet.
    ///
    /// # Errors
    /// When there is no such map.
    pub fn origins(&self) -> Result<usize> {
        let origins = HashMap::<_, FlowKey, FlowOrigin>::try_from(self.map("ORIG")?)?;
        Ok(origins.keys().collect::<Result<Vec<_>, _>>()?.len())
    }

    /// `HEARTBEAT`: when the agent last said that it lives, `CLOCK_MONOTONIC` nanoseconds.
    ///
    /// # Errors
    /// When there is no such map.
    pub fn heartbeat(&self) -> Result<u64> {
        Ok(Array::<_, u64>::try_from(self.map("HEARTBEAT")?)?.get(&0, 0)?)
    }
}
