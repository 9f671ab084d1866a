//! What values of particular keys must be like.

use std::net::SocketAddr;

use figment::value::Value;
use serde::de::DeserializeOwned;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{adapters::shown_url::is_ambiguous, domain::category::Registry};

/// Whether a value is what a field of this type takes.
pub(super) fn fits<T: DeserializeOwned>(value: &Value) -> bool {
    value.deserialize::<T>().is_ok()
}

pub(super) fn patterns(value: &Value) -> bool {
    value
        .deserialize::<Vec<String>>()
        .is_ok_and(|patterns| Registry::build([("any", patterns.as_slice())]).is_ok())
}

/// A name that needs no quotes, and leaves room for a suffix.
pub(super) fn schema(value: &Value) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    value.as_str().is_some_and(|name| {
        (1..=48).contains(&name.len())
            && name.bytes().all(allowed)
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.starts_with("pg_")
    })
}

/// What NATS takes in the name of a stream, and as a token of a subject, without need of escapes
/// anywhere.
fn is_nats_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

pub(super) fn stream_name(value: &Value) -> bool {
    value.as_str().is_some_and(is_nats_name)
}

pub(super) fn subject(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() <= 64 && text.split('.').all(is_nats_name))
}

pub(super) fn domain(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.is_empty() || is_nats_name(text))
}

/// The driver's own, and what other programs write for the same: `+tls` and `+ssl` for TLS.
pub(super) fn redis_scheme(scheme: &str) -> bool {
    const SCHEMES: [&str; 9] = [
        "redis",
        "rediss",
        "redis+tls",
        "redis+ssl",
        "valkey",
        "valkeys",
        "redis+unix",
        "valkey+unix",
        "unix",
    ];
    SCHEMES.contains(&scheme)
}

/// `postgres` or `postgresql`, alone or as SQLAlchemy writes it: with the driver that another
/// program uses.
pub(super) fn postgres_scheme(scheme: &str) -> bool {
    let (dialect, driver) = scheme.split_once('+').unwrap_or((scheme, "any"));
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    matches!(dialect, "postgres" | "postgresql") && is_name(driver)
}

pub(super) fn no_white_space(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.contains(|c: char| c.is_whitespace() || c.is_control()))
}

pub(super) fn optional_address(value: &Value) -> bool {
    value.as_str() == Some("") || fits::<SocketAddr>(value)
}

pub(super) fn not_empty(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

/// The name of a cookie is a token, as RFC 6265 says.
pub(super) fn cookie(value: &Value) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    value.as_str().is_some_and(|name| name.bytes().all(allowed))
}

pub(super) fn http_url(value: &Value) -> bool {
    // A password in it would be shown by `rejoin config`.
    let is_plain = |authority: &http::uri::Authority| {
        !authority.host().is_empty() && !authority.as_str().contains('@')
    };
    let good = |uri: &http::Uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some_and(is_plain)
    };
    value.as_str().is_some_and(|text| {
        text.is_empty() || (!is_ambiguous(text) && text.parse().is_ok_and(|uri| good(&uri)))
    })
}

pub(super) fn directives(value: &Value) -> bool {
    // A filter takes any other single word for the name of a module, so that a mistyped level would
    // log nothing.
    let is_explicit = |part: &str| {
        part.contains(['=', '[', ']'])
            || (!part.trim().is_empty() && part.trim().parse::<LevelFilter>().is_ok())
    };
    // tracing-subscriber 0.3.23 panics on a directive with white space before a letter that takes
    // several bytes.
    value.as_str().is_some_and(|text| {
        text.is_ascii() && text.split(',').all(is_explicit) && EnvFilter::try_new(text).is_ok()
    })
}
