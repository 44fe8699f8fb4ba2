//! The process log: tracing events (and the `log` records of aya) to standard error.
//!
//! Comes in: events of every part. Goes out: lines of text or JSON, through a [`LineQueue`]. Never: waits for the reader of standard
//! error.

use std::{
    fmt,
    io::{self, Write, stderr},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    fmt::{MakeWriter, layer},
    layer::SubscriberExt as _,
    reload,
};

use super::{
    lines::{LineQueue, Wake},
    metrics::Metrics,
    timestamp::LogTime,
};
use crate::settings::{LogFormat, LogSettings};

/// How long the end of the process waits for the reader of standard error.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why the process cannot log as asked.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// There is one logger for a process.
    #[error("the process log is already set up")]
    Twice,
    /// No thread for the writer.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(#[source] io::Error),
}

/// A filter that does not parse.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "`{directive}` is no log filter{why}; use off, error, warn, info, debug or trace, or directives like info,understudy::capture=debug"
)]
pub struct FilterError {
    directive: String,
    why: String,
}

/// The process log. Dropping it writes the last lines.
#[derive(Debug)]
pub struct Telemetry {
    lines: LineQueue,
    level: LogLevel,
}

/// Reads and changes what is logged; clones change the same.
#[derive(Clone)]
pub struct LogLevel(Arc<dyn Filter>);

trait Filter: Send + Sync {
    fn get(&self) -> String;
    fn set(&self, filter: EnvFilter);
}

impl<S: 'static> Filter for reload::Handle<EnvFilter, S> {
    fn get(&self) -> String {
        self.with_current(ToString::to_string).unwrap_or_default()
    }

    fn set(&self, filter: EnvFilter) {
        // The only error is a subscriber that is gone, and then nothing is logged anyway.
        let _ = self.reload(filter);
        bridge_what_is_wanted();
    }
}

impl Telemetry {
    /// Sets up the process's logger; once.
    ///
    /// # Errors
    ///
    /// The filter does not parse, or there is a logger already.
    pub fn start(settings: &LogSettings) -> Result<Self, TelemetryError> {
        let (filter, handle) = reload::Layer::new(parse_filter(&settings.filter)?);
        let lines = LineQueue::start("log", Wake::AtOnce, stderr()).map_err(TelemetryError::Thread)?;
        let writer = QueueWriter(lines.clone());
        let layer = layer().with_timer(LogTime).with_writer(writer).with_ansi(settings.colours);
        let layer = match settings.format {
            LogFormat::Text => layer.boxed(),
            LogFormat::Json => layer.json().flatten_event(true).boxed(),
        };
        let subscriber = Registry::default().with(filter).with(layer);
        tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::Twice)?;
        LogTracer::init().map_err(|_| TelemetryError::Twice)?;
        let level = LogLevel(Arc::new(handle));
        bridge_what_is_wanted();
        Ok(Self { lines, level })
    }

    /// Reads and changes what is logged.
    #[must_use]
    pub fn level(&self) -> LogLevel {
        self.level.clone()
    }

    /// Shows how many lines were lost because standard error did not take them.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register("log_lines_lost", "Lines of the process log that were lost", self.lines.lost());
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.lines.flush(LAST_LINES);
    }
}

impl LogLevel {
    /// The directives in force.
    #[must_use]
    pub fn get(&self) -> String {
        self.0.get()
    }

    /// Puts other directives in force.
    ///
    /// # Errors
    ///
    /// The filter does not parse; the old one stays.
    pub fn set(&self, filter: &str) -> Result<(), FilterError> {
        self.0.set(parse_filter(filter)?);
        Ok(())
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevel").field(&self.get()).finish()
    }
}

/// `log` drops records by its own maximum before the bridge sees them.
fn bridge_what_is_wanted() {
    log::set_max_level(LevelFilter::current().as_log());
}

/// `EnvFilter` takes a word that is no level for the name of a target, which would hide every typing error.
fn parse_filter(text: &str) -> Result<EnvFilter, FilterError> {
    let wrong = |why: String| FilterError { directive: text.to_owned(), why };
    for directive in text.split(',') {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if level.parse::<LevelFilter>().is_err() || level.is_empty() {
            return Err(wrong(format!(": `{level}` is no level")));
        }
    }
    EnvFilter::try_new(text).map_err(|error| wrong(format!(": {error}")))
}

#[derive(Clone, Debug)]
struct QueueWriter(LineQueue);

impl<'a> MakeWriter<'a> for QueueWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// The formatter writes each event with one call.
impl Write for &QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A level of nothing, for tests: the process has one logger.
#[cfg(test)]
pub(crate) fn detached_level(filter: &str) -> LogLevel {
    struct Detached(std::sync::Mutex<String>);

    impl Filter for Detached {
        fn get(&self) -> String {
            self.0.lock().unwrap().clone()
        }

        fn set(&self, filter: EnvFilter) {
            *self.0.lock().unwrap() = filter.to_string();
        }
    }

    LogLevel(Arc::new(Detached(filter.to_owned().into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::Cli, settings::Invocation};

    #[test]
    fn typing_errors_in_a_filter_are_not_taken_for_targets() {
        for text in ["", "inof", "understudy", "info,", "understudy=loud", "understudy::[=info"] {
            assert!(parse_filter(text).is_err(), "{text}");
        }
        for text in ["info", "OFF", "trace", "info,understudy::capture=debug", "hyper=off,debug", "understudy=3"] {
            assert!(parse_filter(text).is_ok(), "{text}");
        }
        let line = ["understudy", "node", "--node-name", "n"].map(Into::into);
        let by_default = Invocation::resolve(Cli::parse_arguments(line).unwrap()).unwrap().logging.filter;
        assert!(parse_filter(&by_default).is_ok(), "{by_default}");
    }

    /// The one test of this process that may claim its logger: events and `log` records come out as far as the level lets them, also
    /// after it changed.
    #[test]
    fn the_level_can_be_changed_while_running() {
        let settings = LogSettings { format: LogFormat::Text, filter: "warn".into(), colours: false };
        let telemetry = Telemetry::start(&settings).unwrap();
        assert_eq!(telemetry.level().get(), "warn");
        assert!(!tracing::enabled!(tracing::Level::INFO));
        assert_eq!(log::max_level(), log::LevelFilter::Warn);

        telemetry.level().set("debug").unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert_eq!(log::max_level(), log::LevelFilter::Debug, "or aya's records would end at the old level");

        assert!(telemetry.level().set("nonsense").is_err());
        assert_eq!(telemetry.level().get(), "debug", "a bad filter leaves the old one");
        telemetry.level().set("off").unwrap();
        assert!(matches!(Telemetry::start(&settings), Err(TelemetryError::Twice)));
    }
}
