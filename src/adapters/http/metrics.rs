//! `GET /metrics`: all numbers, as Prometheus reads them.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::Api;

/// All numbers, in Prometheus' text format 0.0.4.
#[utoipa::path(
    get, path = "/metrics", tag = "operate", operation_id = "metrics", security(()),
    responses((status = 200, description = "See `docs/operations/metrics.md`.", content((String = "text/plain")))),
)]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    api.subscriptions.tell_holdings();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (api.render_metrics)()).into_response()
}
