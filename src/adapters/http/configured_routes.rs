//! Routes of a deployment's own: streams at the paths, and with the habits, that its clients have
//! already.
//!
//! Invariant: a route stands for one of ours, with its authentication, limits and promises; it
//! takes no path of ours and none of another route.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use matchit::InsertError;
use utoipa::openapi::{
    PathItem, Paths,
    path::{HttpMethod, Operation},
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::{
    Api,
    inputs::{CursorParameter, Formats},
    messages,
    problem::Problem,
    subscribe::{self, MessageHabits, StreamHabits},
};
use crate::domain::{
    frame::{Endings, Format},
    topic::{Channel, InvalidMessageId, MessageId},
};

/// The part of a path that is a message's id.
const ID: &str = "id";

/// A route of a deployment's own.
#[derive(Clone, Debug)]
pub struct ConfiguredRoute {
    /// Its path, with `{id}` as one of its parts for a message.
    pub path: String,
    /// What is read there.
    pub channel: Channel,
    /// How events are written.
    pub format: Format,
    /// The query parameter that is the cursor, beside our own.
    pub cursor: Option<CursorParameter>,
    /// Headers of the response.
    pub headers: Vec<(HeaderName, RouteHeader)>,
    /// The header that has the number of the message's last event.
    pub last_index_header: Option<HeaderName>,
    /// The status of a message that is not there, where it is not 404.
    pub unknown: Option<StatusCode>,
    /// The status of a message that has ended, where it is not sent again.
    pub finished: Option<StatusCode>,
    /// How the stream of a message ends, where that is not as its format has it.
    pub endings: Option<Arc<Endings>>,
}

/// The value of a route's header.
#[derive(Clone, Debug)]
pub enum RouteHeader {
    /// This one.
    Fixed(HeaderValue),
    /// The path and query of the request.
    RequestPath,
}

/// A route's path is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`routes`, the route of path \"{path}\": it takes requests for `{taken}`, which is there already"
)]
pub struct RouteCollision {
    /// Its path.
    pub path: String,
    /// The path that it collides with.
    pub taken: String,
}

/// Checks that routes take no path of ours, and none of each other.
///
/// # Errors
/// [`RouteCollision`], of the first that does.
pub(super) fn check(routes: &[ConfiguredRoute], ours: &Paths) -> Result<(), RouteCollision> {
    let mut table = matchit::Router::new();
    for path in ours.paths.keys() {
        // Ours are good among each other, which the router itself sees to.
        let _ = table.insert(path, path.clone());
    }
    let mut taken = matchit::Router::new();
    for ConfiguredRoute { path, .. } in routes {
        let collision = |with: &str| RouteCollision { path: path.clone(), taken: with.to_owned() };
        let request = path.replace(['{', '}'], "");
        if let Ok(matched) = table.at(&request) {
            return Err(collision(matched.value));
        }
        for (table, value) in [(&mut table.clone(), String::new()), (&mut taken, path.clone())] {
            table.insert(path, value).map_err(|conflict| match conflict {
                InsertError::Conflict { with } => collision(&with),
                _ => collision(path),
            })?;
        }
    }
    Ok(())
}

/// The routes, as they are added to ours.
pub(super) fn router(routes: &[ConfiguredRoute]) -> OpenApiRouter<Api> {
    let add = |router: OpenApiRouter<Api>, route: &ConfiguredRoute| {
        router.routes(described(Arc::new(route.clone())))
    };
    routes.iter().fold(OpenApiRouter::new(), add)
}

fn described(route: Arc<ConfiguredRoute>) -> UtoipaMethodRouter<Api> {
    let mut operation: Operation = match route.channel {
        Channel::Users => subscribe::operation(),
        Channel::Messages => messages::subscribe_operation(),
    };
    operation.operation_id = None;
    let mut paths = Paths::new();
    let item = PathItem::new(HttpMethod::Get, operation);
    paths.paths.insert(route.path.clone(), item);
    let follow = move |params: RawPathParams, State(api): State<Api>, request: Request| {
        let route = Arc::clone(&route);
        async move { follow(&api, &route, &params, &request.into_parts().0).await }
    };
    let method: MethodRouter<Api> = get(follow);
    (Vec::new(), paths, method)
}

async fn follow(
    api: &Api,
    route: &ConfiguredRoute,
    params: &RawPathParams,
    request: &Parts,
) -> Response {
    let habits = StreamHabits {
        formats: Formats::Fixed(route.format),
        cursor: route.cursor.as_ref(),
        endings: route.endings.clone(),
    };
    let mut response = match route.channel {
        Channel::Users => subscribe::follow_user(api, request, habits).await,
        Channel::Messages => {
            let text = params.iter().find(|(name, _)| *name == ID).map(|(_, text)| text);
            match text.ok_or(InvalidMessageId).and_then(MessageId::parse) {
                Ok(id) => {
                    let of_message = MessageHabits {
                        unknown: route.unknown,
                        finished: route.finished,
                        last_index_header: route.last_index_header.as_ref(),
                    };
                    subscribe::follow_message(api, &id, request, habits, of_message).await
                }
                Err(invalid) => return Problem::from(invalid).into_response(),
            }
        }
    };
    if response.status() == StatusCode::OK {
        add_headers(&mut response, route, request);
    }
    response
}

fn add_headers(response: &mut Response, route: &ConfiguredRoute, request: &Parts) {
    for (name, header) in &route.headers {
        let value = match header {
            RouteHeader::Fixed(value) => Some(value.clone()),
            RouteHeader::RequestPath => {
                let path = request.uri.path_and_query();
                path.and_then(|path| HeaderValue::from_str(path.as_str()).ok())
            }
        };
        if let Some(value) = value {
            response.headers_mut().insert(name.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> ConfiguredRoute {
        ConfiguredRoute {
            path: path.to_owned(),
            channel: Channel::Messages,
            format: Format::Data,
            cursor: None,
            headers: Vec::new(),
            last_index_header: None,
            unknown: None,
            finished: None,
            endings: None,
        }
    }

    fn ours() -> Paths {
        let mut paths = Paths::new();
        for path in ["/api/events", "/api/messages/{id}/events", "/healthz", "/api/messages/{id}"] {
            let item = PathItem::new(HttpMethod::Get, Operation::new());
            paths.paths.insert(path.to_owned(), item);
        }
        paths
    }

    #[test]
    fn a_route_that_takes_what_is_there_is_refused() {
        let collision = |paths: &[&str]| {
            let routes: Vec<_> = paths.iter().map(|path| route(path)).collect();
            check(&routes, &ours()).err().map(|collision| collision.path)
        };
        assert_eq!(collision(&["/api/chat/{id}/stream", "/v1/responses/{id}", "/events"]), None);
        assert_eq!(collision(&["/threads/{thread}/runs/{id}/stream", "/threads/{id}"]), None);
        // Ours go before: what they take is not taken from them.
        assert_eq!(collision(&["/api/{kind}/{id}/events"]), None);
        for path in [
            "/healthz",
            "/api/events",
            "/api/messages/{id}/events",
            "/api/messages/{other}/events",
            "/api/messages/x/events",
            "/api/messages/{id}",
        ] {
            assert_eq!(collision(&[path]).as_deref(), Some(path));
        }
        assert_eq!(collision(&["/a/{id}", "/a/{id}"]).as_deref(), Some("/a/{id}"));
        assert_eq!(collision(&["/a/{id}", "/a/{run}"]).as_deref(), Some("/a/{run}"));
    }
}
