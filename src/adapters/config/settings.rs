//! The settings by section, typed.
//!
//! A zero or an empty text that switches something off is `None` here.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use http::HeaderValue;
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    allowed::{Allowed, FILE, HTTP_URL, number, text, texts, urls},
    auth::AuthSettings,
    fields,
    routes::{self, RouteSettings},
    secret::Secret,
    section::section,
    validators::{self, fits},
};
use crate::domain::category::{InvalidRegistry, Registry};

const BACKEND: Allowed =
    text("\"memory\", \"disk\", \"redis\", \"nats\" or \"postgres\"", fits::<Backend>);
const LIMITS_BACKEND: Allowed = text("\"memory\", \"redis\", \"nats\" or \"postgres\"", |value| {
    fits::<Backend>(value) && value.as_str() != Some(Backend::Disk.name())
});

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The listener and the bounds of a request.
    pub server: ServerSettings,
    /// The streams.
    pub sse: SseSettings,
    /// The journal of user events.
    pub events: EventsSettings,
    /// The messages.
    pub messages: MessagesSettings,
    /// Connection slots and replay budgets.
    pub limits: LimitsSettings,
    /// The memory journal.
    pub memory: MemorySettings,
    /// The store on disk.
    pub disk: DiskSettings,
    /// Redis.
    pub redis: RedisSettings,
    /// NATS.
    pub nats: NatsSettings,
    /// Postgres.
    pub postgres: PostgresSettings,
    /// What a process keeps ready for its streams.
    pub hub: HubSettings,
    /// Who may do what.
    pub auth: AuthSettings,
    /// The log.
    pub log: LogSettings,
    /// The traces.
    pub telemetry: TelemetrySettings,
    /// Which types belong to which category.
    #[serde(deserialize_with = "registry")]
    pub categories: Registry,
    /// Paths of the deployment's own.
    #[serde(default, deserialize_with = "routes::routes")]
    pub routes: Vec<RouteSettings>,
}

section! {
    "server" => ServerSettings {
        /// Address to listen on: an IP address and a port, as `127.0.0.1:8080`, `0.0.0.0:8080` or
        /// `[::]:8080`.
        listen: SocketAddr = "127.0.0.1:8080",
            text(
                "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080",
                fits::<SocketAddr>,
            );

        /// Address of a listener of its own for /metrics, the console and the admin calls; "": they
        /// are with the rest.
        #[serde(deserialize_with = "fields::optional_address")]
        ops_listen: Option<SocketAddr> = "",
            text("an IP address and a port, such as 127.0.0.1:9090, or empty", validators::optional_address);

        /// Seconds that a shutdown may take to close all streams.
        #[serde(deserialize_with = "fields::seconds")]
        drain as "drain_seconds": Duration = 10, number(0, 600);

        /// Seconds after which a client that takes nothing is closed.
        #[serde(deserialize_with = "fields::seconds")]
        write_timeout as "write_timeout_seconds": Duration = 30, number(1, 3600);

        /// Seconds within which the head and the body of a request must arrive.
        #[serde(deserialize_with = "fields::seconds")]
        request_timeout as "request_timeout_seconds": Duration = 30, number(1, 3600);

        /// Seconds that a connection may rest between two requests; longer than the proxies in
        /// front keep theirs.
        #[serde(deserialize_with = "fields::seconds")]
        keep_alive as "keep_alive_seconds": Duration = 90, number(1, 3600);

        /// Most bytes of one event's JSON, and of one line of NDJSON.
        max_body_bytes: usize = 1048576, number(1024, 1 << 30);

        /// Most bytes of a request's head.
        // hyper panics on less than 8 KiB.
        max_header_bytes: usize = 65536, number(8192, 1 << 20);

        /// Most connections at once, of all users together; a limit of open files below it is
        /// warned of; 0: no limit.
        #[serde(deserialize_with = "fields::not_zero")]
        max_connections: Option<usize> = 100000, number(0, 10_000_000);

        /// Origins whose pages may call from a browser, as `["https://app.example.com"]`; `["*"]`:
        /// every origin; `[]`: none but the own.
        cors_origins: CorsOrigins = [],
            texts(
                "a list of origins such as https://app.example.com, without a path, or \"*\" alone",
                fits::<CorsOrigins>,
            );
    }
}

section! {
    "sse" => SseSettings {
        /// Whether events are taken and pushed at all: the master switch.
        push_enabled also "ENABLE_SSE_PUSH": bool = true, Allowed::Flag;

        /// Seconds without a byte after which a stream gets a keepalive.
        #[serde(deserialize_with = "fields::seconds")]
        keepalive as "keepalive_seconds" also "SSE_KEEPALIVE_SECONDS": Duration = 15,
            number(1, 3600);

        /// Most streams of one user at once; 0: no cap.
        #[serde(deserialize_with = "fields::not_zero")]
        max_concurrent_per_user also "SSE_MAX_CONCURRENT_PER_USER": Option<u32> = 8,
            number(0, 100_000);

        /// Milliseconds after which a client that was cut off should reconnect.
        retry_ms: u64 = 3000, number(0, 3_600_000);
    }
}

section! {
    "events" => EventsSettings {
        /// Where user events are kept: "memory", "disk", "redis", "nats" or "postgres".
        backend: Backend = "disk", BACKEND;

        /// Events kept for each user, approximately.
        stream_maxlen also "EVENTS_STREAM_MAXLEN": usize = 1000, number(1, 10_000_000);

        /// Most events that one request replays; the client comes back for more.
        replay_max_per_request also "EVENTS_REPLAY_MAX_PER_REQUEST": u32 = 200, number(1, 100_000);

        /// Hours after which an event counts as gone; 0: no limit.
        #[serde(deserialize_with = "fields::hours")]
        replay_max_age as "replay_max_age_hours" also "EVENTS_REPLAY_MAX_AGE_HOURS": Option<Duration> = 48,
            number(0, 87_600);

        /// Replays per user and window; 0: no budget.
        #[serde(deserialize_with = "fields::not_zero")]
        replay_budget_requests_per_window also "EVENTS_REPLAY_BUDGET_REQUESTS_PER_WINDOW": Option<u32> = 30,
            number(0, 1_000_000);

        /// Seconds of the sliding window of that budget.
        #[serde(deserialize_with = "fields::seconds")]
        replay_budget_window as "replay_budget_window_seconds" also "EVENTS_REPLAY_BUDGET_WINDOW_SECONDS": Duration = 60,
            number(1, 86_400);

        /// Seconds during which a repeated Idempotency-Key is recognised.
        #[serde(deserialize_with = "fields::seconds")]
        idempotency_window as "idempotency_window_seconds": Duration = 600, number(1, 86_400);

        /// Most `user_ids` of one publish.
        recipients_max: usize = 1000, number(1, 100_000);
    }
}

section! {
    "messages" => MessagesSettings {
        /// Where messages are kept: "memory", "disk", "redis", "nats" or "postgres".
        backend: Backend = "disk", BACKEND;

        /// Days after its producer's last sign of life that a message is removed.
        #[serde(deserialize_with = "fields::days")]
        retention as "retention_days" also "MESSAGE_EVENTS_RETENTION_DAYS": Duration = 14,
            number(1, 3_650);

        /// Seconds of silence after which a producer counts as silent, and its readers are
        /// notified.
        #[serde(deserialize_with = "fields::seconds")]
        producer_idle as "producer_idle_seconds": Duration = 90, number(1, 86_400);

        /// Seconds that a reader who comes before its message is opened waits for it; 0: not at
        /// all.
        #[serde(deserialize_with = "fields::seconds")]
        open_wait as "open_wait_seconds": Duration = 5, number(0, 60);
    }
}

section! {
    "limits" => LimitsSettings {
        /// Where connection slots and replay budgets are counted: "memory", or "redis", "nats" or
        /// "postgres" for several processes together.
        backend: Backend = "memory", LIMITS_BACKEND;
    }
}

section! {
    "memory" => MemorySettings {
        /// Most bytes of all events and idempotency keys in memory together, and as many again for
        /// messages; the oldest go first; the process holds up to a quarter more.
        max_bytes: usize = 268435456, number(1 << 20, 1 << 40);
    }
}

section! {
    /// The store on this machine's disk, for one process: for what has "disk" as its backend.
    /// `rejoin serve --memory` does without.
    "disk" => DiskSettings {
        /// Its directory, on a local file system; made where it is not there, readable by its owner
        /// only.
        path: PathBuf = "./data",
            text(
                "the path of a directory",
                |value| value.as_str().is_some_and(|path| !path.is_empty()),
            );

        /// When an acknowledged event is synced to the disk: "always" before it is acknowledged, or
        /// "interval": within about a second, so that a crash of the machine, though not one of the
        /// process, may lose that second.
        sync: DiskSync = "always",
            text("\"always\" or \"interval\"", fits::<DiskSync>);

        /// Memory for what was read of the store, in bytes.
        cache_bytes: usize = 67108864, number(1 << 20, 1 << 40);
    }
}

/// When a write to disk is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskSync {
    /// Before it is acknowledged.
    Always,
    /// Within a second or so.
    Interval,
}

section! {
    /// Redis 6.2 or later, or Valkey: for what has "redis" as its backend.
    "redis" => RedisSettings {
        /// Where it is: redis://user:password@host:6379/0, or rediss:// for TLS; of a cluster
        /// several nodes, with commas between.
        #[serde(deserialize_with = "fields::secret")]
        url: Secret = "redis://127.0.0.1:6379",
            urls(
                "a URL such as redis://user:password@host:6379/0, or rediss:// for TLS, with user and password percent-encoded; of a cluster several, with commas between",
                validators::redis_scheme,
            );

        /// Whether it is a Redis Cluster.
        cluster: bool = false, Allowed::Flag;

        /// What all keys and channels begin with: for several programs, or several Rejoins, in one
        /// Redis.
        key_prefix: String = "",
            text("a text without white space, or empty", validators::no_white_space);

        /// PEM file of the authorities that sign the server's certificate; "": those that the
        /// system trusts.
        #[serde(deserialize_with = "fields::not_empty")]
        tls_ca_file: Option<PathBuf> = "", FILE;
    }
}

section! {
    /// NATS 2.12 or later with JetStream: for what has "nats" as its backend.
    "nats" => NatsSettings {
        /// Where it is: nats://user:password@host:4222 or nats://token@host:4222, or tls:// for
        /// TLS; several servers with commas between.
        #[serde(deserialize_with = "fields::secret")]
        url: Secret = "nats://127.0.0.1:4222",
            urls(
                "a URL such as nats://user:password@host:4222, or tls:// for TLS, with user, password or token percent-encoded; of several servers with commas between",
                |scheme| matches!(scheme, "nats" | "tls"),
            );

        /// File with a user's JWT and key, as `nsc generate creds` writes it; empty for none.
        #[serde(deserialize_with = "fields::not_empty")]
        credentials_file: Option<PathBuf> = "", FILE;

        /// File with the seed of an nkey; empty for none.
        #[serde(deserialize_with = "fields::not_empty")]
        nkey_file: Option<PathBuf> = "", FILE;

        /// PEM file of the authorities that sign the servers' certificates; empty for those of the
        /// system. With it TLS is required.
        #[serde(deserialize_with = "fields::not_empty")]
        tls_ca_file: Option<PathBuf> = "", FILE;

        /// What the names of streams begin with: for several Rejoins in one account.
        stream_prefix: String = "REJOIN",
            text("1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'", validators::stream_name);

        /// What all subjects begin with: for several Rejoins in one account.
        subject_prefix: String = "rejoin",
            text(
                "tokens of A-Z, a-z, 0-9, '_' and '-' with dots between, 64 characters at most",
                validators::subject,
            );

        /// The JetStream domain; empty for the connection's own.
        #[serde(deserialize_with = "fields::not_empty")]
        domain: Option<String> = "",
            text("a text of A-Z, a-z, 0-9, '_' and '-', or empty", validators::domain);

        /// On how many servers each stream is kept, 3 or 5 in a cluster.
        replicas: usize = 1, number(1, 5);

        /// Where streams are kept: "file" or "memory".
        storage: NatsStorage = "file",
            text("\"file\" or \"memory\"", fits::<NatsStorage>);
    }
}

/// Where NATS keeps streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NatsStorage {
    /// On disk.
    File,
    /// In memory.
    Memory,
}

section! {
    /// Postgres 13 or later: for what has "postgres" as its backend.
    "postgres" => PostgresSettings {
        /// Where it is: postgres://user:password@host:5432/database, with
        /// ?sslmode=verify-full&sslrootcert=/path for TLS.
        #[serde(deserialize_with = "fields::secret")]
        url: Secret = "postgres://localhost:5432/rejoin",
            urls(
                "a URL such as postgres://user:password@host:5432/database?sslmode=verify-full, with user, password and values percent-encoded",
                validators::postgres_scheme,
            );

        /// Schema that everything is in; it is made if it is not there.
        schema: String = "rejoin",
            text(
                "1 to 48 characters of a-z, 0-9 and '_', beginning with neither a digit nor \"pg_\"",
                validators::schema,
            );

        /// Most connections of this process.
        max_connections: usize = 16, number(8, 1_000);

        /// Seconds within which a call is answered, or given up.
        #[serde(deserialize_with = "fields::seconds")]
        timeout as "timeout_seconds": Duration = 5, number(1, 9);
    }
}

section! {
    "hub" => HubSettings {
        /// Most recent events that a process keeps ready for each user who is connected.
        ring_entries_max: usize = 1024, number(1, 1_000_000);

        /// Most bytes of them.
        ring_max_bytes: usize = 1048576, number(1024, 1 << 30);

        /// Most bytes of them for all users together: the oldest event of all makes room for the
        /// newest.
        rings_max_bytes: usize = 67108864, number(1024, 1 << 40);

        /// Most bytes of broadcasts that wait for connections which are behind; the largest may
        /// have a quarter of them.
        broadcasts_max_bytes: usize = 16777216, number(65_536, 1 << 40);
    }
}

section! {
    "log" => LogSettings {
        /// Form of the log's lines: "text" or "json".
        format: LogFormat = "text",
            text("\"text\" or \"json\"", fits::<LogFormat>);

        /// What is logged: a level (error, warn, info, debug, trace), or directives such as
        /// "info,rejoin=debug".
        level: String = "info",
            text(
                "error, warn, info, debug, trace or off, or directives such as \"info,rejoin=debug\"",
                validators::directives,
            );
    }
}

section! {
    "telemetry" => TelemetrySettings {
        /// URL of an OpenTelemetry collector that takes OTLP over HTTP, as `http://127.0.0.1:4318`;
        /// "": no traces are sent.
        #[serde(deserialize_with = "fields::not_empty")]
        otlp_endpoint: Option<Secret> = "", HTTP_URL;

        /// Name of this service in its traces.
        service_name: String = "rejoin",
            text("a text that is not empty", validators::not_empty);

        /// Part of the requests that are traced, unless their caller has decided: from 0.0 to 1.0.
        sample_ratio: f64 = 1.0, Allowed::Ratio;
    }
}

/// What an adapter talks to. Backends of the contract that this version lacks are refused when
/// settings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// This process's memory.
    Memory,
    /// This machine's disk.
    Disk,
    /// Redis, Valkey, or a cluster of them.
    Redis,
    /// NATS JetStream.
    Nats,
    /// Postgres.
    Postgres,
}

impl Backend {
    /// Every backend.
    pub const ALL: [Self; 5] = [Self::Memory, Self::Disk, Self::Redis, Self::Nats, Self::Postgres];

    /// Its name in the settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Postgres => "postgres",
        }
    }
}

/// The form of the log's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Whose pages may call from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Those of every origin: `["*"]`.
    Any,
    /// Those of these origins; of none but the server's own where there are none.
    Only(Vec<HeaderValue>),
}

impl<'de> Deserialize<'de> for CorsOrigins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        if texts == ["*"] {
            return Ok(Self::Any);
        }
        let origins: Option<Vec<HeaderValue>> =
            texts.iter().map(|text| cors_origin(text)).collect();
        origins.map(Self::Only).ok_or_else(|| D::Error::custom("not an origin"))
    }
}

/// An origin as browsers send it: scheme, host, and the port unless it is the scheme's own; no
/// path, not even `/`.
fn cors_origin(text: &str) -> Option<HeaderValue> {
    let (scheme, host) = text.split_once("://")?;
    let allowed_in_host = |b: u8| {
        b.is_ascii_graphic()
            && !b.is_ascii_uppercase()
            && !matches!(b, b'/' | b'?' | b'#' | b'@' | b'*' | b',')
    };
    let scheme_is_good = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.')
        });
    if !scheme_is_good || host.is_empty() || !host.bytes().all(allowed_in_host) {
        return None;
    }
    HeaderValue::from_str(text).ok()
}

/// The registry of `[categories]`. A category without patterns is none: that is how a layer removes
/// one.
pub(super) fn build_registry(
    categories: &BTreeMap<String, Vec<String>>,
) -> Result<Registry, InvalidRegistry> {
    Registry::build(
        categories
            .iter()
            .filter(|(_, patterns)| !patterns.is_empty())
            .map(|(name, patterns)| (name.as_str(), patterns.as_slice())),
    )
}

fn registry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Registry, D::Error> {
    build_registry(&BTreeMap::deserialize(deserializer)?).map_err(D::Error::custom)
}
