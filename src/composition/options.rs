//! The settings, as each part wants them.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use crate::{
    adapters::{
        config::{AuthMode, CorsOrigins, CursorNames, REQUEST_PATH, RouteSettings, Settings},
        http::{ApiOptions, ConfiguredRoute, CursorParameter, RouteHeader, ServerOptions},
    },
    app::{
        hub::RingOptions,
        limits::LimitsOptions,
        subscriptions::{STREAM_PAGE, SubscriptionOptions},
    },
    domain::{
        frame::{Endings, StaleFrame},
        session::StreamPolicy,
    },
};

pub(super) fn ring_options(settings: &Settings) -> RingOptions {
    let hub = &settings.hub;
    RingOptions {
        ring_entries_max: hub.ring_entries_max,
        ring_max_bytes: hub.ring_max_bytes,
        rings_max_bytes: hub.rings_max_bytes,
    }
}

pub(super) fn limits_options(settings: &Settings) -> LimitsOptions {
    LimitsOptions {
        max_concurrent_per_user: settings.sse.max_concurrent_per_user,
        replay_budget_requests_per_window: settings.events.replay_budget_requests_per_window,
        replay_budget_window: settings.events.replay_budget_window,
    }
}

pub(super) fn subscription_options(settings: &Settings) -> SubscriptionOptions {
    let policy = StreamPolicy {
        keepalive: settings.sse.keepalive,
        retry_ms: settings.sse.retry_ms,
        replay_max_per_request: settings.events.replay_max_per_request,
        producer_idle: settings.messages.producer_idle,
    };
    SubscriptionOptions {
        policy,
        page_limit: STREAM_PAGE,
        replay_max_age: settings.events.replay_max_age,
        push_enabled: settings.sse.push_enabled,
        open_wait: settings.messages.open_wait,
    }
}

pub(super) fn api_options(settings: &Settings) -> ApiOptions {
    ApiOptions {
        max_body_bytes: settings.server.max_body_bytes,
        request_timeout: settings.server.request_timeout,
        write_timeout: settings.server.write_timeout,
        recipients_max: settings.events.recipients_max,
        cors_origins: match &settings.server.cors_origins {
            CorsOrigins::Any => vec![HeaderValue::from_static("*")],
            CorsOrigins::Only(origins) => origins.clone(),
        },
        local_only: settings.auth.mode == AuthMode::None && !settings.auth.allow_insecure,
        cookie: settings.auth.cookie.clone(),
        query_token: settings.auth.query_token,
        retry_ms: settings.sse.retry_ms,
        routes: settings.routes.iter().map(route).collect(),
    }
}

fn route(settings: &RouteSettings) -> ConfiguredRoute {
    let status = |code: Option<u16>| code.and_then(|code| StatusCode::from_u16(code).ok());
    let header = |(name, value)| {
        let header = if value == REQUEST_PATH {
            RouteHeader::RequestPath
        } else {
            RouteHeader::Fixed(HeaderValue::from_str(value).ok()?)
        };
        Some((name, header))
    };
    let cursor = settings.cursor.clone().map(|name| match settings.cursor_names() {
        CursorNames::LastSeen => CursorParameter::LastSeen(name),
        CursorNames::FirstWanted => CursorParameter::FirstWanted(name),
    });
    ConfiguredRoute {
        path: settings.path.clone(),
        channel: settings.channel(),
        format: settings.format(),
        cursor,
        headers: settings.headers().filter_map(header).collect(),
        last_index_header: settings.last_index_header(),
        unknown: status(settings.unknown).filter(|status| *status != StatusCode::NOT_FOUND),
        finished: status(settings.finished).filter(|status| *status != StatusCode::OK),
        endings: endings(settings),
    }
}

/// How the stream of a message ends; nothing where the format decides.
fn endings(settings: &RouteSettings) -> Option<Arc<Endings>> {
    let stale = settings.stale().map(|(event, data)| StaleFrame { event, data: data.into() });
    if stale.is_none() && settings.closing.is_none() {
        return None;
    }
    let by_format = || Endings::closing_of(settings.format()).map(str::to_owned);
    let closing = settings.closing.clone().or_else(by_format).filter(|text| !text.is_empty());
    Some(Arc::new(Endings { closing: closing.map(String::into_boxed_str), stale }))
}

pub(super) fn server_options(settings: &Settings) -> ServerOptions {
    ServerOptions {
        max_connections: settings.server.max_connections,
        request_timeout: settings.server.request_timeout,
        keep_alive: settings.server.keep_alive,
        max_header_bytes: settings.server.max_header_bytes,
        write_timeout: settings.server.write_timeout,
    }
}
