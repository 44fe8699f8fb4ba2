//! The process log: its form, what is in it, its colours.

use std::{
    env,
    io::{IsTerminal as _, stderr},
};

use crate::cli::{LogArgs, LogFormat};

/// kube says the same at every retry, and prints whole answers that it cannot read. `control::source::kube` and `report` say each problem once, with
/// its remedy. What kube knows alone (a bug of its own, a CA bundle that cannot be read again) is heard. Whoever gives a filter gets that one.
const WITHOUT_KUBES_WORDS: &str = "kube_runtime=error,kube_client::client=off,kube_client::client::tls=warn";

/// How the process logs to standard error.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Form of a line.
    pub format: LogFormat,
    /// Directives of tracing's `EnvFilter`.
    pub filter: String,
    /// Colours: standard error is a terminal and `NO_COLOR` is unset or empty (no-color.org).
    pub colours: bool,
}

impl LogSettings {
    /// `level`: what is logged if the user does not say it.
    pub(super) fn new(arguments: LogArgs, level: &str) -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format: arguments.log_format,
            filter: arguments.log_level.unwrap_or_else(|| format!("{level},{WITHOUT_KUBES_WORDS}")),
            colours: !plain && stderr().is_terminal(),
        }
    }
}
