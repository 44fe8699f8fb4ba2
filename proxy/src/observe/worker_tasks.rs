//! Tasks of the workers that have not ended: `understudy_worker_tasks`.
//!
//! Comes in: each worker's runtime, which counts them anyway. Goes out: their sum, read at each scrape. A connection is a task, and so is an HTTP/2
//! stream, a shadow, what drives a connection to an endpoint; without traffic there are the workers' own few and one for each listener.

use std::fmt::Error;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use tokio::runtime::RuntimeMetrics;

/// All workers' tasks, read at each scrape.
#[derive(Debug)]
pub struct WorkerTasks(pub Vec<RuntimeMetrics>);

impl Collector for WorkerTasks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let alive: usize = self.0.iter().map(RuntimeMetrics::num_alive_tasks).sum();
        let gauge = ConstGauge::new(alive as i64);
        let help = "Tasks of the workers that have not ended";
        gauge.encode(encoder.encode_descriptor("understudy_worker_tasks", help, None, gauge.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::{
        runtime::{Builder, LocalOptions},
        task::{spawn_local, yield_now},
    };

    use super::*;
    use crate::observe::metrics::Metrics;

    /// Fails if local tasks are spawned on a `LocalSet`: its tasks are none of the runtime's.
    #[test]
    fn a_task_counts_until_it_has_ended() {
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
        let metrics = Metrics::new();
        metrics.register_collector(WorkerTasks(vec![runtime.metrics()]));
        let shows = |count| metrics.render().contains(&format!("\nunderstudy_worker_tasks {count}\n"));
        runtime.block_on(async {
            let task = spawn_local(pending::<()>());
            spawn_local(pending::<()>());
            assert!(shows(2));
            task.abort();
            yield_now().await;
            assert!(shows(1));
        });
    }
}
