//! The settings by section, typed.
//!
//! Field by field `config/default.toml`, where each is described. A zero or an empty text that switches something off
//! is `None` here.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use http::HeaderValue;
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    auth::{AuthSettings, Secret},
    fields,
};
use crate::domain::category::{InvalidRegistry, Registry};

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
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it listens for operators, if that is elsewhere.
    #[serde(deserialize_with = "fields::optional_address")]
    pub ops_listen: Option<SocketAddr>,
    /// Within this, a shutdown tells and closes all streams.
    #[serde(rename = "drain_seconds", deserialize_with = "fields::seconds")]
    pub drain: Duration,
    /// A client that takes nothing for so long is closed.
    #[serde(rename = "write_timeout_seconds", deserialize_with = "fields::seconds")]
    pub write_timeout: Duration,
    /// Within this, head and body of a request must arrive.
    #[serde(rename = "request_timeout_seconds", deserialize_with = "fields::seconds")]
    pub request_timeout: Duration,
    /// A connection may rest for so long behind an answer.
    #[serde(rename = "keep_alive_seconds", deserialize_with = "fields::seconds")]
    pub keep_alive: Duration,
    /// Most bytes of one event's JSON, and of one line of NDJSON.
    pub max_body_bytes: usize,
    /// Most bytes of a request's head.
    pub max_header_bytes: usize,
    /// Most connections at once; `None` for no limit.
    #[serde(deserialize_with = "fields::not_zero")]
    pub max_connections: Option<usize>,
    /// Whose pages may call from a browser.
    pub cors_origins: CorsOrigins,
}

/// `[sse]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SseSettings {
    /// The master switch of publisher and channel.
    pub push_enabled: bool,
    /// The silence on a stream after which a keepalive goes out.
    #[serde(rename = "keepalive_seconds", deserialize_with = "fields::seconds")]
    pub keepalive: Duration,
    /// Most streams of one user at once; `None` for no cap.
    #[serde(deserialize_with = "fields::not_zero")]
    pub max_concurrent_per_user: Option<u32>,
    /// The delay after which clients are told to reconnect.
    pub retry_ms: u64,
}

/// `[events]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsSettings {
    /// Where the journal is kept.
    pub backend: Backend,
    /// Entries kept for each user, approximately.
    pub stream_maxlen: usize,
    /// Most entries of a snapshot that one connection gets.
    pub replay_max_per_request: u32,
    /// The age from which an entry counts as gone; `None` for no limit.
    #[serde(rename = "replay_max_age_hours", deserialize_with = "fields::hours")]
    pub replay_max_age: Option<Duration>,
    /// Snapshots of one user within the window; `None` for no budget.
    #[serde(deserialize_with = "fields::not_zero")]
    pub replay_budget_requests_per_window: Option<u32>,
    /// The sliding window of that budget.
    #[serde(rename = "replay_budget_window_seconds", deserialize_with = "fields::seconds")]
    pub replay_budget_window: Duration,
    /// How long a repeated idempotency key is recognised.
    #[serde(rename = "idempotency_window_seconds", deserialize_with = "fields::seconds")]
    pub idempotency_window: Duration,
    /// Most users that one publish may name.
    pub recipients_max: usize,
}

/// `[messages]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessagesSettings {
    /// Where messages are kept.
    pub backend: Backend,
    /// The time after its producer's last sign of life that a message is removed.
    #[serde(rename = "retention_days", deserialize_with = "fields::days")]
    pub retention: Duration,
    /// The silence after which a producer is given up.
    #[serde(rename = "producer_idle_seconds", deserialize_with = "fields::seconds")]
    pub producer_idle: Duration,
    /// For how long a reader waits for its message to be opened.
    #[serde(rename = "open_wait_seconds", deserialize_with = "fields::seconds")]
    pub open_wait: Duration,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsSettings {
    /// Where slots and budgets are counted.
    pub backend: Backend,
}

/// `[memory]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemorySettings {
    /// Most bytes of all entries and idempotency keys together.
    pub max_bytes: usize,
}

/// `[disk]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSettings {
    /// The store's directory.
    pub path: PathBuf,
    /// When an acknowledged write is synced.
    pub sync: DiskSync,
    /// Memory for what was read, in bytes.
    pub cache_bytes: usize,
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

/// `[redis]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// Where it is; several addresses, with commas between, for a cluster.
    #[serde(deserialize_with = "fields::secret")]
    pub url: Secret,
    /// Whether it is a cluster.
    pub cluster: bool,
    /// What all keys and channels begin with.
    pub key_prefix: String,
    /// Who signs the server's certificate; `None` for whom the system trusts.
    #[serde(deserialize_with = "fields::not_empty")]
    pub tls_ca_file: Option<PathBuf>,
}

/// `[nats]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsSettings {
    /// Where it is; several servers with commas between.
    #[serde(deserialize_with = "fields::secret")]
    pub url: Secret,
    /// File with a user's JWT and key; `None` for none.
    #[serde(deserialize_with = "fields::not_empty")]
    pub credentials_file: Option<PathBuf>,
    /// File with the seed of an nkey; `None` for none.
    #[serde(deserialize_with = "fields::not_empty")]
    pub nkey_file: Option<PathBuf>,
    /// Who signs the servers' certificates; `None` for whom the system trusts.
    #[serde(deserialize_with = "fields::not_empty")]
    pub tls_ca_file: Option<PathBuf>,
    /// What the names of streams begin with.
    pub stream_prefix: String,
    /// What all subjects begin with.
    pub subject_prefix: String,
    /// The JetStream domain; `None` for the connection's own.
    #[serde(deserialize_with = "fields::not_empty")]
    pub domain: Option<String>,
    /// On how many servers each stream is kept.
    pub replicas: usize,
    /// Where streams are kept.
    pub storage: NatsStorage,
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

/// `[postgres]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// Where it is.
    #[serde(deserialize_with = "fields::secret")]
    pub url: Secret,
    /// The schema that everything is in.
    pub schema: String,
    /// Most connections of this process.
    pub max_connections: usize,
    /// Within this, every call is answered.
    #[serde(rename = "timeout_seconds", deserialize_with = "fields::seconds")]
    pub timeout: Duration,
}

/// `[hub]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSettings {
    /// Most entries of a topic's ring.
    pub ring_entries_max: usize,
    /// Most bytes of a topic's ring.
    pub ring_max_bytes: usize,
    /// Most bytes of all rings of the process.
    pub rings_max_bytes: usize,
    /// Most bytes of broadcasts that wait for connections.
    pub broadcasts_max_bytes: usize,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// The form of its lines.
    pub format: LogFormat,
    /// What is logged: directives that `tracing_subscriber::EnvFilter` understands.
    pub level: String,
}

/// `[telemetry]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// The collector that traces are sent to; `None` for no traces.
    #[serde(deserialize_with = "fields::not_empty")]
    pub otlp_endpoint: Option<Secret>,
    /// What this service is called in its traces.
    pub service_name: String,
    /// The part of the requests that are traced.
    pub sample_ratio: f64,
}

/// What an adapter talks to. Backends of the contract that this version lacks are refused when settings are read.
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
    /// Everybody's: `["*"]`.
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
        let origins: Option<Vec<HeaderValue>> = texts.iter().map(|text| cors_origin(text)).collect();
        origins.map(Self::Only).ok_or_else(|| D::Error::custom("not an origin"))
    }
}

/// An origin as browsers send it: scheme, host, and the port unless it is the scheme's own; no path, not even `/`.
fn cors_origin(text: &str) -> Option<HeaderValue> {
    let (scheme, host) = text.split_once("://")?;
    let allowed_in_host = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase() && !matches!(b, b'/' | b'?' | b'#' | b'@' | b'*' | b',');
    let scheme_is_good = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'));
    if !scheme_is_good || host.is_empty() || !host.bytes().all(allowed_in_host) {
        return None;
    }
    HeaderValue::from_str(text).ok()
}

/// The registry of `[categories]`. A category without patterns is none: that is how a layer removes one.
pub(super) fn build_registry(categories: &BTreeMap<String, Vec<String>>) -> Result<Registry, InvalidRegistry> {
    Registry::build(
        categories.iter().filter(|(_, patterns)| !patterns.is_empty()).map(|(name, patterns)| (name.as_str(), patterns.as_slice())),
    )
}

fn registry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Registry, D::Error> {
    build_registry(&BTreeMap::deserialize(deserializer)?).map_err(D::Error::custom)
}
