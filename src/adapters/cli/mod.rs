//! The command line.
//!
//! Invariant: what a command prints on standard output is its result; everything else goes to
//! standard error.

mod backoff;
mod duration;
mod journal;
mod log;
mod output;
mod pipe;
mod printable;
mod publish;
mod serve;
mod server_access;
mod server_problem;
mod tail;
mod token;

use std::{error::Error, ffi::OsString, path::Path, process::ExitCode};

use clap::{Parser, Subcommand, builder::OsStringValueParser};

use self::{
    journal::JournalOptions, pipe::PipeOptions, printable::tell, publish::PublishOptions,
    serve::ServeOptions, tail::TailOptions, token::TokenOptions,
};
use super::config::Settings;

/// An event server: publish over HTTP, read over Server-Sent Events, drop, rejoin, miss nothing.
#[derive(Debug, Parser)]
#[command(name = "rejoin", version, about, disable_help_subcommand = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    /// The settings file. Without one, the defaults and the environment are in force.
    // An empty variable counts as not set, which the usual parser of paths would refuse.
    #[arg(long, global = true, env = "REJOIN_CONFIG", value_name = "FILE", display_order = 900, value_parser = OsStringValueParser::new())]
    config: Option<OsString>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the server. This is also what happens without a command.
    Serve(ServeOptions),
    /// Show the settings in force, and where each comes from.
    Config,
    /// Follow events, as they come or from where you left off.
    Tail(TailOptions),
    /// Publish an event, or a stream of them.
    Publish(PublishOptions),
    /// Make a message of what a language model writes to standard input, as it comes.
    Pipe(PipeOptions),
    /// Count, check, export or import all that the backends hold.
    Journal(JournalOptions),
    /// Make a development token, a publisher's key, or a secret.
    Token(TokenOptions),
}

impl CommandLine {
    /// Does what was asked.
    pub async fn run(self) -> ExitCode {
        match self.dispatch().await {
            Ok(code) => code,
            Err(error) => {
                tell(&chain(&*error));
                ExitCode::FAILURE
            }
        }
    }

    async fn dispatch(self) -> Result<ExitCode, Box<dyn Error>> {
        let config = self.config.as_deref().filter(|path| !path.is_empty()).map(Path::new);
        match self.command.unwrap_or(Command::Serve(ServeOptions::default())) {
            Command::Serve(options) => return serve::serve(options, Settings::load(config)?).await,
            Command::Config => {
                let loaded = Settings::load(config)?;
                loaded.warnings.iter().map(String::as_str).for_each(tell);
                output::print(&loaded.listing.to_string())?;
            }
            Command::Tail(options) => return tail::tail(&options).await,
            Command::Publish(options) => return publish::publish(&options).await,
            Command::Pipe(options) => return pipe::pipe(&options).await,
            Command::Journal(options) => {
                return journal::journal(&options, &Settings::load(config)?.settings).await;
            }
            Command::Token(options) => token::token(&options, config)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// An error with its causes, in one line. Some errors tell their cause themselves: nothing is said
/// twice.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        enum Failure {
            #[error("{0}, alas")]
            Telling(#[source] std::io::Error),
            #[error("it failed")]
            Silent(#[source] Box<Failure>),
        }
        let failure = Failure::Silent(Box::new(Failure::Telling(std::io::Error::other("no disk"))));
        assert_eq!(chain(&failure), "it failed: no disk, alas");
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }
}
