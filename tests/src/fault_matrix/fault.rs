//! What can be wrong with v2, and how the shadows of each fault must end.

use std::str::FromStr;

use anyhow::{Context as _, Error};

use crate::load::Manner;

/// A fault of v2; [`Fault::Healthy`] is the control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// None.
    Healthy,
    /// Nobody listens.
    Refused,
    /// Packets to it are dropped.
    Blackholed,
    /// It accepts and never reads.
    NeverReads,
    /// It reads one byte a second.
    ReadsAByteASecond,
    /// It resets the connection in the middle of the request's body.
    ResetsMidBody,
    /// It answers 500.
    Answers500,
    /// It answers with 1 GiB.
    AnswersAGibibyte,
    /// It answers before the body has ended.
    AnswersEarly,
    /// It breaks off in the middle of its answer.
    DiesMidAnswer,
    /// Its subset has no endpoint.
    NoEndpoint,
    /// Its subset is not defined.
    UnknownSubset,
    /// It reads everything and never answers.
    Hangs,
}

impl Fault {
    /// All of them, the control first, with the name that an operator reads.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Healthy, "healthy"),
        (Self::Refused, "refused"),
        (Self::Blackholed, "blackholed"),
        (Self::NeverReads, "never-reads"),
        (Self::ReadsAByteASecond, "reads-a-byte-a-second"),
        (Self::ResetsMidBody, "resets-mid-body"),
        (Self::Answers500, "answers-500"),
        (Self::AnswersAGibibyte, "answers-1-GiB"),
        (Self::AnswersEarly, "answers-early"),
        (Self::DiesMidAnswer, "dies-mid-answer"),
        (Self::NoEndpoint, "no-endpoint"),
        (Self::UnknownSubset, "unknown-subset"),
        (Self::Hangs, "hangs"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// How every shadow ends, as long as no limit of shadows is reached.
    #[must_use]
    pub fn outcome(self) -> &'static str {
        match self {
            // An answer that is too long is cut, and is an answer all the same.
            Self::Healthy | Self::AnswersEarly | Self::AnswersAGibibyte => "answered 2xx",
            Self::Answers500 => "answered 5xx",
            Self::Refused | Self::Blackholed => "connect_failed",
            Self::ResetsMidBody | Self::DiesMidAnswer => "reset",
            Self::NoEndpoint => "no_endpoint",
            Self::UnknownSubset => "unknown_destination",
            Self::NeverReads | Self::ReadsAByteASecond | Self::Hangs => "timeout",
        }
    }

    /// Its shadows end by their timeout: it is short for them, and so long for all others that a slow machine is no reason.
    #[must_use]
    pub fn ends_by_timeout(self) -> bool {
        self.outcome() == "timeout"
    }

    /// How the server behaves that plays it, if it takes a server.
    #[must_use]
    pub fn manner(self) -> Option<Manner> {
        Some(match self {
            Self::Healthy => Manner::Answers,
            Self::NeverReads => Manner::NeverReads,
            Self::ReadsAByteASecond => Manner::ReadsAByteASecond,
            Self::ResetsMidBody => Manner::ResetsMidBody,
            Self::Answers500 => Manner::Answers500,
            Self::AnswersAGibibyte => Manner::AnswersAGibibyte,
            Self::AnswersEarly => Manner::AnswersEarly,
            Self::DiesMidAnswer => Manner::DiesMidAnswer,
            Self::Hangs => Manner::Hangs,
            Self::Refused | Self::Blackholed | Self::NoEndpoint | Self::UnknownSubset => return None,
        })
    }
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name).map(|(fault, _)| *fault);
        let known = || Self::ALL.map(|(_, name)| name).join(", ");
        found.with_context(|| format!("there is no fault `{name}`; there are {}", known()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_stands_at_its_place() {
        for (at, (fault, name)) in Fault::ALL.iter().enumerate() {
            assert_eq!((*fault as usize, fault.name(), name.parse().ok()), (at, *name, Some(*fault)));
        }
    }
}
