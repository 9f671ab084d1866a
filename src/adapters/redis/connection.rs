//! The way to the server, whether it is one or a cluster.
//!
//! Invariants: no call takes longer than [`CALL_TIMEOUT`], whatever the server does; a connection that broke is made anew
//! by itself; calls that are made at the same time travel together, since they share one connection.

use std::time::Duration;

use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, ProtocolVersion, RedisError, RedisResult, ServerErrorKind, TlsCertificates,
    Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tokio::sync::OnceCell;

use super::{
    scripts::Script,
    setup::{client, tcp_settings},
};
use crate::ports::backend_error::{BackendError, BackendErrorKind};

/// Longest time that a call may take: a subscribe request makes up to two of them, and is to be answered within 5 seconds.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time that making a connection may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// First and longest pause before a connection is tried again.
pub(super) const RECONNECT_FIRST: Duration = Duration::from_millis(50);
pub(super) const RECONNECT_LONGEST: Duration = Duration::from_secs(1);
/// Most calls that wait to be written.
const CALLS_QUEUED_MAX: usize = 1_024;

/// A connection that many share.
pub(super) enum Connection {
    One(ConnectionManager),
    Cluster { client: Box<ClusterClient>, connection: OnceCell<ClusterConnection> },
}

impl Connection {
    /// A connection that is made when it is first needed.
    pub(super) fn new(nodes: &[ConnectionInfo], cluster: bool, certificates: Option<TlsCertificates>) -> RedisResult<Self> {
        if cluster {
            let builder = ClusterClient::builder(nodes.to_vec())
                .connection_timeout(CONNECT_TIMEOUT)
                .response_timeout(CALL_TIMEOUT)
                .tcp_settings(tcp_settings())
                .use_protocol(ProtocolVersion::RESP3);
            let builder = match certificates {
                Some(certificates) => builder.certs(certificates),
                None => builder,
            };
            return Ok(Self::Cluster { client: Box::new(builder.build()?), connection: OnceCell::new() });
        }
        let [node] = nodes else { return Err((ErrorKind::InvalidClientConfig, "one server's address is needed").into()) };
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CALL_TIMEOUT))
            .set_number_of_retries(usize::MAX)
            .set_min_delay(RECONNECT_FIRST)
            .set_max_delay(RECONNECT_LONGEST)
            .set_pipeline_buffer_size(CALLS_QUEUED_MAX);
        Ok(Self::One(ConnectionManager::new_lazy_with_config(client(node.clone(), certificates)?, config)?))
    }

    /// Sends one command.
    pub(super) async fn send<T: FromRedisValue>(&self, context: &'static str, command: &Cmd) -> Result<T, BackendError> {
        match tokio::time::timeout(CALL_TIMEOUT, self.answer(command)).await {
            Ok(answer) => answer.and_then(|value| Ok(redis::from_redis_value(value)?)).map_err(|error| backend_error(context, error)),
            Err(_) => Err(BackendError::new(BackendErrorKind::Timeout, context)),
        }
    }

    /// Runs a script: by its name where the server knows it, which is always but once.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        context: &'static str,
        script: &Script,
        keys: &[impl AsRef<str>],
        arguments: &[impl AsRef<[u8]>],
    ) -> Result<T, BackendError> {
        let call = |command: &str, script: &str| {
            let mut call = redis::cmd(command);
            call.arg(script).arg(keys.len());
            for key in keys {
                call.arg(key.as_ref());
            }
            for argument in arguments {
                call.arg(argument.as_ref());
            }
            call
        };
        let running = async {
            let answer = self.answer(&call("EVALSHA", &script.sha1)).await;
            match answer {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => self.answer(&call("EVAL", script.code)).await,
                answer => answer,
            }
        };
        match tokio::time::timeout(CALL_TIMEOUT, running).await {
            Ok(answer) => answer.and_then(|value| Ok(redis::from_redis_value(value)?)).map_err(|error| backend_error(context, error)),
            Err(_) => Err(BackendError::new(BackendErrorKind::Timeout, context)),
        }
    }

    async fn answer(&self, command: &Cmd) -> RedisResult<Value> {
        let value = match self {
            Self::One(connection) => connection.clone().req_packed_command(command).await?,
            Self::Cluster { client, connection } => {
                let connection = connection.get_or_try_init(|| client.get_async_connection()).await?;
                connection.clone().req_packed_command(command).await?
            }
        };
        value.extract_error()
    }
}

/// What went wrong, for whom it concerns.
pub(super) fn backend_error(context: &'static str, error: RedisError) -> BackendError {
    let kind = if error.is_timeout() {
        BackendErrorKind::Timeout
    } else if error.is_connection_dropped() && !error.is_connection_refusal() {
        BackendErrorKind::Disconnected
    } else {
        BackendErrorKind::Unavailable
    };
    BackendError { source: Some(Box::new(error)), ..BackendError::new(kind, context) }
}

/// A client's connection that only listens, and what it is made with.
pub(super) fn listener_config(on_push: impl redis::aio::AsyncPushSender) -> redis::AsyncConnectionConfig {
    redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(CALL_TIMEOUT))
        .set_push_sender(on_push)
}

/// The next of several nodes to listen to, in turn.
pub(super) fn in_turn(nodes: &[Client], attempt: usize) -> Option<&Client> {
    nodes.get(attempt.checked_rem(nodes.len())?)
}
