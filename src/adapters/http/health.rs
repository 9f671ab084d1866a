//! Whether the process lives, and whether it should be sent traffic.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Api, problem::Problem};

/// A backend that takes longer to answer is as good as away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn healthz() -> Response {
    Json(json!({ "success": true, "status": "alive" })).into_response()
}

pub(super) async fn readyz(State(api): State<Api>) -> Result<Response, Problem> {
    if api.lifecycle.is_draining() {
        return Err(Problem::draining());
    }
    let (users, messages) = (&api.sources.users.log, &api.sources.messages.log);
    let both = async { tokio::try_join!(users.probe(), messages.probe()) };
    match tokio::time::timeout(PROBE_TIMEOUT, both).await {
        Ok(Ok(_)) => Ok(Json(json!({ "success": true, "status": "ready" })).into_response()),
        Ok(Err(_)) | Err(_) => Err(Problem::backend_unavailable("the event backend does not answer")),
    }
}
