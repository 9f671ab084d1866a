//! One message on the server, as its producer sees it.
//!
//! Invariant: every event has a number that is never given to another, so an append whose answer
//! was lost can be sent again, and is taken once.

use std::time::Duration;

use http::{Method, StatusCode};
use reqwest::Response;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    model_output::{Piped, PipedContent},
    protocol::Outcome,
};
use crate::{
    adapters::cli::{
        server_access::{self, AccessError, RemoteServer, ServerAccess, reason},
        server_problem::ServerProblem,
    },
    domain::topic::MessageId,
};

/// How long one request may take: appends are small, and a repeat is harmless.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why the server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProducerError {
    /// No request can be made.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// It was not reached, or its answer was not: the same may be sent again.
    #[error("{0}")]
    Passing(String),
    /// It said no, and would again.
    #[error(transparent)]
    Problem(#[from] ServerProblem),
    /// It did not take a line, and never will.
    #[error("{message} ({code})")]
    Refused {
        /// The stable name of the reason.
        code: String,
        /// The server's words.
        message: String,
    },
    /// The message had ended before.
    #[error("this message has ended: nothing can be appended to it (its status is {0})")]
    Over(String),
    /// The answer is a success, and not one of Rejoin's.
    #[error("the answer is not from Rejoin: is --url right?")]
    Foreign,
}

/// Which message, and whose.
pub(super) struct Opening<'a> {
    pub(super) id: &'a MessageId,
    pub(super) user: &'a str,
    pub(super) takeover: bool,
}

/// The producer of one message.
pub(super) struct Producer {
    server: RemoteServer,
    id: MessageId,
    epoch: u64,
    next_sequence_no: u64,
}

#[derive(Deserialize)]
struct Opened {
    epoch: u64,
    last_sequence_no: Option<u64>,
    status: String,
}

/// An event to append. It says whether it is the last: its type decides nothing.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    sequence_no: u64,
    last: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

/// One line of an answer.
#[derive(Deserialize)]
struct LineResult {
    success: bool,
    #[serde(default)]
    stop: bool,
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
    sequence_no: Option<u64>,
}

impl Producer {
    /// Opens the message.
    pub(super) async fn open(
        access: &ServerAccess,
        opening: &Opening<'_>,
    ) -> Result<Self, ProducerError> {
        let server = access.server()?;
        let body = json!({ "user_id": opening.user, "takeover": opening.takeover });
        let request =
            server.message(Method::PUT, opening.id, None).timeout(REQUEST_TIMEOUT).json(&body);
        let opened: Opened = json_of(send(request, &server).await?).await?;
        if matches!(opened.status.as_str(), "complete" | "failed") {
            return Err(ProducerError::Over(opened.status));
        }
        let next_sequence_no = opened.last_sequence_no.map_or(0, |last| last + 1);
        Ok(Self { server, id: opening.id.clone(), epoch: opened.epoch, next_sequence_no })
    }

    /// Gives an event its number; with `outcome` it is the last of the message. It is appended by
    /// [`Producer::append`].
    pub(super) fn number(&mut self, event: &Piped, outcome: Option<Outcome>) -> String {
        let (payload, data) = match &event.content {
            PipedContent::Payload(json) => (serde_json::from_str(json).ok(), None),
            PipedContent::Data(text) => (None, Some(text.as_str())),
            PipedContent::Nothing => (None, None),
        };
        let line = Line {
            r#type: &event.event_type,
            payload,
            data,
            sequence_no: self.next_sequence_no,
            last: outcome.is_some(),
            status: outcome.map(|outcome| match outcome {
                Outcome::Complete => "complete",
                Outcome::Failed => "failed",
            }),
        };
        self.next_sequence_no += 1;
        // Texts, numbers and JSON always serialise.
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    }

    /// Appends numbered events, and returns whether the reader wants no more. After a passing error
    /// the same may be sent again.
    pub(super) async fn append(&self, lines: &[String]) -> Result<bool, ProducerError> {
        let request =
            self.server.message(Method::POST, &self.id, Some("events")).timeout(REQUEST_TIMEOUT);
        let request = request
            .header("producer-epoch", self.epoch)
            .header("content-type", "application/x-ndjson")
            .body(lines.concat());
        let answer = body_of(send(request, &self.server).await?).await?;
        let (mut taken, mut stop) = (0, false);
        for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let result: LineResult =
                serde_json::from_slice(line).map_err(|_| ProducerError::Foreign)?;
            if !result.success {
                return Err(refusal(result));
            }
            taken += usize::from(result.sequence_no.is_some());
            stop |= result.stop;
        }
        if taken < lines.len() {
            return Err(ProducerError::Passing("the answer broke off".to_owned()));
        }
        Ok(stop)
    }

    /// Sends a heartbeat, and learns whether the reader wants no more.
    pub(super) async fn heartbeat(&self) -> Result<bool, ProducerError> {
        let request =
            self.server.message(Method::POST, &self.id, Some("heartbeat")).timeout(REQUEST_TIMEOUT);
        let result: LineResult =
            json_of(send(request.header("producer-epoch", self.epoch), &self.server).await?)
                .await?;
        Ok(result.stop)
    }
}

fn refusal(result: LineResult) -> ProducerError {
    let (code, message) = (result.code.unwrap_or_default(), result.message.unwrap_or_default());
    if result.status.is_some_and(|status| status >= 500) {
        return ProducerError::Passing(message);
    }
    ProducerError::Refused { code, message }
}

async fn send(
    request: reqwest::RequestBuilder,
    server: &RemoteServer,
) -> Result<Response, ProducerError> {
    let failed = |error: reqwest::Error| {
        ProducerError::Passing(format!("{} can't be reached: {}", server.name(), reason(&error)))
    };
    let response = request.send().await.map_err(failed)?;
    if matches!(response.status(), StatusCode::OK | StatusCode::CREATED) {
        return Ok(response);
    }
    let problem = ServerProblem::of(response).await;
    if problem.may_pass() {
        Err(ProducerError::Passing(problem.to_string()))
    } else {
        Err(problem.into())
    }
}

async fn body_of(response: Response) -> Result<Vec<u8>, ProducerError> {
    server_access::body(response, ANSWER_BYTES_MAX)
        .await
        .map_err(|error| ProducerError::Passing(format!("the answer can't be read: {error}")))
}

async fn json_of<T: for<'de> Deserialize<'de>>(response: Response) -> Result<T, ProducerError> {
    serde_json::from_slice(&body_of(response).await?).map_err(|_| ProducerError::Foreign)
}
