//! The table of all keys: what each may be, and what the environment calls it.
//!
//! Invariant: the keys here, in `config/default.toml` and in [`super::Settings`] are the same; a test holds them together.

use std::net::SocketAddr;

use figment::value::Value;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::{
    allowed::{Allowed, fits},
    auth::{Algorithm, AuthMode, StaticKey},
    settings::{Backend, CorsOrigins, DiskSync, LogFormat, NatsStorage},
};
use crate::{
    adapters::shown_url::is_ambiguous,
    domain::category::{CATEGORY_BYTES_MAX, Category, Registry},
};

/// A key of the settings.
pub(super) struct Key {
    /// Its name, dotted.
    pub(super) name: &'static str,
    /// The name that the environment of older deployments has for it.
    pub(super) legacy: Option<&'static str>,
    /// What it may be.
    pub(super) allowed: Allowed,
}

/// The section whose keys are the operator's own.
pub(super) const CATEGORIES: &str = "categories";

/// What a category may be.
static PATTERNS: Allowed =
    Allowed::Texts { what: "a list of event types, or beginnings of event types followed by `*`, each once", accepts: patterns };

const BACKEND: Allowed = Allowed::Text { what: "\"memory\", \"disk\", \"redis\", \"nats\" or \"postgres\"", accepts: fits::<Backend> };
const LIMITS_BACKEND: Allowed = Allowed::Text {
    what: "\"memory\", \"redis\", \"nats\" or \"postgres\"",
    accepts: |value| fits::<Backend>(value) && value.as_str() != Some(Backend::Disk.name()),
};
const TEXT: Allowed = Allowed::Text { what: "a text", accepts: |_| true };
const URL: Allowed = Allowed::Url {
    what: "a URL that begins with https:// or http://, without user and password, and with any @ written as %40; or empty",
    accepts: url,
};
const FILE: Allowed = Allowed::Text { what: "the path of a file, or empty", accepts: |_| true };

const fn key(name: &'static str, allowed: Allowed) -> Key {
    Key { name, legacy: None, allowed }
}

const fn older(name: &'static str, legacy: &'static str, allowed: Allowed) -> Key {
    Key { name, legacy: Some(legacy), allowed }
}

const fn number(min: u64, max: u64) -> Allowed {
    Allowed::Number { min, max }
}

/// Every key but those of `[categories]`, in the order of `config/default.toml`.
pub(super) static KEYS: &[Key] = &[
    key(
        "server.listen",
        Allowed::Text { what: "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080", accepts: fits::<SocketAddr> },
    ),
    key(
        "server.ops_listen",
        Allowed::Text { what: "an IP address and a port, such as 127.0.0.1:9090, or empty", accepts: optional_address },
    ),
    key("server.drain_seconds", number(0, 600)),
    key("server.write_timeout_seconds", number(1, 3600)),
    key("server.request_timeout_seconds", number(1, 3600)),
    key("server.keep_alive_seconds", number(1, 3600)),
    key("server.max_body_bytes", number(1024, 1 << 30)),
    // hyper panics on less than 8 KiB.
    key("server.max_header_bytes", number(8192, 1 << 20)),
    key("server.max_connections", number(0, 10_000_000)),
    key(
        "server.cors_origins",
        Allowed::Texts {
            what: "a list of origins such as https://app.example.com, without a path, or \"*\" alone",
            accepts: fits::<CorsOrigins>,
        },
    ),
    older("sse.push_enabled", "ENABLE_SSE_PUSH", Allowed::Flag),
    older("sse.keepalive_seconds", "SSE_KEEPALIVE_SECONDS", number(1, 3600)),
    older("sse.max_concurrent_per_user", "SSE_MAX_CONCURRENT_PER_USER", number(0, 100_000)),
    key("sse.retry_ms", number(0, 3_600_000)),
    key("events.backend", BACKEND),
    older("events.stream_maxlen", "EVENTS_STREAM_MAXLEN", number(1, 10_000_000)),
    older("events.replay_max_per_request", "EVENTS_REPLAY_MAX_PER_REQUEST", number(1, 100_000)),
    older("events.replay_max_age_hours", "EVENTS_REPLAY_MAX_AGE_HOURS", number(0, 87_600)),
    older("events.replay_budget_requests_per_window", "EVENTS_REPLAY_BUDGET_REQUESTS_PER_WINDOW", number(0, 1_000_000)),
    older("events.replay_budget_window_seconds", "EVENTS_REPLAY_BUDGET_WINDOW_SECONDS", number(1, 86_400)),
    key("events.idempotency_window_seconds", number(1, 86_400)),
    key("events.recipients_max", number(1, 100_000)),
    key("messages.backend", BACKEND),
    older("messages.retention_days", "MESSAGE_EVENTS_RETENTION_DAYS", number(1, 3_650)),
    key("messages.producer_idle_seconds", number(1, 86_400)),
    key("messages.open_wait_seconds", number(0, 60)),
    key("limits.backend", LIMITS_BACKEND),
    key("memory.max_bytes", number(1 << 20, 1 << 40)),
    key(
        "disk.path",
        Allowed::Text { what: "the path of a directory", accepts: |value| value.as_str().is_some_and(|path| !path.is_empty()) },
    ),
    key("disk.sync", Allowed::Text { what: "\"always\" or \"interval\"", accepts: fits::<DiskSync> }),
    key("disk.cache_bytes", number(1 << 20, 1 << 40)),
    key(
        "redis.url",
        Allowed::Urls {
            what: "a URL such as redis://user:password@host:6379/0, or rediss:// for TLS, with user and password percent-encoded; of a cluster several, with commas between",
            is_scheme: redis_scheme,
        },
    ),
    key("redis.cluster", Allowed::Flag),
    key("redis.key_prefix", Allowed::Text { what: "a text without white space, or empty", accepts: no_white_space }),
    key("redis.tls_ca_file", FILE),
    key(
        "nats.url",
        Allowed::Urls {
            what: "a URL such as nats://user:password@host:4222, or tls:// for TLS, with user, password or token percent-encoded; of several servers with commas between",
            is_scheme: |scheme| matches!(scheme, "nats" | "tls"),
        },
    ),
    key("nats.credentials_file", FILE),
    key("nats.nkey_file", FILE),
    key("nats.tls_ca_file", FILE),
    key("nats.stream_prefix", Allowed::Text { what: "1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'", accepts: stream_name }),
    key(
        "nats.subject_prefix",
        Allowed::Text { what: "tokens of A-Z, a-z, 0-9, '_' and '-' with dots between, 64 characters at most", accepts: subject },
    ),
    key("nats.domain", Allowed::Text { what: "a text of A-Z, a-z, 0-9, '_' and '-', or empty", accepts: domain }),
    key("nats.replicas", number(1, 5)),
    key("nats.storage", Allowed::Text { what: "\"file\" or \"memory\"", accepts: fits::<NatsStorage> }),
    key(
        "postgres.url",
        Allowed::Urls {
            what: "a URL such as postgres://user:password@host:5432/database?sslmode=verify-full, with user, password and values percent-encoded",
            is_scheme: postgres_scheme,
        },
    ),
    key(
        "postgres.schema",
        Allowed::Text { what: "1 to 48 characters of a-z, 0-9 and '_', beginning with neither a digit nor \"pg_\"", accepts: schema },
    ),
    key("postgres.max_connections", number(8, 1_000)),
    key("postgres.timeout_seconds", number(1, 9)),
    key("hub.ring_entries_max", number(1, 1_000_000)),
    key("hub.ring_max_bytes", number(1024, 1 << 30)),
    key("hub.rings_max_bytes", number(1024, 1 << 40)),
    key("hub.broadcasts_max_bytes", number(65_536, 1 << 40)),
    key("auth.mode", Allowed::Text { what: "\"none\" or \"jwt\"", accepts: fits::<AuthMode> }),
    key("auth.allow_insecure", Allowed::Flag),
    key("auth.cookie", Allowed::Text { what: "the name of a cookie, or empty", accepts: cookie }),
    key("auth.query_token", Allowed::Flag),
    key(
        "auth.keys",
        Allowed::Tables {
            what: "a list of tables { name, sha256, scopes }",
            check: |keys| Ok(keys.deserialize::<Vec<StaticKey>>().map(drop)?),
        },
    ),
    key("auth.jwt.secret", Allowed::Secret),
    key("auth.jwt.allow_weak_secret", Allowed::Flag),
    key("auth.jwt.public_key_file", FILE),
    key("auth.jwt.jwks_file", FILE),
    key("auth.jwt.jwks_url", URL),
    key("auth.jwt.algorithms", Allowed::Texts { what: "a list of HS256, RS256, ES256, EdDSA", accepts: fits::<Vec<Algorithm>> }),
    key("auth.jwt.issuer", TEXT),
    key("auth.jwt.audience", TEXT),
    key("auth.jwt.leeway_seconds", number(0, 600)),
    key("auth.jwt.require_exp", Allowed::Flag),
    key("log.format", Allowed::Text { what: "\"text\" or \"json\"", accepts: fits::<LogFormat> }),
    key(
        "log.level",
        Allowed::Text { what: "error, warn, info, debug, trace or off, or directives such as \"info,rejoin=debug\"", accepts: directives },
    ),
    key("telemetry.otlp_endpoint", URL),
    key("telemetry.service_name", Allowed::Text { what: "a text that is not empty", accepts: not_empty }),
    key("telemetry.sample_ratio", Allowed::Ratio),
];

/// What the key of that name may be, if there is one.
pub(super) fn allowed(name: &str) -> Option<&'static Allowed> {
    match name.split_once('.') {
        Some((CATEGORIES, category)) => Category::parse(category).is_ok().then_some(&PATTERNS),
        _ => KEYS.iter().find(|key| key.name == name).map(|key| &key.allowed),
    }
}

/// Whether that is the name of a section.
pub(super) fn is_section(name: &str) -> bool {
    name == CATEGORIES || KEYS.iter().any(|key| within(key.name, name).is_some())
}

/// What there is in the innermost section that a key of that name would be in.
pub(super) fn known_beside(name: &str) -> Vec<String> {
    let mut section = name;
    loop {
        section = section.rsplit_once('.').map_or("", |(outer, _)| outer);
        if section == CATEGORIES {
            return vec![format!("names of 1 to {CATEGORY_BYTES_MAX} characters of a-z, 0-9, '_' and '-'")];
        }
        if section.is_empty() || is_section(section) {
            break;
        }
    }
    let mut known: Vec<String> = Vec::new();
    for name in KEYS.iter().map(|key| key.name).chain([CATEGORIES]) {
        let inside = if section.is_empty() { Some(name) } else { within(name, section) };
        if let Some(part) = inside.and_then(|rest| rest.split('.').next())
            && !known.iter().any(|other| other == part)
        {
            known.push(part.to_owned());
        }
    }
    known
}

/// What the environment calls a key.
pub(super) fn variable(name: &str) -> String {
    format!("REJOIN_{}", name.to_ascii_uppercase().replace('.', "__"))
}

fn within<'a>(name: &'a str, section: &str) -> Option<&'a str> {
    name.strip_prefix(section)?.strip_prefix('.')
}

fn patterns(value: &Value) -> bool {
    value.deserialize::<Vec<String>>().is_ok_and(|patterns| Registry::build([("any", patterns.as_slice())]).is_ok())
}

/// A name that needs no quotes, and leaves room for a suffix.
fn schema(value: &Value) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    value.as_str().is_some_and(|name| {
        (1..=48).contains(&name.len())
            && name.bytes().all(allowed)
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.starts_with("pg_")
    })
}

/// What NATS takes in the name of a stream, and as a token of a subject, without need of escapes anywhere.
fn is_nats_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn stream_name(value: &Value) -> bool {
    value.as_str().is_some_and(is_nats_name)
}

fn subject(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() <= 64 && text.split('.').all(is_nats_name))
}

fn domain(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.is_empty() || is_nats_name(text))
}

/// The driver's own, and what other programs write for the same: `+tls` and `+ssl` for TLS.
fn redis_scheme(scheme: &str) -> bool {
    const SCHEMES: [&str; 9] = ["redis", "rediss", "redis+tls", "redis+ssl", "valkey", "valkeys", "redis+unix", "valkey+unix", "unix"];
    SCHEMES.contains(&scheme)
}

/// `postgres` or `postgresql`, alone or as SQLAlchemy writes it: with the driver that another program uses.
fn postgres_scheme(scheme: &str) -> bool {
    let (dialect, driver) = scheme.split_once('+').unwrap_or((scheme, "any"));
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    matches!(dialect, "postgres" | "postgresql") && is_name(driver)
}

fn no_white_space(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.contains(|c: char| c.is_whitespace() || c.is_control()))
}

fn optional_address(value: &Value) -> bool {
    value.as_str() == Some("") || fits::<SocketAddr>(value)
}

fn not_empty(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

/// The name of a cookie is a token, as RFC 6265 says.
fn cookie(value: &Value) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    value.as_str().is_some_and(|name| name.bytes().all(allowed))
}

fn url(value: &Value) -> bool {
    // A password in it would be shown by `rejoin config`.
    let is_plain = |authority: &http::uri::Authority| !authority.host().is_empty() && !authority.as_str().contains('@');
    let good = |uri: &http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some_and(is_plain);
    value.as_str().is_some_and(|text| text.is_empty() || (!is_ambiguous(text) && text.parse().is_ok_and(|uri| good(&uri))))
}

fn directives(value: &Value) -> bool {
    // A filter takes any other single word for the name of a module, so that a mistyped level would log nothing.
    let is_explicit =
        |part: &str| part.contains(['=', '[', ']']) || (!part.trim().is_empty() && part.trim().parse::<LevelFilter>().is_ok());
    // tracing-subscriber 0.3.23 panics on a directive with white space before a letter that takes several bytes.
    value.as_str().is_some_and(|text| text.is_ascii() && text.split(',').all(is_explicit) && EnvFilter::try_new(text).is_ok())
}
