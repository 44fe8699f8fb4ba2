//! What Prometheus expects to know of any process, and the build.
//!
//! Comes in: `/proc/self` and two system calls, at each scrape. Goes out: `process_*` under the names that every client library
//! uses, without our prefix, and `understudy_build_info`. A value that cannot be read is left out.

use std::{
    fmt::Error,
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage},
    time::TimeVal,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
};

use super::metrics::Metrics;

/// Adds the process's metrics to what `/metrics` shows.
pub fn register(metrics: &Metrics) {
    let build = [("version", env!("CARGO_PKG_VERSION").to_owned()), ("abi", proxy_common::ABI.to_string())];
    metrics.register("build", "Version of the program and of the layout of its maps", Info::new(build.to_vec()));
    metrics.register_collector(Process { started: now() });
}

#[derive(Debug)]
struct Process {
    /// Seconds since 1970.
    started: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut gauge = |name, help, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("process_open_fds", "Open file descriptors", open_fds())?;
        gauge("process_max_fds", "Limit of open file descriptors", max_fds())?;
        gauge("process_resident_memory_bytes", "Resident memory", status_bytes("VmRSS:"))?;
        gauge("process_virtual_memory_bytes", "Virtual memory", status_bytes("VmSize:"))?;
        gauge("process_start_time_seconds", "Start of the process, seconds since 1970", Some(self.started))?;
        if let Some(seconds) = cpu_seconds() {
            let cpu = ConstCounter::new(seconds);
            let help = "CPU time of all threads, user and system";
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        }
        Ok(())
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Since Linux 6.2 the size of the folder is the answer (f1f1f2569901); before, it is zero and we count.
fn open_fds() -> Option<f64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size as f64);
    }
    let counted = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(counted.saturating_sub(1) as f64) // the one that reads the folder
}

fn max_fds() -> Option<f64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft as f64)
}

fn status_bytes(field: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix(field))?.trim().strip_suffix(" kB")?;
    kibibytes.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_metric_is_there_under_its_usual_name() {
        let metrics = Metrics::new();
        register(&metrics);
        let text = metrics.render();
        for name in [
            "process_open_fds",
            "process_max_fds",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_start_time_seconds",
            "process_cpu_seconds_total",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value: f64 = value.unwrap_or_else(|| panic!("{name} is missing:\n{text}")).parse().unwrap();
            assert!(value > 0.0, "{name} {value}");
        }
        assert!(text.contains("understudy_build_info{version=\"0.1.0\",abi=\"1\"} 1\n"), "{text}");
    }

    #[test]
    fn open_files_are_counted() {
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        assert!(open_fds().unwrap() >= 50.0);
        drop(files);
    }
}
