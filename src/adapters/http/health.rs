//! Whether the process lives, and whether it should be sent traffic.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, description, problem::Problem, problem_code::Code};

/// A backend that takes longer to answer is as good as away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The process, in a word.
#[derive(Serialize, ToSchema)]
struct Health {
    /// Always true.
    success: bool,
    /// `alive` or `ready`.
    status: &'static str,
}

description::refusals! {
    /// Of traffic.
    NotReady = description::BACKEND, &[Code::Draining]
}

/// Whether the process lives.
#[utoipa::path(
    get, path = "/healthz", tag = "operate", operation_id = "healthz", security(()),
    responses((status = 200, description = "The process is alive.", body = Health)),
)]
pub(super) async fn healthz() -> Response {
    Json(Health { success: true, status: "alive" }).into_response()
}

/// Whether the process should be sent traffic: its backends answer, and it does not drain.
#[utoipa::path(
    get, path = "/readyz", tag = "operate", operation_id = "readyz", security(()),
    responses((status = 200, description = "The process accepts traffic.", body = Health), NotReady),
)]
pub(super) async fn readyz(State(api): State<Api>) -> Result<Response, Problem> {
    if api.lifecycle.is_draining() {
        return Err(Problem::draining());
    }
    let (users, messages) = tokio::join!(
        api.sources.users.probe(PROBE_TIMEOUT),
        api.sources.messages.probe(PROBE_TIMEOUT)
    );
    match users.and(messages) {
        Ok(()) => Ok(Json(Health { success: true, status: "ready" }).into_response()),
        Err(_) => Err(Problem::backend_unavailable("the event backend does not answer")),
    }
}
