//! `rejoin tail`: follows a user's events in a terminal or a script.
//!
//! Invariants: the cursor never passes what was written to standard output, so that whoever goes on
//! with it misses nothing; what is held in memory has a bound, whatever the server sends; only what
//! waiting can mend is waited for.

mod connecting;
mod envelope;
mod follower;
mod line;

use std::{error::Error, num::NonZeroU64, process::ExitCode, time::Duration};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::follower::Follower;
use super::{duration, printable::tell, server_access::ServerAccess};

/// What the shell says of a program that a signal ended.
const EXIT_BY_SIGNAL: u8 = 128;

/// Options.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  rejoin tail                                  what comes from now on
  rejoin tail --from 0 --categories ai,import  all that is retained, then what comes, of two categories
  rejoin tail --json | jq .payload             for programs
  rejoin tail --json --count 1                 wait for one event

It reconnects by itself and goes on where it was. Exit status: 0 after --count events, or when standard output is
closed; 1 when the server refuses for good (a wrong token, an unknown category); 130 after Ctrl-C, which also says
how to go on from there.")]
pub(super) struct TailOptions {
    #[command(flatten)]
    access: ServerAccess,
    /// Show only events of these categories, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    categories: Vec<String>,
    /// Begin after the event of this id; 0 for all that is retained. Without it, begin with what
    /// comes now.
    #[arg(long, value_name = "ID", value_parser = Cursor::parse)]
    from: Option<Cursor>,
    /// Write each event as one line of JSON, the server's own events too.
    #[arg(long)]
    json: bool,
    /// End after so many events. The server's own events don't count.
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// Reconnect when nothing has come for so long, not even one of the keepalives that the server
    /// sends in silence.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    idle_timeout: Duration,
    /// Say nothing of connections. Errors and lost events are still reported.
    #[arg(long, short)]
    quiet: bool,
}

/// An event id as servers give them. It is opaque, but it goes into a header, and into a command
/// line to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cursor(String);

/// The text is no event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event id looks like 1718900000000-0; 0 stands for all that is retained")]
struct InvalidCursor;

impl Cursor {
    fn parse(text: &str) -> Result<Self, InvalidCursor> {
        /// Far more than any id has.
        const BYTES_MAX: usize = 128;
        let good = (1..=BYTES_MAX).contains(&text.len())
            && text.starts_with(|char: char| char.is_ascii_alphanumeric())
            && text.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':')
            });
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidCursor) }
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}

/// Follows until there is a reason to end.
pub(super) async fn tail(options: &TailOptions) -> Result<ExitCode, Box<dyn Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut follower = Follower::new(options)?;
    let ending = tokio::select! {
        ended = follower.run() => return ended.map(|()| ExitCode::SUCCESS).map_err(Into::into),
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    if let Some(cursor) = follower.cursor().filter(|_| !options.quiet) {
        tell(&format!("to go on from here: rejoin tail --from {}", cursor.as_str()));
    }
    // A script must be able to distinguish an end that was forced from one that was reached.
    Ok(ExitCode::from(
        u8::try_from(ending.as_raw_value())
            .map_or(u8::MAX, |number| EXIT_BY_SIGNAL.saturating_add(number)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_can_be_copied_into_a_shell() {
        for text in ["0", "1718900000000-0", "42", "a.b_c:d"] {
            assert_eq!(Cursor::parse(text).map(|cursor| cursor.0), Ok(text.to_owned()));
        }
        for text in
            ["", "-1", "a b", "1;reboot", "$(x)", "1\n2", "\u{1b}[2J", "é", &"1".repeat(129)]
        {
            assert_eq!(Cursor::parse(text), Err(InvalidCursor), "{text}");
        }
    }
}
