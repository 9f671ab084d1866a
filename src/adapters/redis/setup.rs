//! From settings to connections.

use std::{borrow::Cow, io, path::PathBuf, sync::Arc};

use futures_util::FutureExt;
use redis::{ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use super::{
    RedisOptions,
    announcements::RedisAnnouncements,
    checks::warn_about_unsafe_server_settings,
    client::{CALL_TIMEOUT, client},
    connection::{Address, Connection},
    feed::{Pushes, RedisSource},
    hints::Hints,
    journal::RedisJournal,
    keys::Keys,
    limits::RedisLimits,
    margin,
    outages::{Outages, Purpose},
    primary::Expected,
    stream_life,
    sweep::RedisSweep,
};
use crate::adapters::backend_kit::{
    BackendContext, Ports,
    feed::{DrivenFeed, FeedOptions},
    reconnect::Reconnect,
    sweep::Sweeper,
};

/// How a certificate begins in a PEM file.
const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Why Redis can't be used as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    /// The URL makes no sense.
    #[error(
        "redis.url is not usable: write redis://user:password@host:6379/0, or rediss:// for TLS"
    )]
    Url(#[source] redis::RedisError),
    /// There is more than one address, and no cluster.
    #[error("redis.url names several servers: set redis.cluster = true, or name one")]
    SeveralServers,
    /// A cluster's keys would not be where they belong.
    #[error(
        "redis.key_prefix must not contain braces in a cluster, where they say which node a key belongs to"
    )]
    BracesInPrefix,
    /// The authorities' file can't be read.
    #[error("can't read redis.tls_ca_file {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The underlying IO error.
        #[source]
        source: io::Error,
    },
    /// The authorities' file has no certificate.
    #[error("redis.tls_ca_file {path} has no certificate in PEM")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
}

/// The ports of one process. A server that is away is no error: until it is back, every call says
/// so.
///
/// # Errors
/// [`RedisSetupError`].
pub async fn open(
    options: RedisOptions,
    context: &BackendContext,
) -> Result<Ports, RedisSetupError> {
    let certificates = certificates(&options)?;
    let nodes = nodes(&options.url)?;
    if nodes.len() > 1 && !options.cluster {
        return Err(RedisSetupError::SeveralServers);
    }
    if options.cluster && options.key_prefix.contains(['{', '}']) {
        return Err(RedisSetupError::BracesInPrefix);
    }
    let listening = nodes.iter().map(|node| client(node.clone(), certificates.clone()));
    let listening = listening.collect::<Result<Vec<_>, _>>().map_err(RedisSetupError::Url)?;
    let database = nodes.first().map_or(0, |node| node.redis_settings().db());
    let keys = Arc::new(Keys::new(options.key_prefix.clone(), options.cluster, database));
    let address =
        Address { nodes, cluster: options.cluster, certificates, probe_key: keys.probe() };
    let outages = Arc::new(Outages::default());
    let connect = |purpose| {
        Connection::new(&address, purpose, &outages, context).map_err(RedisSetupError::Url)
    };
    let (appends, reads) =
        (Arc::new(connect(Purpose::Appends)?), Arc::new(connect(Purpose::Reads)?));

    let hints = Arc::new(Hints::new(Arc::clone(&context.on_stray_hint)));
    let registry = Arc::clone(&context.registry);
    let pushes = Pushes {
        keys: Arc::clone(&keys),
        announcements: keys.announcements(),
        registry,
        hints: Arc::clone(&hints),
    };
    let expected = if options.cluster { Expected::ClusterNode } else { Expected::Primary };
    let source =
        RedisSource { nodes: listening, node: 0, expected, outages, pushes: Arc::new(pushes) };
    let announcements = RedisAnnouncements {
        appends: Arc::clone(&appends),
        reads: Arc::clone(&reads),
        keys: Arc::clone(&keys),
        registry: Arc::clone(&context.registry),
    };
    let feed = FeedOptions {
        task: "redis feed",
        announcements_task: "redis announcements",
        call_timeout: CALL_TIMEOUT,
    };
    let feed = Arc::new(DrivenFeed::start(context, feed, source, announcements));
    let sweeper = stream_life(context.retention).zip(context.retention.replay_max_age).map(
        |(stream_life, replay_max_age)| {
            let sweep = RedisSweep {
                connection: Arc::clone(&appends),
                keys: Arc::clone(&keys),
                stream_life,
            };
            Arc::new(Sweeper::start(
                context,
                "redis sweep",
                margin(replay_max_age),
                Arc::new(sweep),
            ))
        },
    );
    let checks = warn_about_unsafe_server_settings(
        Arc::clone(&appends),
        keys.probe(),
        Reconnect::new(Arc::clone(&context.entropy)),
    );
    let checks = context.tasks.spawn("redis checks", checks.boxed());
    let limits = Arc::new(RedisLimits::new(Arc::clone(&appends), Arc::clone(&keys)));
    let journal = Arc::new(RedisJournal::new(appends, reads, keys, hints, context.clone(), checks));
    if !feed.began().await {
        tracing::warn!("Redis does not answer yet: the server starts without it and keeps trying");
    }
    Ok(Ports {
        messages: Arc::clone(&journal) as _,
        archive: Arc::clone(&journal) as _,
        journal,
        feed,
        leases: Arc::clone(&limits) as _,
        budget: limits,
        sweeper,
    })
}
fn certificates(options: &RedisOptions) -> Result<Option<TlsCertificates>, RedisSetupError> {
    let Some(path) = &options.tls_ca_file else { return Ok(None) };
    let root_cert = std::fs::read(path)
        .map_err(|source| RedisSetupError::CaFile { path: path.clone(), source })?;
    // The driver would take it, and then trust nobody.
    if !root_cert.windows(PEM_CERTIFICATE.len()).any(|window| window == PEM_CERTIFICATE) {
        return Err(RedisSetupError::NoCertificate { path: path.clone() });
    }
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) }))
}

fn nodes(urls: &str) -> Result<Vec<ConnectionInfo>, RedisSetupError> {
    urls.split(',')
        .map(|url| {
            drivers_url(url.trim()).as_ref().into_connection_info().map_err(RedisSetupError::Url)
        })
        .collect()
}

/// A URL as the driver writes it: other programs have schemes of their own for TLS.
fn drivers_url(url: &str) -> Cow<'_, str> {
    match url.split_once("://") {
        Some(("redis+tls" | "redis+ssl", rest)) => Cow::Owned(format!("rediss://{rest}")),
        _ => Cow::Borrowed(url),
    }
}
