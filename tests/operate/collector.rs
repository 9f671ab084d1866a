//! A collector of traces that keeps what it is sent.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{ResourceSpans, Span},
};
use prost::Message;
use tokio::{net::TcpListener, task::JoinHandle};

/// What came, in the order of its coming.
#[derive(Default)]
struct Received {
    resources: Vec<ResourceSpans>,
    bytes: Vec<u8>,
}

/// A collector on a free port.
pub(crate) struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    serving: JoinHandle<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let received = Arc::<Mutex<Received>>::default();
        let router =
            Router::new().route("/v1/traces", post(receive)).with_state(Arc::clone(&received));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Not `axum::serve`: the product does without it.
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(
                    connection.serve_connection(hyper_util::rt::TokioIo::new(socket), service),
                );
            }
        });
        Self { address, received, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let scopes = received.resources.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.iter().cloned()).collect()
    }

    /// The span of that name in that trace, if it has come.
    pub(crate) fn span(&self, trace_id: &str, name: &str) -> Option<Span> {
        self.spans().into_iter().find(|span| hex(&span.trace_id) == trace_id && span.name == name)
    }

    /// The name of the service that sent the first.
    pub(crate) fn service(&self) -> Option<String> {
        let received = self.received.lock().unwrap();
        let attributes = &received.resources.first()?.resource.as_ref()?.attributes;
        attributes
            .iter()
            .find(|attribute| attribute.key == "service.name")
            .map(|attribute| text(attribute.value.as_ref()?.value.as_ref()?))?
    }

    /// Whether a text stands anywhere in what was sent.
    pub(crate) fn was_told(&self, text: &str) -> bool {
        self.received.lock().unwrap().bytes.windows(text.len()).any(|part| part == text.as_bytes())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(State(received): State<Arc<Mutex<Received>>>, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    let mut received = received.lock().unwrap();
    received.resources.extend(request.resource_spans);
    received.bytes.extend_from_slice(&body);
    StatusCode::OK
}

/// The value of a span's attribute.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    span.attributes
        .iter()
        .find(|attribute| attribute.key == key)
        .and_then(|attribute| text(attribute.value.as_ref()?.value.as_ref()?))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}
