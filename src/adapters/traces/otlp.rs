//! Traces, sent to an OpenTelemetry collector by OTLP over HTTP.
//!
//! Invariants: what waits to be sent is bounded, and what finds no room is dropped; nothing that
//! serves a client waits for the collector; without a collector in the settings none of this is
//! there.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tokio::runtime::Handle;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{Layer, filter, registry::LookupSpan};

use super::TracesOptions;
use crate::ports::traces::TARGET;

/// Within this the collector has to answer.
const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(5);
/// Within this what is left is sent at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The traces of this process.
pub struct Traces(SdkTracerProvider);

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The client can't be made.
    #[error("the client of the trace collector can't be made")]
    Client(#[from] reqwest::Error),
    /// The exporter can't be made.
    #[error("`telemetry.otlp_endpoint` can't be used")]
    Exporter(#[from] ExporterBuildError),
}

impl Traces {
    /// Begins to send traces. It must be called on the runtime that will send them.
    ///
    /// # Errors
    /// [`TracesError`]. A collector that can't be reached is none: it may come.
    pub fn start(options: TracesOptions) -> Result<Self, TracesError> {
        let http = reqwest::Client::builder().timeout(COLLECTOR_TIMEOUT).build()?;
        let client =
            Collector { http, runtime: Handle::current(), is_away: AtomicBool::new(false) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint(&options.collector))
            .with_timeout(COLLECTOR_TIMEOUT)
            .build()?;
        let resource = Resource::builder()
            .with_service_name(options.service_name)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let sampler =
            Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .with_sampler(sampler)
            .build();
        Ok(Self(provider))
    }

    /// What makes traces of spans.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        // What other libraries trace concerns nobody, and the exporter's own requests would go
        // round and round.
        let is_ours = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target() == TARGET;
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("rejoin"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(filter::filter_fn(is_ours))
    }

    /// Sends what is left, within a bound.
    pub async fn finish(self) {
        let flushed =
            tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH_TIMEOUT));
        if !matches!(flushed.await, Ok(Ok(()))) {
            tracing::warn!("the last traces could not be sent");
        }
    }
}

/// Where traces go: below the collector's path, with its query as it is.
fn endpoint(collector: &str) -> String {
    let (place, query) = collector.find('?').map_or((collector, ""), |at| collector.split_at(at));
    format!("{}/v1/traces{query}", place.trim_end_matches('/'))
}

/// An error of the client, without the URL that it would show: both the exporter and we write it to
/// the log.
fn without_url(error: HttpError) -> HttpError {
    match error.downcast::<reqwest::Error>() {
        Ok(error) => Box::new(error.without_url()),
        Err(other) => other,
    }
}

/// The way to the collector. The exporter has a thread of its own, which is no part of the runtime
/// that the client needs.
struct Collector {
    http: reqwest::Client,
    runtime: Handle,
    /// Whether the last try failed: each change is logged once.
    is_away: AtomicBool,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        #[expect(clippy::disallowed_methods, reason = "its end is waited for right here")]
        let sent = self
            .runtime
            .spawn(async move { http.send_bytes(request).await })
            .await?
            .map_err(without_url);
        let failure = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        match (self.is_away.swap(failure.is_some(), Ordering::Relaxed), failure) {
            (false, Some(reason)) => tracing::warn!(reason, "the trace collector takes no traces"),
            (true, None) => tracing::info!("the trace collector takes traces again"),
            _ => {}
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collectors_path_and_query_are_kept() {
        for (collector, expected) in [
            ("http://h:4318", "http://h:4318/v1/traces"),
            ("http://h:4318/", "http://h:4318/v1/traces"),
            ("https://h/otlp/?key=a/b", "https://h/otlp/v1/traces?key=a/b"),
        ] {
            assert_eq!(endpoint(collector), expected);
        }
    }
}
