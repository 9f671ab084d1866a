//! Which methods a path takes.
//!
//! Invariants: HEAD is answered as GET would be, without a body, except where GET opens a stream;
//! every 405 has an `Allow` with what the path takes. Both follow from the description of what is
//! routed.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use utoipa::openapi::{OpenApi, PathItem, RefOr, path::Operation};

use super::problem::Problem;

/// What each described path takes, by its template. A path that is not described is left to the
/// router.
#[derive(Clone)]
pub(super) struct Methods(Arc<HashMap<String, Taken>>);

struct Taken {
    head: bool,
    allow: HeaderValue,
}

impl Methods {
    pub(super) fn of(openapi: &OpenApi) -> Self {
        let taken = openapi
            .paths
            .paths
            .iter()
            .filter_map(|(path, item)| Some((path.clone(), Taken::of(item)?)));
        Self(Arc::new(taken.collect()))
    }
}

impl Taken {
    fn of(item: &PathItem) -> Option<Self> {
        let head = item.get.as_ref().is_some_and(|get| !is_stream(get));
        let methods = [
            ("GET", item.get.is_some()),
            ("HEAD", head),
            ("POST", item.post.is_some()),
            ("PUT", item.put.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        let names: Vec<&str> =
            methods.into_iter().filter_map(|(name, taken)| taken.then_some(name)).collect();
        Some(Self { head, allow: HeaderValue::from_str(&names.join(", ")).ok()? })
    }
}

fn is_stream(operation: &Operation) -> bool {
    let mut answers = operation.responses.responses.values();
    answers.any(|answer| matches!(answer, RefOr::T(response) if response.content.contains_key("text/event-stream")))
}

/// Refuses a HEAD that would open a stream, and adds `Allow` to every 405.
pub(super) async fn enforce(
    State(methods): State<Methods>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let taken = path.and_then(|path| methods.0.get(path.as_str()));
    let mut response = match taken {
        Some(taken) if request.method() == Method::HEAD && !taken.head => {
            Problem::method_not_allowed().into_response()
        }
        _ => next.run(request).await,
    };
    if let Some(taken) = taken
        && response.status() == StatusCode::METHOD_NOT_ALLOWED
    {
        response.headers_mut().insert(header::ALLOW, taken.allow.clone());
    }
    response
}
