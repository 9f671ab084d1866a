//! The command line against real servers, and against one that means harm.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

#[cfg(test)]
mod environment;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod log;
#[cfg(test)]
mod program;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod publish_retries;
#[cfg(test)]
mod scripted_server;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod tail;
#[cfg(test)]
mod tail_reconnects;
#[cfg(test)]
mod token;
