//! From a cursor to an open stream, or to what is to be done instead.
//!
//! Invariant: what waiting can't mend is never waited for, and what the server asks to wait is
//! waited.

use std::time::Duration;

use http::{Method, StatusCode, header};
use reqwest::Response;

use super::{Cursor, TailOptions};
use crate::adapters::cli::{
    backoff::{self, Pauses},
    server_access::{AccessError, RemoteServer, reason},
    server_problem::ServerProblem,
};

/// Why there is no stream.
#[derive(Debug)]
pub(super) enum NotConnected {
    /// It may work after a while.
    Wait {
        /// How long.
        delay: Duration,
        /// Why.
        reason: String,
    },
    /// It never will.
    Hopeless(Hopeless),
}

/// Why there never will be a stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum Hopeless {
    /// The server won't have it, now or later: credentials don't mend by waiting.
    #[error(transparent)]
    Refused(#[from] ServerProblem),
    /// Something answers, and it is no event stream.
    #[error("the answer is {0}, not an event stream: is --url right?")]
    NoEventStream(String),
}

/// Opens streams of one server.
#[derive(Debug)]
pub(super) struct Connector {
    server: RemoteServer,
    categories: String,
    answer_timeout: Duration,
    backoff: Pauses,
}

impl Connector {
    pub(super) fn new(options: &TailOptions) -> Result<Self, AccessError> {
        Ok(Self {
            server: options.access.server()?,
            categories: options.categories.join(","),
            answer_timeout: options.idle_timeout,
            backoff: Pauses::default(),
        })
    }

    /// The server's URL, for messages.
    pub(super) fn server_name(&self) -> &str {
        self.server.name()
    }

    /// Opens a stream that begins after the cursor.
    pub(super) async fn connect(
        &mut self,
        cursor: Option<&Cursor>,
    ) -> Result<Response, NotConnected> {
        let mut query = vec![("format", "envelope")];
        if !self.categories.is_empty() {
            query.push(("categories", &self.categories));
        }
        let mut request =
            self.server.events(Method::GET, &query).header(header::ACCEPT, "text/event-stream");
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor.as_str());
        }
        let response = match tokio::time::timeout(self.answer_timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unreachable(&reason(&error))),
            Err(_) => return Err(self.unreachable("no answer in time")),
        };
        if response.status() != StatusCode::OK {
            let problem = ServerProblem::of(response).await;
            return Err(self.refused(problem));
        }
        let content_type = response
            .headers()
            .get(header::CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        if !content_type
            .as_ref()
            .is_some_and(|content_type| content_type.starts_with("text/event-stream"))
        {
            let found = content_type.map_or_else(
                || "of no type".to_owned(),
                |content_type| content_type.chars().take(80).collect(),
            );
            return Err(NotConnected::Hopeless(Hopeless::NoEventStream(found)));
        }
        self.backoff.reset();
        Ok(response)
    }

    fn unreachable(&mut self, why: &str) -> NotConnected {
        NotConnected::Wait {
            delay: self.backoff.next(),
            reason: format!("{} can't be reached: {why}", self.server.name()),
        }
    }

    fn refused(&mut self, problem: ServerProblem) -> NotConnected {
        if !problem.may_pass() && problem.status != StatusCode::INTERNAL_SERVER_ERROR {
            return NotConnected::Hopeless(problem.into());
        }
        let delay = problem.retry_after.map_or_else(|| self.backoff.next(), backoff::as_asked);
        NotConnected::Wait { delay, reason: problem.to_string() }
    }
}
