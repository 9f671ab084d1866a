//! `rejoin pipe`: standard input becomes a message, as it comes.
//!
//! Invariants: events keep the order of the input; while the server is away nothing is lost and no
//! more than a bounded part of the input waits; the message is ended once, by how the input ended.

mod model_output;
mod producer;
mod protocol;
mod source;

use std::{error::Error, io, process::ExitCode, time::Duration};

use clap::Args;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::Instant,
};

use self::{
    model_output::{Carry, Format, ModelOutput, Piece, Piped},
    producer::{Opening, Producer, ProducerError},
    protocol::Outcome,
};
use super::{
    backoff::{self, Pauses},
    duration,
    output::{Output, OutputError},
    printable::tell,
    server_access::ServerAccess,
};
use crate::domain::topic::MessageId;

/// How long the end of a message may take to be sent after a signal.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);

/// Options.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  curl -sN https://llm.example.com/v1/chat/completions -d '{\"stream\": true, ...}' | rejoin pipe --message $ID --user u1
  my-model | rejoin pipe --message $ID --user u1 --format text --tee

The stream of a provider (OpenAI chat completions and Responses, Anthropic Messages, UI messages of the AI SDK) is passed
through: each event with its type and its JSON as they came, the last one as the end of the message. Plain text becomes
events of type `chunk` with the payload {\"text\": \"...\"}, and so does a provider's with `--as text`. An answer that breaks
off ends with an error, in the words of its protocol. When the reader asks for a stop, the message ends and the input is
closed.
Exit status: 0 if the message is complete, else 1.")]
pub(super) struct PipeOptions {
    #[command(flatten)]
    access: ServerAccess,
    /// The message's id: a UUID, or any 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':', '-'.
    #[arg(long, value_name = "ID", value_parser = MessageId::parse)]
    message: MessageId,
    /// Whose message it is.
    #[arg(long, value_name = "ID")]
    user: String,
    /// How standard input is to be read.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// What becomes of a provider's stream.
    #[arg(long = "as", value_enum, default_value_t)]
    carry: Carry,
    /// Take the message over from another producer, which can then append no more.
    #[arg(long)]
    takeover: bool,
    /// Also write the text to standard output.
    #[arg(long)]
    tee: bool,
    /// How long the input may be quiet before a heartbeat is sent.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    heartbeat: Duration,
    /// How long to go on trying while the server can't be reached.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    retry_for: Duration,
}

/// Why the pipe broke.
#[derive(Debug, thiserror::Error)]
enum PipeError {
    /// The server did not take it.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// There is no input, or no thread to read it with.
    #[error("standard input can't be read")]
    Input(#[from] io::Error),
    /// The text has nowhere to go.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// How the message is to end.
enum Ending {
    /// Its last event was appended, or is about to be.
    Said(Outcome),
    /// The model said all it had to say, without an event that says so.
    Whole,
    /// The reader wanted no more.
    Stopped,
    /// The input broke off.
    Broken(String),
}

/// Pipes standard input into a message.
pub(super) async fn pipe(options: &PipeOptions) -> Result<ExitCode, Box<dyn Error>> {
    Ok(Pipe::start(options).await?.run().await?)
}

struct Pipe<'a> {
    options: &'a PipeOptions,
    producer: Producer,
    input: mpsc::Receiver<source::Piece>,
    model: ModelOutput,
    output: Option<Output>,
    /// Numbered events that the server has not yet confirmed.
    unconfirmed: Vec<String>,
    terminate: Signal,
    interrupt: Signal,
}

impl<'a> Pipe<'a> {
    async fn start(options: &'a PipeOptions) -> Result<Self, PipeError> {
        let (terminate, interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let opening =
            Opening { id: &options.message, user: &options.user, takeover: options.takeover };
        let producer =
            retrying(options.retry_for, async || Producer::open(&options.access, &opening).await)
                .await?;
        let output = if options.tee { Some(Output::start()?) } else { None };
        let (input, model) = (source::start()?, ModelOutput::new(options.format, options.carry));
        Ok(Self {
            options,
            producer,
            input,
            model,
            output,
            unconfirmed: Vec::new(),
            terminate,
            interrupt,
        })
    }

    async fn run(mut self) -> Result<ExitCode, PipeError> {
        let ending = loop {
            if let Some(ending) = self.turn().await? {
                break ending;
            }
        };
        self.end(ending).await
    }

    /// Waits for something to happen, and does what follows. Returns how the message is to end,
    /// once that is clear.
    async fn turn(&mut self) -> Result<Option<Ending>, PipeError> {
        tokio::select! {
            read = self.input.recv() => self.take(read).await,
            () = tokio::time::sleep(self.options.heartbeat) => self.heartbeat().await,
            _ = self.terminate.recv() => Ok(Some(interrupted())),
            _ = self.interrupt.recv() => Ok(Some(interrupted())),
        }
    }

    /// Takes what was read, and what else waits by now, and appends it.
    async fn take(&mut self, read: Option<source::Piece>) -> Result<Option<Ending>, PipeError> {
        let mut ending = self.take_piece(read).await?;
        while ending.is_none()
            && let Ok(read) = self.input.try_recv()
        {
            ending = self.take_piece(Some(read)).await?;
        }
        let cut_short = self.append().await?;
        // An answer that is whole by itself needs no stop.
        Ok(ending.or(cut_short))
    }

    async fn take_piece(
        &mut self,
        read: Option<source::Piece>,
    ) -> Result<Option<Ending>, PipeError> {
        let pieces = match read {
            Some(Ok(bytes)) => self.model.feed(&bytes),
            Some(Err(error)) => {
                return Ok(Some(Ending::Broken(format!("the input can't be read: {error}"))));
            }
            None => self.model.finish(),
        };
        for piece in pieces {
            match piece {
                Piece::Event(event) => self.push(&event, None),
                Piece::Text(text) => {
                    if self.model.carries_text() {
                        self.push(&Piped::chunk(&text), None);
                    }
                    self.tee(text).await?;
                }
                Piece::Last(event, outcome) => {
                    self.push(&event, Some(outcome));
                    return Ok(Some(Ending::Said(outcome)));
                }
                Piece::Over => return Ok(Some(Ending::Whole)),
                Piece::Broken(why) => return Ok(Some(Ending::Broken(why))),
            }
        }
        Ok(None)
    }

    /// Numbers an event; with `outcome` it is the last of the message.
    fn push(&mut self, event: &Piped, outcome: Option<Outcome>) {
        let line = self.producer.number(event, outcome);
        self.unconfirmed.push(line);
    }

    async fn tee(&mut self, text: String) -> Result<(), PipeError> {
        let Some(output) = &self.output else { return Ok(()) };
        match output.write(text).await {
            // Who read along has read enough; the message goes on.
            Err(OutputError::Closed) => self.output = None,
            written => written?,
        }
        Ok(())
    }

    /// Appends what is not yet confirmed, however often it takes. Returns how the message is to
    /// end, if it is by now.
    async fn append(&mut self) -> Result<Option<Ending>, PipeError> {
        if self.unconfirmed.is_empty() {
            return Ok(None);
        }
        let appending = retrying(self.options.retry_for, async || {
            self.producer.append(&self.unconfirmed).await
        });
        tokio::select! {
            stop = appending => {
                let stop = stop?;
                self.unconfirmed.clear();
                Ok(stop.then_some(Ending::Stopped))
            }
            // What was not confirmed is sent once more, with the end.
            _ = self.terminate.recv() => Ok(Some(interrupted())),
            _ = self.interrupt.recv() => Ok(Some(interrupted())),
        }
    }

    async fn heartbeat(&self) -> Result<Option<Ending>, PipeError> {
        match self.producer.heartbeat().await {
            Ok(stop) => Ok(stop.then_some(Ending::Stopped)),
            // There is a next one.
            Err(ProducerError::Passing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn end(mut self, ending: Ending) -> Result<ExitCode, PipeError> {
        // From here on nothing is read: who writes to us notices.
        self.input.close();
        let outcome = self.push_end(&ending);
        match &ending {
            Ending::Whole | Ending::Said(_) => {}
            Ending::Stopped => tell("stopped by the reader"),
            Ending::Broken(why) => tell(why),
        }
        let retry_for = if matches!(ending, Ending::Broken(_)) {
            LAST_WORDS_TIMEOUT
        } else {
            self.options.retry_for
        };
        if !self.unconfirmed.is_empty() {
            retrying(retry_for, async || self.producer.append(&self.unconfirmed).await).await?;
        }
        Ok(match outcome {
            Outcome::Complete => ExitCode::SUCCESS,
            Outcome::Failed => ExitCode::FAILURE,
        })
    }

    /// The message's last event, unless it was appended already. Returns how the message ends.
    fn push_end(&mut self, ending: &Ending) -> Outcome {
        if let Ending::Said(outcome) = ending {
            return *outcome;
        }
        // The answer had ended before it was stopped, or its input was.
        let (event, outcome) = self.model.take_last().unwrap_or_else(|| match ending {
            Ending::Stopped => (self.model.stopped(), Outcome::Complete),
            Ending::Broken(why) => (self.model.broken(why), Outcome::Failed),
            Ending::Whole | Ending::Said(_) => (self.model.whole(), Outcome::Complete),
        });
        self.push(&event, Some(outcome));
        outcome
    }
}

fn interrupted() -> Ending {
    Ending::Broken("the producer was interrupted".to_owned())
}

/// Does something again and again while it fails by what may pass.
async fn retrying<T>(
    retry_for: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, ProducerError>,
) -> Result<T, ProducerError> {
    let (mut backoff, give_up_at) = (Pauses::default(), Instant::now() + retry_for);
    loop {
        match attempt().await {
            Err(ProducerError::Passing(why)) if Instant::now() < give_up_at => {
                let pause = backoff.next();
                tell(&format!("trying again in {}: {why}", backoff::shown(pause)));
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
}
