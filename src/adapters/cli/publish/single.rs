//! One event: tried until it is taken, or there is no point in trying.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use super::{AttemptError, PublishError, PublishOptions};
use crate::{
    adapters::cli::{
        backoff::{self, Pauses},
        printable::tell,
        server_access::{self, RemoteServer},
        server_problem::ServerProblem,
    },
    domain::{idempotency_key::IdempotencyKey, json::Json},
};

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest pause. A server that wants more is reported to the user, who can decide what to do.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Longest receipt that is read: it holds an id for each user.
const RECEIPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The event as the server wants it.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_ids: Option<&'a [String]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    broadcast: bool,
    r#type: &'a str,
    payload: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
}

/// What the server said of an event that it took.
#[derive(Debug, Deserialize)]
pub(super) struct Receipt {
    success: bool,
    id: Option<String>,
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    duplicate: bool,
}

impl Receipt {
    /// The ids that the event has got.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.id.iter().chain(&self.ids).map(String::as_str)
    }

    /// What a person should know of it.
    pub(super) fn remark(&self, broadcast: bool) -> Option<&'static str> {
        match (self.duplicate, self.ids().next().is_none()) {
            (true, _) => Some("duplicate: the server had this event already, under this id"),
            (false, true) if broadcast => {
                Some("sent to everybody who is connected now; it has no id")
            }
            (false, true) => Some("pushing is switched off on the server: nothing was stored"),
            (false, false) => None,
        }
    }
}

/// Publishes the event that the options describe.
pub(super) async fn publish(
    options: &PublishOptions,
    key: &IdempotencyKey,
) -> Result<Receipt, PublishError> {
    let body = body(options)?;
    let server = options.access.server()?;
    let mut backoff = Pauses::default();
    let mut retries = options.retries;
    loop {
        let error = match attempt(&server, &body, key).await {
            Ok(receipt) => return Ok(receipt),
            Err(error) => error,
        };
        // A broadcast is in no journal, so that no key can keep it from being sent twice.
        let pause =
            pause(&error, &mut backoff, options.broadcast).filter(|pause| *pause <= PAUSE_MAX);
        match pause {
            Some(pause) if retries > 0 => {
                retries -= 1;
                tell(&format!("trying again in {}: {error}", backoff::shown(pause)));
                tokio::time::sleep(pause).await;
            }
            _ if is_open(&error) && !options.broadcast => {
                return Err(PublishError::Unknown { error, key: key.clone() });
            }
            _ => return Err(error.into()),
        }
    }
}

/// How long to wait before the next attempt; `None` if there must be none.
fn pause(error: &AttemptError, backoff: &mut Pauses, once: bool) -> Option<Duration> {
    match error {
        AttemptError::Unreachable { .. } => Some(backoff.next()),
        AttemptError::Broken(_) | AttemptError::Body(_) | AttemptError::Silence => {
            (!once).then(|| backoff.next())
        }
        AttemptError::Problem(problem) if problem.may_pass() => match problem.retry_after {
            Some(delay) => Some(backoff::as_asked(delay)),
            // Without the server's word, a proxy may have given up waiting for one.
            None => (!once).then(|| backoff.next()),
        },
        AttemptError::Problem(_) | AttemptError::Foreign => None,
    }
}

/// Whether the server may have taken the event.
fn is_open(error: &AttemptError) -> bool {
    match error {
        AttemptError::Broken(_) | AttemptError::Body(_) | AttemptError::Silence => true,
        AttemptError::Problem(problem) => {
            problem.status.is_server_error() && problem.retry_after.is_none()
        }
        AttemptError::Unreachable { .. } | AttemptError::Foreign => false,
    }
}

async fn attempt(
    server: &RemoteServer,
    body: &str,
    key: &IdempotencyKey,
) -> Result<Receipt, AttemptError> {
    let request = server
        .events(Method::POST, &[])
        .header("content-type", "application/json")
        .header("idempotency-key", key.as_str());
    let answer = request.timeout(ATTEMPT_TIMEOUT).body(body.to_owned()).send().await;
    let response = answer.map_err(|error| AttemptError::of(error, server.name()))?;
    if !response.status().is_success() {
        return Err(ServerProblem::of(response).await.into());
    }
    let answer = server_access::body(response, RECEIPT_BYTES_MAX).await?;
    serde_json::from_slice(&answer)
        .ok()
        .filter(|receipt: &Receipt| receipt.success)
        .ok_or(AttemptError::Foreign)
}

fn body(options: &PublishOptions) -> Result<String, PublishError> {
    let json = |option, text: &str| {
        Json::parse(text).map_err(|error| PublishError::Json { option, error })
    };
    let payload = if options.payload == "-" {
        std::io::read_to_string(std::io::stdin().lock())?
    } else {
        options.payload.clone()
    };
    let body = Body {
        user_id: if let [user] = options.users.as_slice() { Some(user) } else { None },
        user_ids: (options.users.len() > 1).then_some(&options.users),
        broadcast: options.broadcast,
        // The command line has seen to it that there is one.
        r#type: options.event_type.as_deref().unwrap_or_default(),
        payload: json("--payload", &payload)?,
        scope: options.scope.as_deref().map(|text| json("--scope", text)).transpose()?,
        category: options.category.as_deref(),
    };
    Ok(serde_json::to_string(&body).expect("strings and raw JSON always serialise"))
}
