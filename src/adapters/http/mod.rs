//! HTTP: requests in, use cases called, answers and streams out.
//!
//! Invariants: what comes from outside is parsed into the domain's types here, and refused here;
//! every error becomes an answer in one place (`problem`); nothing here decides who gets which
//! event.

mod admin;
mod body_encoding;
mod body_wire;
mod configured_routes;
mod connection;
mod console;
mod credentials;
mod description;
mod guard;
mod health;
mod host;
mod inputs;
mod line_splitter;
mod line_upload;
mod messages;
mod methods;
mod metrics;
mod ndjson;
mod places;
mod problem;
mod problem_code;
mod publication;
mod publish;
mod receipt;
mod request_body;
mod request_id;
mod server;
mod server_options;
mod slow_client;
mod socket_wire;
mod subscribe;
mod trace;
mod upload;
mod upload_results;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, Method, header},
    middleware,
    response::{IntoResponse, Response},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowHeaders, AllowOrigin, Any, CorsLayer},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::{
    configured_routes::{ConfiguredRoute, RouteCollision, RouteHeader},
    inputs::CursorParameter,
    metrics::MetricsText,
    problem_code::Code,
    server::{listen, serve},
    server_options::ServerOptions,
};
use self::{guard::Guard, methods::Methods, problem::Problem};
use crate::{
    app::{
        administration::Administration, lifecycle::Lifecycle, producing::Producing,
        publishing::Publisher, signals::Signals, sources::Sources, subscriptions::Subscriptions,
    },
    ports::{authenticator::Authenticator, entropy::Entropy},
};

/// What the routes need.
#[derive(Clone)]
pub struct Api {
    /// Opens streams.
    pub subscriptions: Arc<Subscriptions>,
    /// Takes events.
    pub publisher: Arc<Publisher>,
    /// Takes messages.
    pub producing: Arc<Producing>,
    /// What operators see and do.
    pub administration: Arc<Administration>,
    /// Finds out who is asking.
    pub authenticator: Arc<dyn Authenticator>,
    /// Asked whether they answer.
    pub sources: Sources,
    /// Makes the ids of requests.
    pub entropy: Arc<dyn Entropy>,
    /// Knows whether the process drains.
    pub lifecycle: Lifecycle,
    /// Counts what is refused.
    pub signals: Arc<Signals>,
    /// All metrics, as Prometheus reads them.
    pub metrics: Arc<MetricsText>,
    /// The settings of the routes.
    pub options: Arc<ApiOptions>,
}

/// The settings of the routes.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Most bytes of one event, and of one line of NDJSON.
    pub max_body_bytes: usize,
    /// Within this time the body of one event must have arrived.
    pub request_timeout: Duration,
    /// A client that takes nothing of an answer for so long is given up.
    pub write_timeout: Duration,
    /// Most recipients of one event.
    pub recipients_max: usize,
    /// Origins whose pages may use this server; `*` for all.
    pub cors_origins: Vec<HeaderValue>,
    /// Whether no token is asked for, so that only this machine's own host names and pages
    /// may call.
    pub local_only: bool,
    /// The cookie that may carry the token of a subscribe request.
    pub cookie: Option<String>,
    /// Whether `?access_token=` may.
    pub query_token: bool,
    /// The reconnection delay of a refusal that names none.
    pub retry_ms: u64,
    /// Routes of the deployment's own.
    pub routes: Vec<ConfiguredRoute>,
}

/// The routes of one listener.
#[derive(Clone, Debug)]
pub struct Routes {
    /// What is there.
    pub all: Router,
    /// What a connection gets that comes when there are as many as may be: how the server is, and
    /// that there is no room.
    pub over_limit: Router,
}

/// The routes of both listeners.
pub struct Listeners {
    /// What applications and clients use, and what operators use unless they have a listener of
    /// their own.
    pub public: Routes,
    /// What operators use.
    pub ops: Routes,
}

/// All routes. Those for operators are among the public ones unless they are to be `ops_apart`.
///
/// # Errors
/// A route of the deployment's own takes the path of another.
pub fn routes(api: Api, ops_apart: bool) -> Result<Listeners, RouteCollision> {
    let metrics = || OpenApiRouter::new().routes(routes!(metrics::metrics));
    configured_routes::check(&api.options.routes, &own_routes().into_openapi().paths)?;
    let public = public_routes()
        .merge(common_routes())
        .merge(configured_routes::router(&api.options.routes));
    let (public, public_health) = if ops_apart {
        (public, health_routes())
    } else {
        (public.merge(ops_routes()), health_routes().merge(metrics()))
    };
    let listener = |all, health, api: Api| Routes {
        all: finish(all, api.clone(), Problem::not_found),
        over_limit: finish(health, api, Problem::server_full),
    };
    Ok(Listeners {
        public: listener(public, public_health, api.clone()),
        ops: listener(ops_routes().merge(common_routes()), health_routes().merge(metrics()), api),
    })
}

/// Every route that is there without a deployment's own.
fn own_routes() -> OpenApiRouter<Api> {
    public_routes().merge(ops_routes()).merge(common_routes())
}

/// What the API looks like, as OpenAPI 3.1: all of it, as where operators have no listener of their
/// own.
pub fn description() -> String {
    description::text(own_routes().into_openapi())
}

fn public_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(description::blank())
        .routes(routes!(subscribe::subscribe, publish::publish))
        .routes(routes!(subscribe::subscribe_v1, publish::publish_v1))
        .merge(messages::routes())
}

fn ops_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(description::blank())
        .merge(admin::routes())
        .merge(console::routes())
        .routes(routes!(metrics::metrics))
}

fn common_routes() -> OpenApiRouter<Api> {
    health_routes().routes(routes!(description::openapi))
}

fn health_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(health::healthz)).routes(routes!(health::readyz))
}

/// What all routes have in common; `elsewhere` is the answer where there is no route.
fn finish(routes: OpenApiRouter<Api>, api: Api, elsewhere: fn() -> Problem) -> Router {
    let cors = cors(&api.options);
    let (guard, entropy) = (Guard::of(&api.options), Arc::clone(&api.entropy));
    let (routes, openapi) = routes.split_for_parts();
    routes
        .fallback(async move || elsewhere())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(api)
        .layer(middleware::from_fn_with_state(Methods::of(&openapi), methods::enforce))
        .layer(Extension(description::document(openapi)))
        // Bodies are read with limits of their own.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(guard.clone(), guard::enforce))
        .layer(middleware::map_response(never_sniff))
        .layer(middleware::from_fn_with_state(entropy, request_id::with_request_id))
        .layer(cors)
        .layer(middleware::from_fn_with_state(guard, guard::enforce_on_preflight))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
}

async fn never_sniff(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn cors(options: &ApiOptions) -> CorsLayer {
    let origins = &options.cors_origins;
    let of_routes = options.routes.iter().flat_map(|route| {
        route.headers.iter().map(|(name, _)| name).chain(&route.last_index_header).cloned()
    });
    let exposed =
        [header::RETRY_AFTER, header::WWW_AUTHENTICATE, HeaderName::from_static("x-request-id")];
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        // Whatever the page asks for: `*` would not cover `Authorization`, and a list would not
        // cover what tracing adds.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.into_iter().chain(of_routes).collect::<Vec<_>>())
        .max_age(Duration::from_hours(1));
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(Any);
    }
    if origins.is_empty() {
        return CorsLayer::new();
    }
    // Named origins may send the cookie; any origin at all may not.
    layer.allow_origin(AllowOrigin::list(origins.iter().cloned())).allow_credentials(true)
}
