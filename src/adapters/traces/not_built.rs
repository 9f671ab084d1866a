//! What stands for traces where there are none.

use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

use super::TracesOptions;

/// No traces are ever sent.
pub enum Traces {}

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
#[error(
    "`telemetry.otlp_endpoint` is set, but this program was built without the feature `telemetry`: build it with that feature, or leave the setting empty"
)]
pub struct TracesError;

impl Traces {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: TracesOptions) -> Result<Self, TracesError> {
        Err(TracesError)
    }

    /// What makes traces of spans.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> Box<dyn Layer<S> + Send + Sync> {
        match *self {}
    }

    /// Sends what is left.
    #[expect(clippy::unused_async, reason = "it has the form of the one that sends")]
    pub async fn finish(self) {
        match self {}
    }
}
