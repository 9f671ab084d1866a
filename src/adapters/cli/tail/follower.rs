//! One cursor over many connections.

use std::time::Duration;

use reqwest::Response;

use super::{
    Cursor, TailOptions,
    connecting::{Connector, Hopeless, NotConnected},
    envelope::{self, Envelope},
    line::Look,
};
use crate::{
    adapters::cli::{
        backoff,
        output::{Output, OutputError},
        printable::tell,
        server_access::{AccessError, reason},
    },
    domain::frame_decoder::{Decoded, FrameDecoder},
};

/// Longest frame that is waited for. A server's events are much smaller unless its settings are
/// unusual.
const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Delay before reconnecting, as browsers have it, until the server names one.
const RETRY: Duration = Duration::from_secs(3);

/// Why following ended before it was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    /// There will be no stream.
    #[error(transparent)]
    Hopeless(#[from] Hopeless),
    /// No request can be made.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The events have nowhere to go.
    #[error(transparent)]
    Output(OutputError),
}

/// Follows a user's events.
pub(super) struct Follower<'a> {
    options: &'a TailOptions,
    connector: Connector,
    output: Output,
    cursor: Option<Cursor>,
    /// How many events are yet to come; `None` for no end.
    left: Option<u64>,
    retry: Duration,
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// All that was wanted has come.
    Enough,
    /// It was lost; why.
    Lost(String),
}

/// Whether more is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    More,
    Enough,
}

/// Events as text, and where the client stands behind them.
struct Unwritten {
    text: String,
    cursor: Option<Cursor>,
}

impl Unwritten {
    /// An id that no server of ours gives is left alone: at worst, something comes again.
    fn move_cursor(&mut self, id: Option<String>) {
        if let Some(cursor) = id.and_then(|id| Cursor::parse(&id).ok()) {
            self.cursor = Some(cursor);
        }
    }
}

impl<'a> Follower<'a> {
    pub(super) fn new(options: &'a TailOptions) -> Result<Self, FollowError> {
        Ok(Self {
            connector: Connector::new(options)?,
            output: Output::start()
                .map_err(|error| FollowError::Output(OutputError::Failed(error)))?,
            cursor: options.from.clone(),
            left: options.count.map(Into::into),
            retry: RETRY,
            options,
        })
    }

    /// Behind the last event that was written.
    pub(super) const fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Follows over as many connections as it takes.
    pub(super) async fn run(&mut self) -> Result<(), FollowError> {
        loop {
            let (delay, reason) = match self.connector.connect(self.cursor.as_ref()).await {
                Ok(response) => {
                    self.tell_state(&format!("connected to {}", self.connector.server_name()));
                    match self.follow(response).await {
                        Ok(Ended::Enough) | Err(OutputError::Closed) => return Ok(()),
                        Ok(Ended::Lost(reason)) => (backoff::as_asked(self.retry), reason),
                        Err(error) => return Err(FollowError::Output(error)),
                    }
                }
                Err(NotConnected::Wait { delay, reason }) => (delay, reason),
                Err(NotConnected::Hopeless(error)) => return Err(error.into()),
            };
            self.tell_state(&format!("reconnecting in {}: {reason}", backoff::shown(delay)));
            tokio::time::sleep(delay).await;
        }
    }

    async fn follow(&mut self, mut response: Response) -> Result<Ended, OutputError> {
        let mut decoder = FrameDecoder::default();
        let mut last_words = None;
        loop {
            let piece = match tokio::time::timeout(self.options.idle_timeout, response.chunk())
                .await
            {
                Err(_) => {
                    return Ok(Ended::Lost(format!(
                        "nothing came for {}",
                        backoff::shown(self.options.idle_timeout)
                    )));
                }
                Ok(Err(error)) => {
                    return Ok(Ended::Lost(format!("the connection broke: {}", reason(&error))));
                }
                Ok(Ok(None)) => {
                    return Ok(Ended::Lost(
                        last_words.unwrap_or_else(|| "the server closed the stream".to_owned()),
                    ));
                }
                Ok(Ok(Some(piece))) => piece,
            };
            let said = decoder.feed(&piece);
            if let Some(last) = said.last() {
                last_words = reason_of(last);
            }
            if self.take(said).await? == Progress::Enough {
                return Ok(Ended::Enough);
            }
            if decoder.pending_bytes() > FRAME_BYTES_MAX {
                return Ok(Ended::Lost(format!(
                    "an event is longer than {} MiB",
                    FRAME_BYTES_MAX / 1024 / 1024
                )));
            }
        }
    }

    /// Writes what a piece of the stream holds, in as few writes as there can be.
    async fn take(&mut self, said: Vec<Decoded>) -> Result<Progress, OutputError> {
        let look = Look::of_stdout();
        let mut unwritten = Unwritten { text: String::new(), cursor: None };
        for decoded in said {
            match decoded {
                Decoded::Event { id, data, .. } => {
                    self.take_event(&data, look, &mut unwritten).await?;
                    unwritten.move_cursor(id);
                }
                Decoded::Position(id) => unwritten.move_cursor(Some(id)),
                Decoded::Retry(ms) => self.retry = Duration::from_millis(ms),
                Decoded::Comment(_) => {}
            }
            if self.left == Some(0) {
                break;
            }
        }
        self.write(&mut unwritten).await?;
        Ok(if self.left == Some(0) { Progress::Enough } else { Progress::More })
    }

    async fn take_event(
        &mut self,
        data: &str,
        look: Look,
        unwritten: &mut Unwritten,
    ) -> Result<(), OutputError> {
        let Some(event) = Envelope::read(data) else {
            return self
                .warn("skipped an event that is not of the form that Rejoin sends", unwritten)
                .await;
        };
        let is_truncation = event.event_type() == "backlog.truncated";
        if is_truncation {
            self.warn("truncated: some events before the next one are gone", unwritten).await?;
        }
        if self.options.json {
            unwritten.text.push_str(&envelope::json_line(data));
        } else if !is_truncation {
            unwritten.text.push_str(&event.readable(look));
        }
        if !event.is_control()
            && let Some(left) = &mut self.left
        {
            *left -= 1;
        }
        Ok(())
    }

    /// A loss is reported where it happened, between the events before and after it, and even to
    /// who wants it quiet.
    async fn warn(&mut self, warning: &str, unwritten: &mut Unwritten) -> Result<(), OutputError> {
        self.write(unwritten).await?;
        tell(warning);
        Ok(())
    }

    async fn write(&mut self, unwritten: &mut Unwritten) -> Result<(), OutputError> {
        if !unwritten.text.is_empty() {
            self.output.write(std::mem::take(&mut unwritten.text)).await?;
        }
        if let Some(cursor) = unwritten.cursor.take() {
            self.cursor = Some(cursor);
        }
        Ok(())
    }

    fn tell_state(&self, text: &str) {
        if !self.options.quiet {
            tell(text);
        }
    }
}

/// What a stream's last comment says of its end.
fn reason_of(last: &Decoded) -> Option<String> {
    /// Far more than a server of ours says.
    const CHARS_MAX: usize = 200;
    match last {
        Decoded::Comment(comment)
            if !matches!(comment.as_str(), "connected" | "keepalive" | "") =>
        {
            Some(comment.chars().take(CHARS_MAX).collect())
        }
        _ => None,
    }
}
