//! Metrics, kept and written as Prometheus reads them.
//!
//! Invariant: what is observed takes bounded memory, whether or not it is scraped.

use std::{sync::Arc, time::Duration};

use metrics::Recorder;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Bounds of the buckets of times, in seconds: from the fastest delivery to one that a client would
/// call lost.
const SECONDS_BUCKETS: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// How often observations are put into their buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// The metrics of one server.
#[derive(Clone)]
pub struct Prometheus {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Prometheus {
    /// No metrics yet.
    pub fn new() -> Self {
        // Only an empty list of buckets is refused.
        let builder = PrometheusBuilder::new().set_buckets(&SECONDS_BUCKETS).unwrap_or_default();
        let recorder = Arc::new(builder.build_recorder());
        Self { handle: recorder.handle(), recorder }
    }

    /// Where metrics are registered.
    pub fn recorder(&self) -> Arc<dyn Recorder + Send + Sync> {
        Arc::clone(&self.recorder) as _
    }

    /// All metrics, in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Puts observations into their buckets, for as long as it is polled: until then each takes
    /// memory of its own.
    pub async fn keep_up(self) {
        let mut upkeeps = tokio::time::interval(UPKEEP_EVERY);
        loop {
            upkeeps.tick().await;
            self.handle.run_upkeep();
        }
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self::new()
    }
}
