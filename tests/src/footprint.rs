//! Everything about a network namespace that a capture by other means would have changed: rules, routes, links, nftables, sysctls.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use crate::{netns::Netns, wait};

/// What was found, by name.
pub type Footprint = BTreeMap<String, String>;

/// Looks at a namespace, once its own addresses have settled.
///
/// # Errors
/// When `ip` or `nft` fail.
pub fn of(netns: &Netns) -> Result<Footprint> {
    netns.run(|| {
        wait::until("no IPv6 address is tentative", || {
            let output = Command::new("ip").args(["-6", "-o", "address", "show", "tentative"]).output()?;
            Ok(output.stdout.is_empty().then_some(()))
        })?;
        let mut found = Footprint::new();
        for words in [
            "ip rule",
            "ip -6 rule",
            "ip route show table all",
            "ip -6 route show table all",
            "ip -o link",
            "ip -o address",
            "nft -s list ruleset",
        ] {
            let mut split = words.split(' ');
            let output = Command::new(split.next().unwrap_or_default()).args(split).stdin(Stdio::null()).output()?;
            // A table of routes that was never used is an error of `ip`, and an empty one.
            ensure!(words.starts_with("ip") || output.status.success(), "{words} failed");
            found.insert(words.to_owned(), String::from_utf8_lossy(&output.stdout).into_owned());
        }
        sysctls(Path::new("/proc/sys/net"), &mut found);
        Ok(found)
    })
}

fn sysctls(dir: &Path, found: &mut Footprint) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.display().to_string();
        if path.is_dir() {
            sysctls(&path, found);
        } else if !name.ends_with("_count")
            && let Ok(value) = fs::read_to_string(&path)
        {
            found.insert(name, value);
        }
    }
}

/// What differs, for people.
#[must_use]
pub fn changes(before: &Footprint, after: &Footprint) -> Vec<String> {
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let different = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    different
        .flat_map(|key| {
            let lines = |side: &Footprint| -> Vec<String> {
                side.get(key).into_iter().flat_map(|text| text.lines().map(str::to_owned)).collect()
            };
            let (old, new) = (lines(before), lines(after));
            let only = |a: &[String], b: &[String], sign: char| -> Vec<String> {
                a.iter().filter(|line| !b.contains(line)).map(|line| format!("{key}: {sign} {line}")).collect()
            };
            [only(&old, &new, '-'), only(&new, &old, '+')].concat()
        })
        .collect()
}
