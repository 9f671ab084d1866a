//! A connection to one server, which many calls share.
//!
//! Invariants: it is made as soon as this is, and again whenever it is lost; a server that must not
//! be written to (a replica, a node of a cluster, one that loads its data) is never taken for the
//! one that is wanted, neither at the beginning nor when it becomes one later: its connection is
//! dropped, and the next one goes where the address leads then.

use std::sync::Arc;

use futures_util::FutureExt;
use redis::{
    AsyncConnectionConfig, Client, Cmd, PushInfo, PushKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    client::{CALL_TIMEOUT, CONNECT_TIMEOUT},
    failure::Failure,
    outages::{Outages, Purpose},
    primary::{Expected, ask_whether_alive, ask_whether_usable},
};
use crate::{
    adapters::backend_kit::{BackendContext, reconnect::Reconnect},
    ports::tasks::Task,
};

/// Most calls that wait to be written.
const CALLS_QUEUED_MAX: usize = 1_024;

/// A connection to one server. It is given up when this is dropped.
pub(super) struct OneServer {
    outages: Arc<Outages>,
    state: watch::Receiver<State>,
    _keeping: Task,
}

#[derive(Clone)]
enum State {
    /// There is no connection, and why the last one failed, once that is known.
    Away(Option<Failure>),
    There(Link),
}

/// One connection, for as long as it is of use.
#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    lost: CancellationToken,
}

/// Why a call has no answer.
pub(super) enum NoAnswer {
    /// It was not sent, since there is no connection.
    Unsent(Failure),
    /// It may have been sent.
    Failed(Failure),
}

impl OneServer {
    /// Begins to connect. `probe_key` is a key that is never there.
    pub(super) fn connect(
        client: Client,
        purpose: Purpose,
        outages: Arc<Outages>,
        probe_key: String,
        context: &BackendContext,
    ) -> Self {
        let (announce, state) = watch::channel(State::Away(None));
        let reconnect = Reconnect::new(Arc::clone(&context.entropy));
        let keeping =
            keep_connected(client, purpose, Arc::clone(&outages), probe_key, announce, reconnect);
        Self {
            outages,
            state,
            _keeping: context.tasks.spawn_vital("redis connection", keeping.boxed()),
        }
    }

    /// Sends a command, waiting for a connection if need be. A server that turns out to be the
    /// wrong one has done nothing, so that the command is then sent again.
    pub(super) async fn answer(&self, command: &Cmd, deadline: Instant) -> Result<Value, NoAnswer> {
        loop {
            let Ok(mut link) = timeout_at(deadline, self.link()).await else {
                return Err(NoAnswer::Unsent(self.why_away()));
            };
            let answer = timeout_at(deadline, link.connection.req_packed_command(command)).await;
            let failure = match answer.map(|answer| answer.and_then(Value::extract_error)) {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => Failure::from(error),
                Err(_) => Failure::Silent,
            };
            if failure.ends_connection() {
                link.lost.cancel();
            }
            if !failure.is_wrong_server() {
                return Err(NoAnswer::Failed(failure));
            }
            self.outages.met_wrong_server(&failure);
        }
    }

    async fn link(&self) -> Link {
        let mut state = self.state.clone();
        loop {
            if let State::There(link) = &*state.borrow_and_update()
                && !link.lost.is_cancelled()
            {
                return link.clone();
            }
            if state.changed().await.is_err() {
                // The task that connects lasts as long as this.
                std::future::pending::<()>().await;
            }
        }
    }

    fn why_away(&self) -> Failure {
        match &*self.state.borrow() {
            State::Away(Some(failure)) => failure.clone(),
            _ => Failure::Silent,
        }
    }
}

async fn keep_connected(
    client: Client,
    purpose: Purpose,
    outages: Arc<Outages>,
    probe_key: String,
    announce: watch::Sender<State>,
    mut reconnect: Reconnect,
) {
    loop {
        let mut there_since = None;
        let lost = CancellationToken::new();
        match connect(&client, &probe_key, lost.clone()).await {
            Ok(connection) => {
                outages.reached(purpose);
                there_since = Some(Instant::now());
                announce.send_replace(State::There(Link {
                    connection: connection.clone(),
                    lost: lost.clone(),
                }));
                tokio::select! {
                    () = lost.cancelled() => {}
                    () = until_of_no_use(connection, purpose, &outages, &probe_key) => {}
                }
                announce.send_replace(State::Away(None));
            }
            Err(failure) => {
                outages.failed(purpose, &failure);
                announce.send_replace(State::Away(Some(failure)));
            }
        }
        reconnect.pause(there_since).await;
    }
}

/// Asks the server whenever it is in doubt, until it is the wrong one, or no longer answers.
async fn until_of_no_use(
    mut connection: MultiplexedConnection,
    purpose: Purpose,
    outages: &Outages,
    probe_key: &str,
) {
    let mut doubts = outages.doubts();
    while doubts.changed().await.is_ok()
        && ask_whether_alive(&mut connection, Expected::Primary, probe_key).await.is_ok()
    {
        outages.reached(purpose);
    }
}

/// A connection to a server that may be used. `lost` is cancelled when it breaks.
async fn connect(
    client: &Client,
    probe_key: &str,
    lost: CancellationToken,
) -> Result<MultiplexedConnection, Failure> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(CALL_TIMEOUT))
        .set_pipeline_buffer_size(CALLS_QUEUED_MAX)
        .set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                lost.cancel();
            }
            Ok::<(), ()>(())
        });
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    ask_whether_usable(&mut connection, Expected::Primary, probe_key).await?;
    Ok(connection)
}
