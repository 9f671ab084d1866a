//! Traces, sent to an OpenTelemetry collector, unless this program was built without the feature
//! `telemetry`.

#[cfg(not(feature = "telemetry"))]
mod not_built;
#[cfg(feature = "telemetry")]
mod otlp;

#[cfg(not(feature = "telemetry"))]
pub use self::not_built::{Traces, TracesError};
#[cfg(feature = "telemetry")]
pub use self::otlp::{Traces, TracesError};

/// Where traces go, and how many.
#[derive(Clone)]
pub struct TracesOptions {
    /// The URL of the collector. Its query may hold a key.
    pub collector: String,
    /// What this service is called.
    pub service_name: String,
    /// The part of the requests that are traced, unless their caller has decided: 0 to 1.
    pub sample_ratio: f64,
}
