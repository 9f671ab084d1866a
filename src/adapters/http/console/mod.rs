//! `/console`: a page for operators, compiled in.
//!
//! Invariants: the page holds no data, so it needs no credentials; what it shows comes from the
//! admin calls, which do. It runs nothing and loads nothing but what is served here, and no other
//! site may frame it.

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::Api;

/// `require-trusted-types-for` makes the browser itself refuse to take text for HTML: what events
/// hold is hostile.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the page.
#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($path:literal, $media_type:expr) => {
        Asset {
            path: concat!("/console/", $path),
            media_type: $media_type,
            text: include_str!(concat!("page/", $path)),
        }
    };
}

const PAGE: Asset =
    Asset { path: "/console", media_type: HTML, text: include_str!("page/index.html") };
const ASSETS: [Asset; 15] = [
    asset!("style.css", CSS),
    asset!("icon.svg", SVG),
    asset!("app.js", JAVASCRIPT),
    asset!("arrow_keys.js", JAVASCRIPT),
    asset!("backlog.js", JAVASCRIPT),
    asset!("calls.js", JAVASCRIPT),
    asset!("confirm.js", JAVASCRIPT),
    asset!("dom.js", JAVASCRIPT),
    asset!("event_row.js", JAVASCRIPT),
    asset!("event_stream.js", JAVASCRIPT),
    asset!("json.js", JAVASCRIPT),
    asset!("live_tail.js", JAVASCRIPT),
    asset!("message.js", JAVASCRIPT),
    asset!("test_event.js", JAVASCRIPT),
    asset!("user.js", JAVASCRIPT),
];

/// The page and all that it loads. What it loads is its own business, and no part of the API.
pub(super) fn routes() -> OpenApiRouter<Api> {
    // Relative, so that a proxy may serve the console below a path of its own.
    let page_without_slash = get(async || Redirect::permanent("../console"));
    let loaded = Router::new().route("/console/", page_without_slash);
    let loaded =
        ASSETS.into_iter().fold(loaded, |routes, asset| routes.route(asset.path, get(asset)));
    OpenApiRouter::from(loaded).routes(routes!(page))
}

/// A page for operators. It asks for a token with the scope `admin`, and makes the admin calls.
#[utoipa::path(
    get, path = "/console", tag = "operate", operation_id = "console", security(()),
    responses((status = 200, description = "The page.", content((String = "text/html")))),
)]
async fn page() -> Response {
    PAGE.into_response()
}

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.media_type),
            // A new version of the server is a new console.
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ];
        (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), self.text)
            .into_response()
    }
}
