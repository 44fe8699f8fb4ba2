//! What is not a comparison of variants under load: memory at rest, a large table, reloads under load, the cost of the hook itself.
//!
//! Each gives figures with names; the bars find them by name.

pub(crate) mod churn;
pub(crate) mod hook;
pub(crate) mod idle;
pub(crate) mod tables;

use anyhow::Result;
use serde::Serialize;

use crate::{stats::Spread, world::World};

/// One figure over rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) words: String,
    pub(crate) unit: &'static str,
    pub(crate) value: Spread,
}

impl Figure {
    /// Of the values of all rounds; nothing if there are none.
    pub(crate) fn of(
        name: &'static str,
        words: impl Into<String>,
        unit: &'static str,
        values: impl IntoIterator<Item = f64>,
    ) -> Option<Self> {
        Spread::of(values).map(|value| Self { name, words: words.into(), unit, value })
    }
}

/// A part of the benchmark that measures something of its own.
#[derive(Clone, Copy)]
pub(crate) struct Special {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// `quick` is the argument; requests/s of the slowest variant the last.
    pub(crate) measure: fn(&mut World, bool, f64) -> Result<Vec<Figure>>,
}

/// All of them.
pub(crate) const ALL: [Special; 4] = [
    Special { name: "hook", title: "what the connect hook costs a connect", measure: hook::measure },
    Special {
        name: "churn",
        title: "a reload of the rules each second, at half of the slowest's capacity",
        measure: churn::measure,
    },
    Special { name: "table", title: "1,000 rules and 10,000 Services", measure: tables::measure },
    Special { name: "idle", title: "250 enrolled pods that do nothing", measure: idle::measure },
];
