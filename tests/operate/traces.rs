//! Traces, from a request to a collector.

use std::time::Duration;

use rejoin_test_support::{Connection, ServerProcess, eventually};
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tokio::{net::TcpListener, time::Instant};
use uuid::Uuid;

use crate::operate::collector::{Collector, attribute, hex};

const USER: &str = "somebody-whom-no-trace-names";
/// The span that called, in each of the traces.
const CALLER: &str = "00f067aa0ba902b7";

async fn start(collector: &str, more: &[(&str, &str)]) -> ServerProcess {
    let environment = [
        ("REJOIN_TELEMETRY__OTLP_ENDPOINT", collector),
        ("REJOIN_LOG__LEVEL", "warn"),
        ("REJOIN_SERVER__DRAIN_SECONDS", "2"),
    ];
    ServerProcess::start(env!("CARGO_BIN_EXE_rejoin"), &[&environment, more].concat()).await
}

fn trace_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// A request that is part of a trace.
fn within(request: RequestBuilder, trace_id: &str) -> RequestBuilder {
    request.header("traceparent", format!("00-{trace_id}-{CALLER}-01"))
}

async fn publish(server: &ServerProcess, trace_id: &str) {
    let request = Client::new()
        .post(format!("http://{}/api/events", server.address()))
        .json(&json!({ "user_id": USER, "type": "t" }));
    assert_eq!(within(request, trace_id).send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_request_is_a_span_of_its_callers_trace_and_a_backends_call_one_of_the_request() {
    let collector = Collector::start().await;
    let settings =
        [("REJOIN_TELEMETRY__SERVICE_NAME", "our-events"), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let server = start(&collector.url(), &settings).await;
    let url = |path: &str| format!("http://{}{path}", server.address());
    let (published, appended, uploaded, missing) = (trace_id(), trace_id(), trace_id(), trace_id());
    publish(&server, &published).await;
    let message = url(&format!("/api/messages/{}", Uuid::new_v4()));
    Client::new().put(&message).json(&json!({ "user_id": USER })).send().await.unwrap();
    let append = || Client::new().post(format!("{message}/events"));
    within(append(), &appended)
        .header("x-request-id", "r-1")
        .json(&json!({ "type": "chunk" }))
        .send()
        .await
        .unwrap();
    let upload = append()
        .header("content-type", "application/x-ndjson")
        .body("{\"type\":\"chunk\"}\n{\"type\":\"end\"}\n");
    within(upload, &uploaded).send().await.unwrap().text().await.unwrap();
    within(Client::new().get(url("/nothing")), &missing).send().await.unwrap();

    let append_route = "POST /api/messages/{id}/events";
    for (trace, request, call) in [
        (&published, "POST /api/events", "journal append"),
        (&appended, append_route, "messages append"),
        (&uploaded, append_route, "messages append"),
    ] {
        eventually("both spans", async || {
            collector.span(trace, request).is_some() && collector.span(trace, call).is_some()
        })
        .await;
        let (request, call) =
            (collector.span(trace, request).unwrap(), collector.span(trace, call).unwrap());
        assert_eq!(hex(&request.parent_span_id), CALLER);
        assert_eq!(call.parent_span_id, request.span_id);
    }
    let span = collector.span(&appended, append_route).unwrap();
    let of = |key: &str| attribute(&span, key);
    assert_eq!(
        (of("http.request.method").as_deref(), of("http.route").as_deref()),
        (Some("POST"), Some("/api/messages/{id}/events"))
    );
    assert_eq!(
        (of("http.response.status_code").as_deref(), of("request.id").as_deref()),
        (Some("201"), Some("r-1"))
    );
    eventually("what is not there", async || collector.span(&missing, "GET").is_some()).await;
    assert_eq!(collector.service().as_deref(), Some("our-events"));
    assert!(!collector.was_told(USER), "a user's id is nobody's business");
}

#[tokio::test]
async fn a_streams_span_ends_when_the_stream_begins() {
    let collector = Collector::start().await;
    let server = start(&collector.url(), &[("OTEL_BSP_SCHEDULE_DELAY", "50")]).await;
    let trace = trace_id();
    let request =
        within(Client::new().get(format!("http://{}/api/events", server.address())), &trace);
    let mut stream = Connection::of(request.send().await.unwrap());
    stream.expect().await;
    eventually("the stream's span", async || collector.span(&trace, "GET /api/events").is_some())
        .await;
    let spans = collector.spans().len();
    let event = json!({ "user_id": "local", "type": "t" });
    Client::new()
        .post(format!("http://{}/api/events", server.address()))
        .json(&event)
        .send()
        .await
        .unwrap();
    stream.event().await;
    eventually("the publish", async || collector.spans().len() == spans + 2).await;
}

#[tokio::test]
async fn callers_decide_what_is_traced_and_else_the_ratio_does() {
    let collector = Collector::start().await;
    let settings = [("REJOIN_TELEMETRY__SAMPLE_RATIO", "0"), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let server = start(&collector.url(), &settings).await;
    let health = || Client::new().get(format!("http://{}/healthz", server.address()));
    let (unwanted, wanted) = (trace_id(), trace_id());
    health().send().await.unwrap();
    health().header("traceparent", format!("00-{unwanted}-{CALLER}-00")).send().await.unwrap();
    within(health(), &wanted).send().await.unwrap();
    eventually("the wanted one", async || collector.span(&wanted, "GET /healthz").is_some()).await;
    assert_eq!(collector.spans().len(), 1);
}

#[tokio::test]
async fn what_is_left_is_sent_at_the_end() {
    let collector = Collector::start().await;
    let server = start(&collector.url(), &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]).await;
    let trace = trace_id();
    publish(&server, &trace).await;
    assert!(collector.spans().is_empty(), "it is not due for an hour");
    server.signal("TERM").await;
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(collector.span(&trace, "POST /api/events").is_some());
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_hurts_nobody() {
    // One port where nobody listens, and one where connections are taken and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for collector in
        ["http://127.0.0.1:1".to_owned(), format!("http://{}", silent.local_addr().unwrap())]
    {
        let server = start(&collector, &[("OTEL_BSP_SCHEDULE_DELAY", "10")]).await;
        let mut stream =
            Connection::open(&format!("http://{}/api/events", server.address()), None).await;
        stream.expect().await;
        for n in 0..50 {
            let event = json!({ "user_id": "local", "type": "t", "payload": n });
            let request =
                Client::new().post(format!("http://{}/api/events", server.address())).json(&event);
            assert_eq!(request.send().await.unwrap().status(), 201);
            assert_eq!(stream.event().await.1["payload"], n);
        }
        drop(stream);
        let stopping = Instant::now();
        server.signal("TERM").await;
        assert_eq!(server.ended().await.code(), Some(0));
        assert!(
            stopping.elapsed() < Duration::from_secs(10),
            "{collector}: {:?}",
            stopping.elapsed()
        );
    }
}
