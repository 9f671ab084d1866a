//! What is refused before any route sees it, by a request's head alone.
//!
//! Invariants: a request has one host, and one `Authorization` at most. Where nobody is asked for a
//! token, what keeps others out is that only this machine reaches the server, and a browser on it
//! would run their errands: so a host must be one that no DNS server can make mean this machine
//! (DNS rebinding), and a page that changes or administers something must come from here or be
//! named in the settings.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    ApiOptions, admin,
    host::{self, Host},
    problem::Problem,
    problem_code::Code,
};

/// The rules.
#[derive(Clone)]
pub(super) struct Guard(Arc<Rules>);

struct Rules {
    local_only: bool,
    origins: Vec<HeaderValue>,
}

impl Guard {
    pub(super) fn of(options: &ApiOptions) -> Self {
        Self(Arc::new(Rules {
            local_only: options.local_only,
            origins: options.cors_origins.clone(),
        }))
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let host = host::of(request.version(), request.uri(), headers).map_err(|_| {
            Problem::new(
                Code::InvalidHost,
                "a request has one `Host`, of the form `host` or `host:port`: this one has none, several, or another form",
            )
        })?;
        if headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
            return Err(Problem::new(
                Code::InvalidAuthorization,
                "a request has one `Authorization` at most: send one token",
            ));
        }
        if !self.0.local_only {
            return Ok(());
        }
        if host.is_some_and(|host| !host.is_loopback()) {
            return Err(Problem::new(Code::HostNotAllowed, HOST_NOT_ALLOWED));
        }
        if changes_or_administers(request) && !self.is_own(headers) {
            return Err(Problem::new(Code::OriginNotAllowed, ORIGIN_NOT_ALLOWED));
        }
        Ok(())
    }

    /// Whether no page asks, or one that may. What is no page of a browser sends no `Origin`; a
    /// file, and a page that hides where it comes from, send `null`.
    fn is_own(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => {
                self.0.origins.iter().any(|own| own == "*" || own == origin) || is_loopback(origin)
            }
            (Some(_), Some(_)) => false,
        }
    }
}

const HOST_NOT_ALLOWED: &str = "this server checks no tokens (auth.mode is \"none\"), so it answers only under a name of this machine: call it as \
    localhost or 127.0.0.1; to serve others, set auth.mode to \"jwt\", or auth.allow_insecure to true";

const ORIGIN_NOT_ALLOWED: &str = "this server checks no tokens (auth.mode is \"none\"), so pages of other origins may not change or administer \
    anything: add the page's origin to server.cors_origins, serve it from localhost, or set auth.mode to \"jwt\"";

/// All but looking at what is not an operator's.
fn changes_or_administers(request: &Request) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD) || admin::is_path(request.uri().path())
}

fn is_loopback(origin: &HeaderValue) -> bool {
    let host = origin
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")));
    host.and_then(Host::parse).is_some_and(Host::is_loopback)
}

/// Refuses, or passes on.
pub(super) async fn enforce(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The same for what the layer of CORS answers itself. All else is refused inside of it, so that a
/// page which may call can read why it was refused.
pub(super) async fn enforce_on_preflight(
    guard: State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() == Method::OPTIONS {
        enforce(guard, request, next).await
    } else {
        next.run(request).await
    }
}
