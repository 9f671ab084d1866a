//! A connection to NATS, and calls over it.
//!
//! Invariants: whoever makes calls bounds them in time, all that belong to one answer together;
//! nothing is sent where there is no connection, so that nothing is done later than its caller was
//! told; who waits for an answer is told when the connection breaks or the server denies the
//! request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event, HeaderMap, Message, Request, RequestErrorKind, ServerAddr,
    connection::State,
};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::watch;

use super::{
    NatsOptions, NatsSetupError,
    failure::{ApiError, Failure},
};
use crate::{adapters::backend_kit::reconnect, ports::entropy::Entropy};

/// Longest time that a call may take: a subscribe request makes up to two of them, and is to be
/// answered within 5 seconds.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A server that answers neither this nor the next is given up.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Most answers to one request that wait to be taken.
const ANSWERS_MAX: usize = 4_096;

/// What a connection reports beside answers.
#[derive(Debug, Default)]
struct Reports {
    /// How often the connection was lost.
    lost: u64,
    /// What was denied last, in the server's words.
    denied: Option<Arc<str>>,
    /// Why there is no connection.
    reason: Option<String>,
    /// A listener was too slow for what it hears, and has lost some of it.
    overruns: u64,
    /// Whether it is the connection whose troubles are logged: another one of the process meets the
    /// same.
    is_logged: bool,
}

/// A connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    reports: watch::Receiver<Reports>,
    /// What the subjects of JetStream's requests begin with.
    api: Arc<str>,
}

/// Answers to one request, up to the one that ends them.
pub(super) struct Answers {
    coming: async_nats::Subscriber,
    /// What was asked.
    subject: String,
}

/// The settings of connections.
#[derive(Clone)]
pub(super) struct Address {
    servers: Vec<ServerAddr>,
    options: NatsOptions,
    credentials: Option<String>,
    nkey: Option<String>,
    api: Arc<str>,
}

impl Address {
    /// # Errors
    /// The settings make no sense, or a file that they name can't be read.
    pub(super) fn of(options: &NatsOptions) -> Result<Self, NatsSetupError> {
        let servers: Result<Vec<ServerAddr>, _> =
            options.url.split(',').map(|url| url.trim().parse()).collect();
        let read = |setting: &'static str, path: &Option<std::path::PathBuf>| {
            let Some(path) = path else { return Ok(None) };
            let read = std::fs::read_to_string(path);
            read.map(Some).map_err(|source| NatsSetupError::File {
                setting,
                path: path.clone(),
                source,
            })
        };
        if let Some(path) = &options.tls_ca_file {
            read("nats.tls_ca_file", &Some(path.clone()))?;
        }
        Ok(Self {
            servers: servers.map_err(NatsSetupError::Url)?,
            credentials: read("nats.credentials_file", &options.credentials_file)?,
            nkey: read("nats.nkey_file", &options.nkey_file)?.map(|seed| seed.trim().to_owned()),
            api: options
                .domain
                .as_ref()
                .map_or_else(|| "$JS.API".into(), |domain| format!("$JS.{domain}.API").into()),
            options: options.clone(),
        })
    }

    fn connect_options(&self) -> Result<ConnectOptions, NatsSetupError> {
        let mut options = ConnectOptions::new()
            .name("rejoin")
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_EVERY);
        options = options.subscription_capacity(ANSWERS_MAX);
        if let Some(credentials) = &self.credentials {
            options = options.credentials(credentials).map_err(NatsSetupError::Credentials)?;
        } else if let Some(seed) = &self.nkey {
            options = options.nkey(seed.clone());
        } else if let Some((user, password)) =
            self.servers.iter().find_map(|server| Some((server.username()?, server.password())))
        {
            let plain = |text: &str| {
                percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
            };
            options = match password {
                Some(password) => options.user_and_password(plain(user), plain(password)),
                None => options.token(plain(user)),
            };
        }
        if let Some(path) = &self.options.tls_ca_file {
            options = options.add_root_certificates(path.clone()).require_tls(true);
        }
        Ok(options)
    }
}

impl Connection {
    /// Begins to connect, and goes on for as long as the connection is used: it comes back by
    /// itself.
    ///
    /// # Errors
    /// The settings make no sense.
    pub(super) async fn lasting(
        address: &Address,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, NatsSetupError> {
        let delay = move |attempts: usize| reconnect::delay(attempts, entropy.next_u64());
        let options = address
            .connect_options()?
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(delay);
        Self::connect(address, options, true).await.map_err(NatsSetupError::Connect)
    }

    /// Connects, for as long as the connection lasts.
    pub(super) async fn passing(address: &Address) -> Result<Self, Failure> {
        let options =
            address.connect_options().map_err(|error| Failure::Away(Some(error.to_string())))?;
        // Each of them is tried once.
        let options = options.max_reconnects(address.servers.len());
        Self::connect(address, options, false)
            .await
            .map_err(|error| Failure::Away(Some(reason_of(&error))))
    }

    async fn connect(
        address: &Address,
        options: ConnectOptions,
        is_logged: bool,
    ) -> Result<Self, async_nats::ConnectError> {
        let (reporter, reports) = watch::channel(Reports { is_logged, ..Reports::default() });
        let reporter = Arc::new(reporter);
        let options = options.event_callback(move |event| {
            let reporter = Arc::clone(&reporter);
            async move { report(&reporter, event) }
        });
        let client = Box::pin(options.connect(&address.servers[..])).await?;
        Ok(Self { client, reports, api: Arc::clone(&address.api) })
    }

    /// Waits until there is a connection, but no longer than one may take. Whether there is one.
    pub(super) async fn is_there_soon(&self) -> bool {
        let mut reports = self.reports.clone();
        let there = async {
            while self.client.connection_state() != State::Connected {
                if reports.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(CONNECT_TIMEOUT, there).await;
        self.client.connection_state() == State::Connected
    }

    /// Why there is no connection, where that is known.
    pub(super) fn reason(&self) -> Option<String> {
        self.reports.borrow().reason.clone()
    }

    /// What the server says of itself.
    pub(super) fn server(&self) -> async_nats::ServerInfo {
        self.client.server_info()
    }

    /// Most bytes of one message, headers and payload.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Waits until the connection was lost, or has lost something of what it hears, since it was
    /// made: though it may be back by itself, it has not heard everything.
    pub(super) async fn lost(&mut self) {
        // An error would mean that the connection is gone for good.
        let _ = self.reports.wait_for(|reports| reports.lost > 0 || reports.overruns > 0).await;
    }

    /// Listens to a subject.
    pub(super) async fn listen(&self, subject: String) -> Result<async_nats::Subscriber, Failure> {
        self.client
            .subscribe(subject)
            .await
            .map_err(|error| Failure::MalformedReply(error.to_string()))
    }

    /// Sends what is not answered.
    pub(super) async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Failure> {
        self.connected()?;
        let sent = self.client.publish_with_headers(subject, headers, payload).await;
        sent.map_err(|error| match error.kind() {
            async_nats::client::PublishErrorKind::MaxPayloadExceeded => Failure::TooLarge,
            _ => Failure::MalformedReply(error.to_string()),
        })
    }

    /// Sends a request, and waits for its answer, however long that takes.
    pub(super) async fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message, Failure> {
        self.connected()?;
        let mut reports = self.reports.clone();
        let mut request = Request::new().payload(payload).timeout(None);
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let asking = self.client.send_request(subject.clone(), request);
        tokio::select! {
            answer = asking => answer.map_err(|error| match error.kind() {
                RequestErrorKind::TimedOut => Failure::Silent,
                RequestErrorKind::NoResponders => Failure::NoResponders,
                RequestErrorKind::MaxPayloadExceeded => Failure::TooLarge,
                _ => Failure::MalformedReply(error.to_string()),
            }),
            failure = interrupted(&mut reports, &subject) => Err(failure),
        }
    }

    /// Asks JetStream, which answers with JSON.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        question: &impl serde::Serialize,
    ) -> Result<T, Failure> {
        read_answer(&self.ask_directly(what, question).await?.payload)
    }

    /// Asks JetStream, which answers with a message.
    pub(super) async fn ask_directly(
        &self,
        what: &str,
        question: &impl serde::Serialize,
    ) -> Result<Message, Failure> {
        let payload = serde_json::to_vec(question)
            .map_err(|error| Failure::MalformedReply(error.to_string()))?;
        self.request(format!("{}.{what}", self.api), None, payload.into()).await
    }

    /// Asks for several answers.
    pub(super) async fn ask_for_several(
        &self,
        what: &str,
        question: &impl serde::Serialize,
    ) -> Result<Answers, Failure> {
        self.connected()?;
        let payload = serde_json::to_vec(question)
            .map_err(|error| Failure::MalformedReply(error.to_string()))?;
        let (inbox, subject) = (self.client.new_inbox(), format!("{}.{what}", self.api));
        let coming = self.listen(inbox.clone()).await?;
        let sent = self.client.publish_with_reply(subject.clone(), inbox, payload.into()).await;
        sent.map_err(|error| Failure::MalformedReply(error.to_string()))?;
        Ok(Answers { coming, subject })
    }

    /// The next of several answers.
    pub(super) async fn next_of(&self, answers: &mut Answers) -> Result<Message, Failure> {
        let mut reports = self.reports.clone();
        tokio::select! {
            answer = answers.coming.next() => match answer {
                Some(message) if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) => Err(Failure::NoResponders),
                Some(message) => Ok(message),
                None => Err(Failure::Broken),
            },
            failure = interrupted(&mut reports, &answers.subject) => Err(failure),
        }
    }

    fn connected(&self) -> Result<(), Failure> {
        if self.client.connection_state() == State::Connected {
            Ok(())
        } else {
            Err(Failure::Away(self.reason()))
        }
    }
}

/// An answer of JetStream: what was asked for, or an error.
fn read_answer<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        error: Option<ApiError>,
    }
    let malformed = |error: serde_json::Error| Failure::MalformedReply(error.to_string());
    match serde_json::from_slice::<Answer>(payload).map_err(malformed)?.error {
        Some(error) => Err(Failure::Refused(error)),
        None => serde_json::from_slice(payload).map_err(malformed),
    }
}

/// Waits until no answer can come any more.
async fn interrupted(reports: &mut watch::Receiver<Reports>, subject: &str) -> Failure {
    let lost = reports.borrow_and_update().lost;
    loop {
        if reports.changed().await.is_err() {
            return Failure::Broken;
        }
        let now = reports.borrow();
        if now.lost != lost {
            return Failure::Broken;
        }
        if let Some(denied) =
            now.denied.as_deref().filter(|denied| denied.contains(&format!("\"{subject}\"")))
        {
            return Failure::Denied(denied.to_owned());
        }
    }
}

fn report(reporter: &watch::Sender<Reports>, event: Event) {
    reporter.send_modify(|reports| match event {
        Event::Connected => {
            let was_away = reports.reason.take().is_some() || reports.lost > 0;
            if was_away && reports.is_logged {
                tracing::info!("NATS can be reached");
            }
        }
        Event::Disconnected | Event::Closed => reports.lost += 1,
        Event::SlowConsumer(_) => reports.overruns += 1,
        Event::ServerError(error) => {
            let text = error.to_string();
            if text.to_lowercase().contains("permissions violation") {
                reports.denied = Some(text.into());
            } else {
                away(reports, text);
            }
        }
        Event::ClientError(error) => away(reports, error.to_string()),
        Event::LameDuckMode | Event::Draining => {}
    });
}

/// A reason is logged when it comes up, not for each attempt.
fn away(reports: &mut Reports, reason: String) {
    if reports.is_logged && reports.reason.as_ref() != Some(&reason) {
        tracing::warn!("can't use NATS: {reason}");
    }
    reports.reason = Some(reason);
}

fn reason_of(error: &async_nats::ConnectError) -> String {
    error.to_string()
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

/// A lock that a panic elsewhere can't make useless: what it guards is changed in whole steps.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
