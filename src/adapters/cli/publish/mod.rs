//! `rejoin publish`: publishes one event, or a stream of them, from a terminal or a script.
//!
//! Invariant: an event is sent again only where that can't make a second one of it.

mod input;
mod lines;
mod single;

use std::{error::Error, io, process::ExitCode};

use clap::Args;

use super::{
    output::{self, OutputError},
    printable::{Printable, tell},
    server_access::{self, AccessError, BodyError, ServerAccess},
    server_problem::ServerProblem,
};
use crate::{
    adapters::system_entropy::SystemEntropy,
    domain::{idempotency_key::IdempotencyKey, json::InvalidJson},
    ports::entropy::Entropy,
};

/// Options.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  rejoin publish --user u1 --type greeting --payload '{\"text\": \"hello\"}'
  rejoin publish --user u1 --user u2 --type report.ready --payload - < report.json
  rejoin publish --broadcast --type maintenance.soon
  producer | rejoin publish --ndjson

With --ndjson each line of standard input is one event, such as
  {\"user_id\": \"u1\", \"type\": \"greeting\", \"payload\": {\"text\": \"hello\"}}
and each line of the output is the answer to one, as it comes. Exit status: 0 if all was taken, else 1.")]
pub(super) struct PublishOptions {
    #[command(flatten)]
    access: ServerAccess,
    /// Who gets it. May be repeated: each user gets an event of their own.
    #[arg(long = "user", value_name = "ID", required_unless_present_any = ["broadcast", "ndjson"], conflicts_with_all = ["broadcast", "ndjson"])]
    users: Vec<String>,
    /// For every open connection. It is not kept, and has no id.
    #[arg(long, conflicts_with = "ndjson")]
    broadcast: bool,
    /// What happened, such as `report.ready`.
    #[arg(
        long = "type",
        value_name = "TYPE",
        required_unless_present = "ndjson",
        conflicts_with = "ndjson"
    )]
    event_type: Option<String>,
    /// Its content, as JSON; `-` reads it from standard input.
    #[arg(
        long,
        value_name = "JSON",
        default_value = "{}",
        conflicts_with = "ndjson",
        allow_negative_numbers = true
    )]
    payload: String,
    /// What it is about: a JSON object, such as `{"kind": "source", "id": "s1"}`.
    #[arg(long, value_name = "JSON", conflicts_with = "ndjson")]
    scope: Option<String>,
    /// Its category. Without it, the server chooses one by the type.
    #[arg(long, value_name = "NAME", conflicts_with = "ndjson")]
    category: Option<String>,
    /// Makes a repeat recognisable, so that it is taken once. Without it, one is made up for the
    /// retries.
    #[arg(long, value_name = "KEY", value_parser = IdempotencyKey::parse)]
    idempotency_key: Option<IdempotencyKey>,
    /// Publish the lines of standard input, an event each.
    #[arg(long)]
    ndjson: bool,
    /// How often to try again when the server can't be reached or is overburdened.
    #[arg(long, value_name = "N", default_value_t = 3)]
    retries: u32,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    /// An option that should be JSON is not.
    #[error("{option} is {error}; a text stands in quotes, as in --payload '\"hello\"'")]
    Json { option: &'static str, error: InvalidJson },
    /// What is to be published can't be read.
    #[error("standard input can't be read")]
    Input(#[from] io::Error),
    /// The results have nowhere to go.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// No request can be made.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// An attempt failed, and there is no other, or there must be no other.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// The answer to many lines broke off.
    #[error("{error}; {summary}")]
    Interrupted { error: AttemptError, summary: String },
    /// It is not known what became of the event.
    #[error(
        "{error}; whether the event was taken is not known: with --idempotency-key {key} it can be sent again and is taken once"
    )]
    Unknown { error: AttemptError, key: IdempotencyKey },
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    /// No connection could be made, so that nothing was sent.
    #[error("{server} can't be reached: {}", server_access::reason(error))]
    Unreachable { server: String, error: reqwest::Error },
    /// The connection broke after something was sent.
    #[error("the connection broke: {}", server_access::reason(.0))]
    Broken(reqwest::Error),
    /// The answer broke off, or is no answer of a server of ours.
    #[error("the answer can't be read: {0}")]
    Body(#[from] BodyError),
    /// The server said no.
    #[error(transparent)]
    Problem(#[from] ServerProblem),
    /// No answer came, and no more was to be sent.
    #[error("the server does not answer")]
    Silence,
    /// The answer is a success, and not one of Rejoin's.
    #[error("the answer is not from Rejoin: is --url right?")]
    Foreign,
}

impl AttemptError {
    fn of(error: reqwest::Error, server: &str) -> Self {
        if error.is_connect() {
            Self::Unreachable { server: server.to_owned(), error }
        } else {
            Self::Broken(error)
        }
    }
}

/// Publishes what the options say.
pub(super) async fn publish(options: &PublishOptions) -> Result<ExitCode, Box<dyn Error>> {
    let key = options.idempotency_key.clone().unwrap_or_else(new_key);
    if options.ndjson {
        return Ok(lines::publish(options, &key).await?);
    }
    let receipt = single::publish(options, &key).await?;
    let ids: Vec<String> = receipt.ids().map(|id| format!("{}\n", Printable(id))).collect();
    output::print(&ids.concat())?;
    if let Some(remark) = receipt.remark(options.broadcast) {
        tell(remark);
    }
    Ok(ExitCode::SUCCESS)
}

fn new_key() -> IdempotencyKey {
    IdempotencyKey::parse(&SystemEntropy.uuid().to_string())
        .expect("a UUID has 36 visible ASCII characters")
}
