//! Many events: standard input goes to the server as it comes, and the results come back as they
//! come.

use std::{process::ExitCode, time::Duration};

use http::Method;
use reqwest::Response;
use serde::Deserialize;

use super::{AttemptError, PublishError, PublishOptions, input::Input};
use crate::adapters::cli::{
    backoff::{self, Pauses},
    output::{Output, OutputError},
    printable::{Printable, tell},
    server_access::{BodyError, RemoteServer},
    server_problem::ServerProblem,
};
use crate::domain::idempotency_key::IdempotencyKey;

/// How long the server may take for an answer once standard input has ended. Until then, silence
/// means nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest result: it holds an id for each user of one event.
const RESULT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The part of a result that matters here.
#[derive(Deserialize)]
struct LineResult {
    success: bool,
}

/// Writes results, and counts them.
struct Results {
    /// `None` once the results are not read any more: what is to be published is published all the
    /// same.
    output: Option<Output>,
    unfinished: Vec<u8>,
    taken: u64,
    refused: u64,
}

/// Publishes the lines of standard input.
pub(super) async fn publish(
    options: &PublishOptions,
    key: &IdempotencyKey,
) -> Result<ExitCode, PublishError> {
    let server = options.access.server()?;
    let input = Input::start()?;
    let mut results =
        Results { output: Some(Output::start()?), unfinished: Vec::new(), taken: 0, refused: 0 };
    let response = connect(&server, &input, key, options.retries).await?;
    if !response.status().is_success() {
        return Err(AttemptError::from(ServerProblem::of(response).await).into());
    }
    let read = results.read(response, &input).await;
    let unanswered = input.lines().saturating_sub(results.taken + results.refused);
    let complete = input.has_ended() && unanswered == 0;
    let summary = format!(
        "{} taken, {} refused{}; the same input can be sent again with --idempotency-key {key}: what was taken is not taken twice",
        results.taken,
        results.refused,
        if complete { "" } else { ", and the lines behind those were not answered" },
    );
    match read {
        Err(Stopped::Output(error)) => Err(error.into()),
        Err(Stopped::Server(error)) => Err(PublishError::Interrupted { error, summary }),
        Ok(()) if complete && results.refused == 0 => Ok(ExitCode::SUCCESS),
        Ok(()) => {
            tell(&summary);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Gets as far as the head of the answer. Only an attempt that sent nothing is repeated: what
/// standard input has given can't be had again.
async fn connect(
    server: &RemoteServer,
    input: &Input,
    key: &IdempotencyKey,
    mut retries: u32,
) -> Result<Response, PublishError> {
    let mut backoff = Pauses::default();
    loop {
        let request = server
            .events(Method::POST, &[])
            .header("content-type", "application/x-ndjson")
            .header("idempotency-key", key.as_str())
            .body(input.body());
        let Some(answer) = patiently(request.send(), input).await else {
            return Err(AttemptError::Silence.into());
        };
        match answer.map_err(|error| AttemptError::of(error, server.name())) {
            Ok(response) => return Ok(response),
            Err(error @ AttemptError::Unreachable { .. }) if retries > 0 => {
                retries -= 1;
                let pause = backoff.next();
                tell(&format!("trying again in {}: {error}", backoff::shown(pause)));
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for the server without end while standard input is open, and then for a while. `None` if
/// it stays silent.
async fn patiently<T>(answer: impl Future<Output = T>, input: &Input) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    loop {
        match tokio::time::timeout(ANSWER_TIMEOUT, &mut answer).await {
            Ok(answer) => return Some(answer),
            Err(_) if input.has_ended() => return None,
            Err(_) => {}
        }
    }
}

/// Why results are not read to their end.
enum Stopped {
    Server(AttemptError),
    Output(OutputError),
}

impl Results {
    async fn read(&mut self, mut response: Response, input: &Input) -> Result<(), Stopped> {
        loop {
            let piece = patiently(response.chunk(), input)
                .await
                .ok_or(Stopped::Server(AttemptError::Silence))?;
            match piece.map_err(|error| Stopped::Server(AttemptError::Broken(error)))? {
                Some(piece) => self.take(&piece).await?,
                // What has no line end broke off.
                None if self.unfinished.is_empty() => return Ok(()),
                None => return Err(Stopped::Server(AttemptError::Foreign)),
            }
        }
    }

    async fn take(&mut self, piece: &[u8]) -> Result<(), Stopped> {
        self.unfinished.extend_from_slice(piece);
        let Some(end) = self.unfinished.iter().rposition(|byte| *byte == b'\n') else {
            let too_long = self.unfinished.len() > RESULT_BYTES_MAX;
            return if too_long {
                Err(Stopped::Server(BodyError::TooLong(RESULT_BYTES_MAX).into()))
            } else {
                Ok(())
            };
        };
        let rest = self.unfinished.split_off(end + 1);
        let whole = std::mem::replace(&mut self.unfinished, rest);
        let mut text = String::new();
        let mut readable = Ok(());
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line = String::from_utf8_lossy(line);
            match serde_json::from_str(&line) {
                Ok(LineResult { success: true }) => self.taken += 1,
                Ok(LineResult { success: false }) => self.refused += 1,
                Err(_) => {
                    readable = Err(Stopped::Server(AttemptError::Foreign));
                    break;
                }
            }
            text.push_str(&Printable(&line).to_string());
            text.push('\n');
        }
        self.write(text).await.map_err(Stopped::Output)?;
        readable
    }

    async fn write(&mut self, text: String) -> Result<(), OutputError> {
        let Some(output) = &self.output else { return Ok(()) };
        match output.write(text).await {
            Err(OutputError::Closed) => self.output = None,
            written => written?,
        }
        Ok(())
    }
}
