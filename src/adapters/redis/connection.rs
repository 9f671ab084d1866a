//! The way to the server, whether it is one or a cluster.
//!
//! Invariants: no call takes longer than [`CALL_TIMEOUT`], whatever the server does; a connection
//! that broke is made again by itself; calls that are made at the same time travel together, since
//! they share one connection.

use std::sync::Arc;

use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, ProtocolVersion, RedisResult,
    ServerErrorKind, TlsCertificates, Value, aio::ConnectionLike, cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout_at},
};

use super::{
    client::{CALL_TIMEOUT, CONNECT_TIMEOUT, client, tcp_settings},
    failure::Failure,
    one_server::{NoAnswer, OneServer},
    outages::{Outages, Purpose},
    scripts::Script,
};
use crate::{adapters::backend_kit::BackendContext, ports::backend_error::BackendError};

/// A connection that many share.
pub(super) enum Connection {
    One(OneServer),
    Cluster(Box<Cluster>),
}

/// A connection to each node of a cluster. The driver follows the nodes: it asks a key's primary,
/// whichever that is.
pub(super) struct Cluster {
    client: ClusterClient,
    connection: OnceCell<ClusterConnection>,
    purpose: Purpose,
    outages: Arc<Outages>,
}

/// How to reach the servers of the settings.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) nodes: Vec<ConnectionInfo>,
    pub(super) cluster: bool,
    pub(super) certificates: Option<TlsCertificates>,
    /// A key that is never there.
    pub(super) probe_key: String,
}

impl Connection {
    /// A connection of its own for a purpose.
    pub(super) fn new(
        address: &Address,
        purpose: Purpose,
        outages: &Arc<Outages>,
        context: &BackendContext,
    ) -> RedisResult<Self> {
        let (certificates, outages) = (address.certificates.clone(), Arc::clone(outages));
        if address.cluster {
            let builder = ClusterClient::builder(address.nodes.clone())
                .connection_timeout(CONNECT_TIMEOUT)
                .response_timeout(CALL_TIMEOUT)
                .tcp_settings(tcp_settings())
                .use_protocol(ProtocolVersion::RESP3);
            let builder = match certificates {
                Some(certificates) => builder.certs(certificates),
                None => builder,
            };
            let cluster =
                Cluster { client: builder.build()?, connection: OnceCell::new(), purpose, outages };
            return Ok(Self::Cluster(Box::new(cluster)));
        }
        let [node] = &address.nodes[..] else {
            return Err((ErrorKind::InvalidClientConfig, "one server's address is needed").into());
        };
        let client: Client = client(node.clone(), certificates)?;
        Ok(Self::One(OneServer::connect(
            client,
            purpose,
            outages,
            address.probe_key.clone(),
            context,
        )))
    }

    /// Sends one command.
    pub(super) async fn send<T: FromRedisValue>(
        &self,
        context: &'static str,
        command: &Cmd,
    ) -> Result<T, BackendError> {
        let answer = self.answer(command, Instant::now() + CALL_TIMEOUT).await;
        read_answer(context, answer)
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
        let deadline = Instant::now() + CALL_TIMEOUT;
        let answer = match self.answer(&call("EVALSHA", &script.sha1), deadline).await {
            Err(NoAnswer::Failed(Failure::Error(error)))
                if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) =>
            {
                self.answer(&call("EVAL", script.code), deadline).await
            }
            answer => answer,
        };
        read_answer(context, answer)
    }

    async fn answer(&self, command: &Cmd, deadline: Instant) -> Result<Value, NoAnswer> {
        match self {
            Self::One(server) => server.answer(command, deadline).await,
            Self::Cluster(cluster) => cluster.answer(command, deadline).await,
        }
    }
}

impl Cluster {
    async fn answer(&self, command: &Cmd, deadline: Instant) -> Result<Value, NoAnswer> {
        let connecting = self.connection.get_or_try_init(async || {
            let connection = self.client.get_async_connection().await?;
            self.outages.reached(self.purpose);
            Ok::<_, Failure>(connection)
        });
        let connection =
            match timeout_at(deadline, connecting).await.unwrap_or(Err(Failure::Silent)) {
                Ok(connection) => connection,
                Err(failure) => {
                    self.outages.failed(self.purpose, &failure);
                    return Err(NoAnswer::Unsent(failure));
                }
            };
        match timeout_at(deadline, connection.clone().req_packed_command(command)).await {
            Ok(answer) => answer
                .and_then(Value::extract_error)
                .map_err(|error| NoAnswer::Failed(error.into())),
            Err(_) => Err(NoAnswer::Failed(Failure::Silent)),
        }
    }
}

fn read_answer<T: FromRedisValue>(
    context: &'static str,
    answer: Result<Value, NoAnswer>,
) -> Result<T, BackendError> {
    match answer {
        Ok(value) => redis::from_redis_value(value)
            .map_err(|error| Failure::Error(error.into()).of_call(context)),
        Err(NoAnswer::Unsent(failure)) => Err(failure.of_unsent_call(context)),
        Err(NoAnswer::Failed(failure)) => Err(failure.of_call(context)),
    }
}
