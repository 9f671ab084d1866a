//! The command line against real servers, and against one that means harm.

#![expect(clippy::disallowed_methods, reason = "tests start tasks of their own")]

mod environment;
mod hostile;
mod log;
mod program;
mod publish;
mod publish_retries;
mod scripted_server;
mod secrets;
mod stop;
mod tail;
mod tail_reconnects;
mod token;
